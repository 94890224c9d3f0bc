//! What the pods run as. None of them asks the API server for anything, so none has a token.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::metadata;
use crate::reconcile::validate::{Component, NestId};

/// The accounts of API, workers and migration.
pub(super) fn data_plane(id: &NestId) -> Vec<ServiceAccount> {
    [Component::Api, Component::Worker, Component::Migrate]
        .map(|component| account(id, component))
        .into()
}

/// The account of the managed backends.
pub(super) fn backends(id: &NestId) -> ServiceAccount {
    account(id, Component::Backends)
}

fn account(id: &NestId, component: Component) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata::of(id, component),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
