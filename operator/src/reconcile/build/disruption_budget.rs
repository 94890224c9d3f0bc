//! Nodes are drained one pod at a time.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::metadata;
use crate::reconcile::validate::{Component, NestId};

pub(super) fn build(id: &NestId) -> Vec<PodDisruptionBudget> {
    [Component::Api, Component::Worker]
        .map(|component| budget(id, component))
        .into()
}

fn budget(id: &NestId, component: Component) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata::of(id, component),
        spec: Some(PodDisruptionBudgetSpec {
            // Not "at least one available": with a single pod that would keep a node from being drained at all.
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(metadata::selector(id, component)),
            // A pod that is not ready serves nobody and must not hold a node back.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            min_available: None,
        }),
        status: None,
    }
}
