use birbnest_core::config::{LogFormat, LogLevel};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ApiSpec, BirbNestStatus, CacheSpec, MonitoringSpec, NatsSpec, NetworkPoliciesSpec, PodSpec, PostgresSpec,
    RedisSpec, WorkerSpec,
};

/// What is wanted: the backends that there are, and how the cache in front of them behaves.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "birbnest.dev",
    version = "v1alpha1",
    kind = "BirbNest",
    plural = "birbnests",
    singular = "birbnest",
    shortname = "nest",
    category = "birbnest",
    namespaced,
    status = "BirbNestStatus",
    derive = "PartialEq",
    doc = "A durable cache: an HTTP API that reads at the speed of Redis and loses nothing that it acknowledged, because every write also goes through NATS JetStream into PostgreSQL.",
    // The names of its children are derived from it and must be DNS labels of at most 63 characters themselves.
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("metadata.name must have at most 40 characters: names of Services and Jobs are derived from it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')")
        .message("metadata.name must be lower-case letters, digits and dashes, starting with a letter: names of Services are derived from it"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether everything that the spec asks for is there."),
    printcolumn(name = "API", type_ = "integer", json_path = ".status.api.ready",
        description = "API pods that are ready."),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".status.workers.ready",
        description = "Workers that are ready."),
    printcolumn(name = "Queue", type_ = "integer", json_path = ".status.queue.depth",
        description = "Writes that PostgreSQL does not have yet."),
    printcolumn(name = "Schema", type_ = "integer", json_path = ".status.schemaVersion",
        description = "Version of the newest migration that PostgreSQL has."),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it is ready or not.", priority = "1"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint",
        description = "Where the HTTP API is.", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp",
        description = "Time since it was created."),
)]
#[serde(rename_all = "camelCase")]
pub struct BirbNestSpec {
    /// The cache in front. Exactly one of urlFrom and managed.
    pub redis: RedisSpec,
    /// The log that holds each acknowledged write until PostgreSQL has it. Exactly one of url, urlFrom and managed.
    pub nats: NatsSpec,
    /// The database behind. Exactly one of urlFrom and managed.
    pub postgres: PostgresSpec,
    /// What an entry may be and how long copies live.
    #[serde(default)]
    pub cache: CacheSpec,
    /// The HTTP service.
    #[serde(default)]
    pub api: ApiSpec,
    /// The workers, which drain the queue into PostgreSQL.
    #[serde(default)]
    pub worker: WorkerSpec,
    /// What API, workers and migration write to their standard error.
    #[serde(default)]
    pub log: LogSpec,
    /// What the pods of the data plane have beyond what the operator sets.
    #[serde(default)]
    pub pod: PodSpec,
    /// Who may open connections to the pods.
    #[serde(default)]
    pub network_policies: NetworkPoliciesSpec,
    /// What Prometheus collects, and when it alerts.
    #[serde(default)]
    pub monitoring: MonitoringSpec,
    /// What happens to the data when the BirbNest is deleted. Retain keeps streams, tables and volumes. Delete drains the
    /// queue first, then removes them.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Stop reconciling and scaling: everything stays as it is until this is false again.
    #[serde(default)]
    pub paused: bool,
}

/// What API, workers and migration write to their standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LogSpec {
    /// The least severe level that is written: error, warn, info, debug or trace.
    pub level: LogLevel,
    /// How a line looks: json, or text for a person at a terminal.
    pub format: LogFormat,
}

/// What happens to the data when the BirbNest is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Streams, tables and volumes stay.
    #[default]
    Retain,
    /// The queue is drained into PostgreSQL, then streams, tables and volumes are removed.
    Delete,
}
