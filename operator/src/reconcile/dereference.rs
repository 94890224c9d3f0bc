//! The first stage: reads what the nest names and nothing else.

use std::collections::BTreeMap;

use birbnest_crds::{BirbNest, SecretKeyRef, UrlSource};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::validate::{SecretContent, SecretDigests, mounted_secrets, named_secrets};
use crate::{
    address::from_outside,
    cluster::{Cluster, ClusterError},
};

/// What was seen.
pub(super) struct Seen {
    /// What validation needs to know of the Secrets.
    pub(super) secrets: SecretDigests,
    /// Where the backends are that the operator does not run.
    pub(super) addresses: Addresses,
}

/// Addresses of the backends that the operator does not run, as reached from its own namespace. They may hold
/// passwords, so nothing prints them.
#[derive(Clone, Default)]
pub(super) struct Addresses {
    pub(super) redis: Option<String>,
    pub(super) nats: Option<String>,
    pub(super) postgres: Option<String>,
}

/// Reads the Secrets that the nest names.
pub(super) async fn dereference(cluster: &Cluster, nest: &BirbNest) -> Result<Seen, ClusterError> {
    let namespace = nest.namespace().unwrap_or_default();
    let mut found = BTreeMap::<&str, Option<Secret>>::new();
    let addresses = named_secrets(nest)
        .into_iter()
        .map(|reference| reference.name.as_str());
    for name in addresses.chain(mounted_secrets(nest)) {
        if !found.contains_key(name) {
            let secret = cluster.read::<Secret>(&namespace, name).await?;
            found.insert(name, secret);
        }
    }
    let secret = |reference: &SecretKeyRef| found.get(reference.name.as_str()).and_then(Option::as_ref);
    let look = |reference: &SecretKeyRef| SecretContent::look(secret(reference), &reference.key);
    let address = |source: Option<&UrlSource>| {
        let reference = &source?.secret_key_ref;
        let value = text(secret(reference)?, &reference.key)?;
        Some(from_outside(&value, &namespace))
    };
    let spec = &nest.spec;
    let plain = spec.nats.url.as_ref().map(|url| from_outside(url, &namespace));
    let digests: SecretDigests = named_secrets(nest)
        .into_iter()
        .map(|reference| (reference.clone(), look(reference)))
        .collect();
    let secrets = mounted_secrets(nest).into_iter().fold(digests, |digests, name| {
        digests.with_mounted(name, found.get(name).and_then(Option::as_ref))
    });
    Ok(Seen {
        secrets,
        addresses: Addresses {
            redis: address(spec.redis.url_from.as_ref()),
            nats: plain.or_else(|| address(spec.nats.url_from.as_ref())),
            postgres: address(spec.postgres.url_from.as_ref()),
        },
    })
}

/// A value of a Secret.
pub(super) fn text(secret: &Secret, key: &str) -> Option<String> {
    let value = secret.data.as_ref()?.get(key)?;
    Some(String::from_utf8_lossy(&value.0).trim().to_owned())
}
