//! What is known of the Secrets that a nest names: never their content.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use birbnest_crds::{BirbNest, SecretKeyRef};
use k8s_openapi::api::core::v1::Secret;

/// The digest of a value, to see that it changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// The digest of some bytes: 16 hexadecimal digits.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hex = blake3::hash(bytes).to_hex().to_string();
        hex.truncate(16);
        Self(hex)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a key of a Secret held when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretContent {
    /// There is no such Secret.
    NoSecret,
    /// The Secret has no such key, or nothing in it.
    NoKey,
    /// Something that should be an address.
    Address {
        /// Its digest.
        digest: Digest,
        /// What stands before `://`; empty without that.
        scheme: String,
    },
}

impl SecretContent {
    /// Looks at a key of a Secret; none: there is no such Secret.
    pub fn look(secret: Option<&Secret>, key: &str) -> Self {
        let Some(secret) = secret else {
            return Self::NoSecret;
        };
        match secret.data.as_ref().and_then(|data| data.get(key)) {
            Some(value) if !value.0.trim_ascii().is_empty() => Self::Address {
                digest: Digest::of(&value.0),
                scheme: scheme(&value.0),
            },
            _ => Self::NoKey,
        }
    }
}

fn scheme(address: &[u8]) -> String {
    let text = String::from_utf8_lossy(address);
    text.split_once("://")
        .map(|(scheme, _)| scheme.to_owned())
        .unwrap_or_default()
}

/// What the Secrets that a nest names held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretDigests {
    addresses: BTreeMap<SecretKeyRef, SecretContent>,
    mounted: BTreeMap<String, BTreeSet<String>>,
}

impl SecretDigests {
    /// What the key held. One that nobody looked at counts as missing.
    pub fn get(&self, reference: &SecretKeyRef) -> SecretContent {
        self.addresses
            .get(reference)
            .cloned()
            .unwrap_or(SecretContent::NoSecret)
    }

    /// Adds a Secret that pods mount, as it was found.
    #[must_use]
    pub fn with_mounted(mut self, name: &str, secret: Option<&Secret>) -> Self {
        if let Some(secret) = secret {
            let filled = secret
                .data
                .iter()
                .flatten()
                .filter(|(_, value)| !value.0.is_empty());
            let keys = filled.map(|(key, _)| key.clone()).collect();
            self.mounted.insert(name.to_owned(), keys);
        }
        self
    }

    /// The keys of a mounted Secret that hold anything; none: there is no such Secret.
    pub fn mounted(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.mounted.get(name)
    }
}

impl FromIterator<(SecretKeyRef, SecretContent)> for SecretDigests {
    fn from_iter<I: IntoIterator<Item = (SecretKeyRef, SecretContent)>>(contents: I) -> Self {
        Self {
            addresses: contents.into_iter().collect(),
            mounted: BTreeMap::new(),
        }
    }
}

/// The Secrets that pods mount, by the names that the spec gives. With [`named_secrets`] this is all that is read.
pub fn mounted_secrets(nest: &BirbNest) -> Vec<&str> {
    let api = &nest.spec.api;
    let tls = api.tls.iter().map(|tls| tls.secret_name.as_str());
    let keys = api
        .auth
        .api_keys
        .iter()
        .filter_map(|keys| keys.secret_name.as_deref());
    tls.chain(keys).collect()
}

/// The keys of Secrets that a nest names with addresses: exactly what has to be read for [`super::validate`].
pub fn named_secrets(nest: &BirbNest) -> Vec<&SecretKeyRef> {
    let spec = &nest.spec;
    let postgres = &spec.postgres;
    [
        &spec.redis.url_from,
        &spec.nats.url_from,
        &postgres.url_from,
        &postgres.owner_url_from,
    ]
    .into_iter()
    .flatten()
    .map(|source| &source.secret_key_ref)
    .collect()
}
