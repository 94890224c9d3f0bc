//! The API key that the operator makes.
//!
//! It is random, made once and kept: clients have it. As the passwords of managed backends it outlives a nest whose data is
//! retained. Whoever wants another one deletes the Secret, or adds keys to it.

use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::metadata;
use crate::reconcile::validate::{ApiKeys, Component, NestId, ValidNest};

/// Whose key it is, as long as nobody says more.
const CLIENT: &str = "default";

/// The Secret that there should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedKeys(NestId);

impl GeneratedKeys {
    /// None when the nest asks for no keys, or brings its own.
    pub(super) fn of(nest: &ValidNest) -> Option<Self> {
        (nest.access.api_keys == Some(ApiKeys::Generated)).then(|| Self(nest.id.clone()))
    }

    /// The Secret's name.
    pub fn name(&self) -> String {
        self.0.child(Component::ApiKeys)
    }

    /// The Secret to create when there is none.
    pub fn secret(&self, key: String) -> Secret {
        Secret {
            metadata: metadata::of(&self.0, Component::ApiKeys),
            data: Some([(CLIENT.to_owned(), ByteString(key.into_bytes()))].into()),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        }
    }
}
