use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator observed. Written by it alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
// kstatus takes an object without a status for one that is as it should be: a new nest says that nobody has looked at it.
#[schemars(extend("default" = { "observedGeneration": -1 }))]
pub struct BirbNestStatus {
    /// The generation of the spec that this status speaks about. -1 while the operator has not looked at the nest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling and Stalled (kstatus), and one for each part: MigrationsComplete, StreamsReady, APIAvailable,
    /// WorkersAvailable, DurabilityReady. Reason and message say what is the matter and what to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Version of the newest migration that PostgreSQL has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub schema_version: Option<i64>,
    /// The writes that PostgreSQL does not have yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "QueueStatus")]
    pub queue: Option<QueueStatus>,
    /// The workers and why there are so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "WorkersStatus")]
    pub workers: Option<WorkersStatus>,
    /// The API pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ApiStatus")]
    pub api: Option<ApiStatus>,
    /// The partitions that the queue has. The operator remembers them here for a NATS that has lost its streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PartitionsStatus")]
    pub partitions: Option<PartitionsStatus>,
    /// How far each persist stream is in PostgreSQL. It follows with a delay of some seconds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["partition"]))]
    pub persisted_through: Vec<PersistedThrough>,
    /// Where applications inside the cluster reach the HTTP API, such as `http://prices-api.shop.svc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub endpoint: Option<String>,
}

/// The writes that PostgreSQL does not have yet, over all partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueStatus {
    /// Messages that wait or are with a worker.
    pub depth: i64,
    /// Age of the oldest of them, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub oldest_age_seconds: Option<i64>,
    /// Messages that arrive per second.
    pub arrival_per_second: i64,
    /// Messages that the workers persist per second, together.
    pub service_per_second: i64,
}

/// The partitions that the queue has. Their numbers follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PartitionsStatus {
    /// Number of the first. Other partitions get numbers that were never used before.
    pub first: i32,
    /// How many there are.
    pub count: i32,
}

/// The workers and why there are so many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkersStatus {
    /// Workers that are ready.
    pub ready: i32,
    /// Workers that the operator wants.
    pub desired: i32,
    /// Why it wants so many.
    pub reason: String,
}

/// The API pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiStatus {
    /// API pods that are ready.
    pub ready: i32,
    /// API pods that are wanted, by the spec or by the HorizontalPodAutoscaler.
    pub desired: i32,
}

/// How far one persist stream is in PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersistedThrough {
    /// The number of the partition. After a change of spec.nats.stream.partitions there are others.
    pub partition: i32,
    /// The epoch in which its consumer drains, from 1; 0 before there is one.
    #[serde(default)]
    pub epoch: i64,
    /// Every message of its stream up to this sequence is in PostgreSQL.
    pub sequence: i64,
    /// Every acknowledged write of the partition with a version (Birb-Version) at or below it is in PostgreSQL, is a dead
    /// letter, or was overwritten by a later write of its key before it got there. Absent while it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    pub version: Option<i64>,
}
