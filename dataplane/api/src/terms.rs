//! On what terms a write is made: its conditions, the durability it waits for, and the name under which it can be tried
//! again.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
};
use birbnest_core::Durability;
use uuid::Uuid;

use crate::{conditions::Conditions, problem::Problem};

/// The header that names an operation, so that trying it again does not do it twice.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header that asks for a durability (RFC 7240).
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Longest name of an operation, in bytes.
const MAX_IDEMPOTENCY_KEY_LEN: usize = 255;

/// The terms of one write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) conditions: Conditions,
    /// What the client calls the operation.
    pub(crate) operation: Option<Uuid>,
    /// What the client waits for, if it says so.
    pub(crate) durability: Option<Durability>,
}

impl<S: Sync> FromRequestParts<S> for Terms {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self {
            conditions: Conditions::of(&parts.headers)?,
            operation: parts.headers.get(IDEMPOTENCY_KEY).map(operation).transpose()?,
            durability: preferred(&parts.headers)?,
        })
    }
}

impl Terms {
    /// Whether the write can be made without looking at what is there.
    pub(crate) fn are_blind(&self) -> bool {
        self.conditions.is_empty() && self.operation.is_none()
    }
}

/// 128 bits of BLAKE3 over the name: whoever tries again says the same.
fn operation(name: &HeaderValue) -> Result<Uuid, Problem> {
    let name = name.as_bytes();
    if name.is_empty() || name.len() > MAX_IDEMPOTENCY_KEY_LEN {
        return Err(Problem::invalid(format!(
            "Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY_LEN} characters, this one has {}",
            name.len()
        )));
    }
    let mut first = [0; 16];
    blake3::Hasher::new().update(name).finalize_xof().fill(&mut first);
    Ok(uuid::Builder::from_custom_bytes(first).into_uuid())
}

/// The durability among the preferences; others are not ours, and a preference that is not understood is ignored, as RFC
/// 7240 asks. A durability that does not exist is an error all the same: its client believes in a promise.
fn preferred(headers: &HeaderMap) -> Result<Option<Durability>, Problem> {
    for value in headers.get_all(PREFER) {
        let text = value
            .to_str()
            .map_err(|_| Problem::invalid("Prefer is no text"))?;
        for preference in text.split([',', ';']) {
            let Some((name, level)) = preference.split_once('=') else {
                continue;
            };
            if name.trim().eq_ignore_ascii_case("durability") {
                let level = level.trim().trim_matches('"');
                return Durability::named(level).map(Some).ok_or_else(|| {
                    Problem::invalid(format!(
                        "Prefer: durability is queued or persisted, not {level:?}"
                    ))
                });
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefer(value: &'static str) -> Result<Option<Durability>, Problem> {
        preferred(&HeaderMap::from_iter([(PREFER, HeaderValue::from_static(value))]))
    }

    #[test]
    fn a_durability_is_found_among_other_preferences() {
        assert_eq!(
            prefer("durability=persisted").unwrap(),
            Some(Durability::Persisted)
        );
        assert_eq!(
            prefer("respond-async, Durability = \"queued\"").unwrap(),
            Some(Durability::Queued)
        );
        assert_eq!(prefer("return=minimal").unwrap(), None);
        assert!(prefer("durability=eternal").is_err());
    }

    #[test]
    fn an_operation_has_the_same_id_whenever_it_is_tried() {
        let id = |name: &'static str| operation(&HeaderValue::from_static(name));
        assert_eq!(id("order-17").unwrap(), id("order-17").unwrap());
        assert_ne!(id("order-17").unwrap(), id("order-18").unwrap());
        assert!(id("").is_err());
    }
}
