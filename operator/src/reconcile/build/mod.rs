//! The third stage: from a checked nest to the objects that there should be. Pure: the same nest gives the same plan,
//! byte for byte.

mod api_keys;
mod autoscaler;
mod config_map;
mod credentials;
mod deployment;
mod disruption_budget;
mod exposure;
mod job;
mod managed;
mod metadata;
mod monitoring;
mod network_policy;
mod pod;
mod security;
mod service;
mod service_account;
mod stateful_set;

use birbnest_core::config::StreamConfig;
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::Job,
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};

pub use api_keys::GeneratedKeys;
pub use credentials::Credentials;
pub use metadata::{HASH_ANNOTATION, MIGRATION_ANNOTATION};

use super::validate::ValidNest;
use crate::kinds::Foreign;

/// Everything that there should be for a nest, in the order in which it is rolled out. Owner references are set when it
/// is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// First the backends that the operator runs.
    pub managed: Managed,
    /// Then what the pods mount and run as.
    pub config: ConfigStage,
    /// Then the streams, which are not objects of Kubernetes.
    pub streams: StreamConfig,
    /// Then the schema.
    pub migration: Migration,
    /// When that is there, the pods that need it.
    pub workloads: Workloads,
}

/// The backends that the operator runs. All empty when none is managed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Managed {
    /// Addresses and passwords.
    pub credentials: Option<Credentials>,
    /// What the pods run as.
    pub service_accounts: Vec<ServiceAccount>,
    /// One for each backend.
    pub services: Vec<Service>,
    /// One for each backend.
    pub stateful_sets: Vec<StatefulSet>,
}

/// What the pods mount and run as.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigStage {
    /// A file for each component.
    pub config_map: ConfigMap,
    /// One for each component.
    pub service_accounts: Vec<ServiceAccount>,
    /// What clients are asked for, when the operator makes it.
    pub api_keys: Option<GeneratedKeys>,
    /// Who may reach the pods, those of managed backends included; empty when the spec asks for none.
    pub network_policies: Vec<NetworkPolicy>,
}

/// The run that brings the schema to a version.
#[derive(Clone, Debug, PartialEq)]
pub struct Migration {
    /// The Job. Its name changes with everything that it depends on; it is created when absent and never patched.
    pub job: Job,
    /// The version that PostgreSQL has once the Job has completed.
    pub schema_version: i64,
}

/// The pods that serve, and what belongs to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Workloads {
    /// The API. It says a number of replicas only when no autoscaler does.
    pub api: Deployment,
    /// The workers. It never says a number of replicas: scaling is the only one that does.
    pub worker: Deployment,
    /// The API's, and a headless one for the metrics of the workers.
    pub services: Vec<Service>,
    /// The API's, when the spec asks for it.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// In front of the API, when the spec asks for it.
    pub ingress: Option<Ingress>,
    /// The same in the words of the Gateway API.
    pub route: Option<Foreign>,
    /// One each for API and workers.
    pub disruption_budgets: Vec<PodDisruptionBudget>,
    /// What the Prometheus operator is told, where there is one.
    pub monitoring: Vec<Foreign>,
}

/// What there should be for a nest.
///
/// # Errors
/// When a configuration cannot be written as YAML or a pod as JSON, which no value of these types so far could not.
pub fn build(nest: &ValidNest) -> Result<Plan, BuildError> {
    let files = config_map::Files::render(&nest.settings)?;
    let migration = job::migration(nest, &files)?;
    Ok(Plan {
        managed: managed::build(nest),
        config: ConfigStage {
            config_map: config_map::build(&nest.id, &files),
            service_accounts: service_account::data_plane(&nest.id),
            api_keys: GeneratedKeys::of(nest),
            network_policies: network_policy::build(nest),
        },
        streams: nest.settings.stream.clone(),
        workloads: Workloads {
            api: deployment::api(nest, &files, &migration),
            worker: deployment::worker(nest, &files, &migration),
            services: service::workloads(nest),
            autoscaler: autoscaler::api(nest),
            ingress: exposure::ingress(nest),
            route: exposure::route(nest),
            disruption_budgets: disruption_budget::build(&nest.id),
            monitoring: monitoring::build(nest)?,
        },
        migration,
    })
}

/// The Job that drops the schema with all entries in it, for a nest that is deleted with its data. It mounts the
/// `ConfigMap` and runs as the account of the migration, which therefore have to be there until it is done.
///
/// # Errors
/// As [`build`].
pub fn schema_removal(nest: &ValidNest) -> Result<Job, BuildError> {
    let files = config_map::Files::render(&nest.settings)?;
    Ok(job::removal(nest, &files)?)
}

/// Why a plan could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A configuration could not be written as YAML.
    #[error("cannot write the configuration of {component} as YAML: {source}")]
    Config {
        /// Whose it is.
        component: &'static str,
        /// What the serializer said.
        source: serde_yaml::SerializeError,
    },
    /// The alerts could not be read.
    #[error("cannot read the alerts: {0}")]
    Alerts(String),
    /// A pod could not be written as JSON.
    #[error("cannot write the migration's pod as JSON: {0}")]
    Pod(#[from] serde_json::Error),
}

#[cfg(test)]
mod tests;
