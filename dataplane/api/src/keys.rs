//! Who may ask: API keys.

use std::{collections::HashSet, convert::Infallible, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use birbnest_core::api_key;
use birbnest_service::{Files, Mount, MountError, Shutdown};

use crate::problem::Problem;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const BEARER: &str = "Bearer ";

/// The keys that are good now, if any are asked for. Every core has a clone.
#[derive(Clone, Default)]
pub(crate) struct Keys(Option<Arc<ArcSwap<KnownKeys>>>);

impl Keys {
    /// Reads the keys in the folder, and reads them again when they change; without a folder everybody may ask.
    pub(crate) fn follow(folder: Option<&Path>, shutdown: &Shutdown) -> Result<Self, MountError> {
        let make = |files: &Files| Ok::<_, Infallible>(KnownKeys::of(files));
        let known = folder.map(|folder| Mount::at(folder).follow(shutdown, make));
        known.transpose().map(Self)
    }

    /// Lets a request in that has one of the keys.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(known) = &self.0 else {
            return Ok(());
        };
        match presented(headers) {
            Some(key) if known.load().holds(key) => Ok(()),
            Some(_) => Err(refusal("the API key is not one that is known here")),
            None => Err(refusal(
                "this needs an API key: send it as X-API-Key, or as Authorization: Bearer",
            )),
        }
    }
}

fn refusal(detail: &'static str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED").detail(detail)
}

/// The key that a client sent.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get(API_KEY) {
        return Some(key.as_bytes());
    }
    let (scheme, key) = headers
        .get(header::AUTHORIZATION)?
        .as_bytes()
        .split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER.as_bytes()).then_some(key)
}

/// Keys by their digests. The digest is keyed with something that only this process knows, so how long a look takes tells nobody
/// how much of a key is right.
struct KnownKeys {
    secret: [u8; blake3::KEY_LEN],
    digests: HashSet<[u8; blake3::OUT_LEN]>,
}

impl KnownKeys {
    /// The file's name is whose key it holds. One that is no key is left out, and the log says so: the others still count, and
    /// so does that one was taken away.
    fn of(files: &Files) -> Self {
        let mut keys = Self {
            secret: rand::random(),
            digests: HashSet::with_capacity(files.len()),
        };
        let mut owners = Vec::with_capacity(files.len());
        for (owner, content) in files {
            match api_key::parse(content) {
                Ok(key) => {
                    keys.digests.insert(keys.digest(key));
                    owners.push(owner);
                }
                Err(error) => tracing::error!(key = owner, %error, "this API key is left out"),
            }
        }
        tracing::info!(keys = ?owners, "API keys are asked for");
        keys
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.digests.contains(&self.digest(key))
    }

    fn digest(&self, key: &[u8]) -> [u8; blake3::OUT_LEN] {
        blake3::keyed_hash(&self.secret, key).into()
    }
}

#[cfg(test)]
mod tests {
    use axum::{http::HeaderValue, response::IntoResponse};

    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn keys() -> Keys {
        let files = [("shop", "0123456789abcdef\n"), ("short", "0123")];
        let files = files.map(|(owner, key)| (owner.to_owned(), key.as_bytes().to_vec()));
        Keys(Some(Arc::new(ArcSwap::from_pointee(KnownKeys::of(
            &files.into(),
        )))))
    }

    fn status(keys: &Keys, name: HeaderName, value: &str) -> Option<StatusCode> {
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
        keys.admit(&headers)
            .err()
            .map(|problem| problem.into_response().status())
    }

    #[test]
    fn a_key_opens_in_either_header() {
        let keys = keys();
        assert_eq!(status(&keys, API_KEY, KEY), None);
        assert_eq!(
            status(&keys, header::AUTHORIZATION, &format!("Bearer {KEY}")),
            None
        );
        assert_eq!(
            status(&keys, header::AUTHORIZATION, &format!("bearer {KEY}")),
            None
        );
    }

    #[test]
    fn nothing_else_does() {
        let keys = keys();
        let refused = Some(StatusCode::UNAUTHORIZED);
        for wrong in [
            "",
            "0123",
            "0123456789abcdee",
            "0123456789abcdef0",
            "0123456789abcde",
        ] {
            assert_eq!(status(&keys, API_KEY, wrong), refused, "{wrong:?}");
        }
        assert_eq!(status(&keys, header::AUTHORIZATION, KEY), refused);
        assert_eq!(
            status(&keys, header::AUTHORIZATION, "Basic 0123456789abcdef"),
            refused
        );
        assert_eq!(status(&keys, header::ACCEPT, KEY), refused);
    }

    #[test]
    fn nobody_needs_one_where_none_are_asked_for() {
        assert!(Keys::default().admit(&HeaderMap::new()).is_ok());
    }
}
