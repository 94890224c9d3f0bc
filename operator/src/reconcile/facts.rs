//! What the API server and the backends answered: the only things that a status may be made of.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};

/// Why something is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Why {
    /// A stable name.
    pub(super) reason: &'static str,
    /// In words, with what to do.
    pub(super) message: String,
    /// Whether it goes on by itself, as far as one can tell.
    pub(super) passes: bool,
}

impl Why {
    /// It goes on by itself.
    pub(super) fn waiting(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            passes: true,
        }
    }

    /// A person has to act.
    pub(super) fn stuck(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            passes: false,
        }
    }
}

/// How a step of the rollout ended: with what it is for, or why not.
pub(super) type Step<T> = Result<T, Why>;

/// How far a Deployment is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rollout {
    /// Pods that are wanted.
    pub(super) desired: i32,
    /// Pods that are ready.
    pub(super) ready: i32,
    /// Pods of the newest template.
    pub(super) updated: i32,
    /// Pods that are available.
    pub(super) available: i32,
    /// Pods of any template.
    pub(super) total: i32,
    /// Whether the figures are about the newest template.
    pub(super) observed: bool,
    /// What keeps its pods from being ready.
    pub(super) trouble: Option<Why>,
    /// Who else sets the number of its pods.
    pub(super) contest: Option<String>,
}

impl Rollout {
    /// Every pod is of the newest template, and none is left of an older one.
    pub(super) fn is_complete(&self) -> bool {
        self.observed && self.updated == self.total && self.available >= self.desired.min(1)
    }

    /// As many as wanted are available.
    pub(super) fn is_full(&self) -> bool {
        self.observed && self.available >= self.desired
    }

    /// At least one serves, or none is wanted.
    pub(super) fn serves(&self) -> bool {
        self.available >= self.desired.min(1)
    }
}

impl From<&Deployment> for Rollout {
    fn from(deployment: &Deployment) -> Self {
        let status = deployment.status.clone().unwrap_or_default();
        Self {
            desired: deployment
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(1),
            ready: status.ready_replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            total: status.replicas.unwrap_or(0),
            observed: status.observed_generation >= deployment.metadata.generation,
            trouble: None,
            contest: None,
        }
    }
}

/// Why Kubernetes does not make the pods: a quota or an admission policy, in its own words.
pub(super) fn refusal(deployment: &Deployment) -> Option<String> {
    let status = deployment.status.as_ref()?;
    let conditions = status.conditions.iter().flatten();
    let mut failing = conditions.filter(|said| said.type_ == "ReplicaFailure" && said.status == "True");
    failing
        .next()
        .map(|said| said.message.clone().unwrap_or_default())
}

/// Whether the pod of a managed backend is ready.
pub(super) fn is_ready(set: &StatefulSet) -> bool {
    let status = set.status.clone().unwrap_or_default();
    status.observed_generation >= set.metadata.generation
        && status.ready_replicas.unwrap_or(0) >= 1
        && status.updated_replicas.unwrap_or(0) >= 1
}

/// A selector as the API server takes it.
pub(super) fn selector(labels: &BTreeMap<String, String>) -> String {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentSpec, DeploymentStatus};

    use super::*;

    fn deployment(replicas: i32, status: DeploymentStatus) -> Deployment {
        let mut deployment = Deployment {
            spec: Some(DeploymentSpec {
                replicas: Some(replicas),
                ..Default::default()
            }),
            status: Some(status),
            ..Default::default()
        };
        deployment.metadata.generation = Some(3);
        deployment
    }

    #[test]
    fn figures_about_an_older_template_are_no_rollout() {
        let status = DeploymentStatus {
            replicas: Some(2),
            updated_replicas: Some(2),
            available_replicas: Some(2),
            observed_generation: Some(2),
            ..Default::default()
        };
        let old = Rollout::from(&deployment(2, status.clone()));
        assert!(!old.is_complete() && old.serves());
        let now = Rollout::from(&deployment(
            2,
            DeploymentStatus {
                observed_generation: Some(3),
                ..status
            },
        ));
        assert!(now.is_complete() && now.is_full());
    }

    #[test]
    fn a_pod_of_an_older_template_keeps_a_rollout_incomplete() {
        let status = DeploymentStatus {
            replicas: Some(3),
            updated_replicas: Some(2),
            available_replicas: Some(3),
            observed_generation: Some(3),
            ..Default::default()
        };
        assert!(!Rollout::from(&deployment(2, status)).is_complete());
    }

    #[test]
    fn no_worker_is_enough_when_none_is_wanted() {
        let status = DeploymentStatus {
            observed_generation: Some(3),
            ..Default::default()
        };
        assert!(Rollout::from(&deployment(0, status)).is_complete());
    }

    #[test]
    fn pods_that_nobody_lets_kubernetes_make_are_refused_in_its_words() {
        let said = |status: &str| DeploymentCondition {
            type_: "ReplicaFailure".to_owned(),
            status: status.to_owned(),
            message: Some("exceeded quota: full".to_owned()),
            ..Default::default()
        };
        let refused = |status: &str| {
            let status = DeploymentStatus {
                conditions: Some(vec![said(status)]),
                ..Default::default()
            };
            refusal(&deployment(2, status))
        };
        assert_eq!(refused("True").as_deref(), Some("exceeded quota: full"));
        assert_eq!(refused("False"), None);
    }
}
