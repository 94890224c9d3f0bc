//! Children name the nest as their owner: they go with it, and their changes are seen.

use birbnest_crds::BirbNest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

/// The nest as the owner of its children.
pub(in crate::reconcile) struct Owner(Option<OwnerReference>);

impl Owner {
    pub(in crate::reconcile) fn of(nest: &BirbNest) -> Self {
        Self(nest.controller_owner_ref(&()))
    }

    /// The object, owned.
    pub(in crate::reconcile) fn own<K: Resource>(&self, mut object: K) -> K {
        object.meta_mut().owner_references = self.0.clone().map(|reference| vec![reference]);
        object
    }
}
