//! What every child carries in its metadata.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::reconcile::validate::{Component, NestId};

/// On pods: a digest of the configuration file and of the Secrets that they were started with. A change rolls them.
pub const HASH_ANNOTATION: &str = "config.birbnest.dev/hash";

/// On Deployments: the Job whose migration their pods need.
pub const MIGRATION_ANNOTATION: &str = "birbnest.dev/migration";

/// Metadata of a component's object under the component's own name.
pub(super) fn of(id: &NestId, component: Component) -> ObjectMeta {
    named(id, component, id.child(component))
}

/// Metadata of a component's object under another name.
pub(super) fn named(id: &NestId, component: Component, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(id.namespace().to_owned()),
        labels: Some(id.labels(component)),
        ..ObjectMeta::default()
    }
}

/// Selects a component's pods.
pub(super) fn selector(id: &NestId, component: Component) -> LabelSelector {
    LabelSelector {
        match_labels: Some(id.selector(component)),
        match_expressions: None,
    }
}

/// The map, or nothing for an empty one: an empty field would be a difference that is none.
pub(super) fn filled<K, V>(map: BTreeMap<K, V>) -> Option<BTreeMap<K, V>> {
    (!map.is_empty()).then_some(map)
}

/// The list, or nothing for an empty one.
pub(super) fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}
