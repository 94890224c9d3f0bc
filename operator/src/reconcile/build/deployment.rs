//! The Deployments of API and workers.

use std::collections::BTreeMap;

use birbnest_core::config::Period;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    Migration,
    config_map::Files,
    metadata::{self, MIGRATION_ANNOTATION},
    pod::{self, Mount, Port, Shape},
};
use crate::reconcile::validate::{API_KEYS_FOLDER, ApiKeys, ApiReplicas, Component, TLS_FOLDER, ValidNest};

/// Until every node has heard that a pod is going away: requests are still sent to it.
const ENDPOINTS_SECONDS: i64 = 5;
/// What a process needs beside its requests in progress, to close what it opened.
const MARGIN_SECONDS: i64 = 5;

pub(super) fn api(nest: &ValidNest, files: &Files, migration: &Migration) -> Deployment {
    let settings = &nest.settings.api;
    let shape = Shape {
        component: Component::Api,
        resources: pod::resources_or(&nest.api_resources, "100m", "128Mi", Some("512Mi")),
        arguments: &[],
        port: Some(Port {
            scheme: nest.access.scheme(),
            number: i32::from(settings.listen.port()),
        }),
        mounts: mounts(nest),
        pre_stop_seconds: Some(ENDPOINTS_SECONDS),
        grace_seconds: ENDPOINTS_SECONDS + seconds(settings.shutdown_grace) + MARGIN_SECONDS,
        restart_policy: None,
    };
    let replicas = match nest.api_replicas {
        ApiReplicas::Fixed(replicas) => Some(replicas),
        ApiReplicas::Autoscaled { .. } => None,
    };
    deployment(
        nest,
        Component::Api,
        replicas,
        migration,
        pod::template(nest, files, &shape),
    )
}

/// What is read again whenever it changes, and so is no part of the pods' hash.
fn mounts(nest: &ValidNest) -> Vec<Mount> {
    let tls = nest.access.tls.as_ref().map(|secret| Mount {
        name: "tls",
        secret: secret.clone(),
        folder: TLS_FOLDER,
    });
    let keys = nest.access.api_keys.as_ref().map(|keys| Mount {
        name: "api-keys",
        secret: match keys {
            ApiKeys::Secret(name) => name.clone(),
            ApiKeys::Generated => nest.id.child(Component::ApiKeys),
        },
        folder: API_KEYS_FOLDER,
    });
    tls.into_iter().chain(keys).collect()
}

pub(super) fn worker(nest: &ValidNest, files: &Files, migration: &Migration) -> Deployment {
    let settings = &nest.settings.worker;
    let shape = Shape {
        component: Component::Worker,
        resources: pod::resources_or(&nest.worker_resources, "50m", "64Mi", Some("512Mi")),
        arguments: &[],
        port: Some(Port {
            scheme: "http",
            number: i32::from(settings.listen.port()),
        }),
        mounts: vec![],
        pre_stop_seconds: None,
        grace_seconds: seconds(settings.shutdown_grace) + MARGIN_SECONDS,
        restart_policy: None,
    };
    deployment(
        nest,
        Component::Worker,
        None,
        migration,
        pod::template(nest, files, &shape),
    )
}

fn deployment(
    nest: &ValidNest,
    component: Component,
    replicas: Option<i32>,
    migration: &Migration,
    template: PodTemplateSpec,
) -> Deployment {
    let mut metadata = metadata::of(&nest.id, component);
    let needed = migration.job.metadata.name.clone().unwrap_or_default();
    metadata.annotations = Some(BTreeMap::from([(MIGRATION_ANNOTATION.to_owned(), needed)]));
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas,
            revision_history_limit: Some(3),
            selector: metadata::selector(&nest.id, component),
            strategy: Some(one_more_before_one_less()),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn one_more_before_one_less() -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        }),
    }
}

/// Whole seconds, rounded up.
fn seconds(period: Period) -> i64 {
    i64::try_from(period.as_millis().div_ceil(1000)).unwrap_or(i64::MAX / 2)
}
