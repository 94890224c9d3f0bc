use birbnest_core::config::{BatchConfig, Period, RetryConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ResourcesSpec, rules};

/// The workers, which drain the queue into PostgreSQL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkerSpec {
    /// How messages are gathered into one statement for PostgreSQL. A change rolls the workers and nothing else.
    pub batch: BatchSpec,
    /// Batches in progress per partition in each worker. 1 to 16.
    #[schemars(range(min = 1, max = 16))]
    pub concurrency: i32,
    /// Bytes of messages that one worker has in hand, over all partitions, above which it pulls no more. 32 MiB to
    /// 64 GiB. The pod takes about four times as much: an eighth of its memory limit is a good value.
    #[schemars(range(min = 32 << 20, max = 64_i64 << 30))]
    pub max_bytes_in_progress: i64,
    /// What happens to a batch that PostgreSQL did not take.
    pub retry: RetrySpec,
    /// How many workers there are, by the depth of the queue.
    pub autoscaling: WorkerAutoscalingSpec,
    /// Compute resources of each worker pod. Default: requests of 50m CPU and 64Mi memory, a limit of 512Mi memory.
    pub resources: ResourcesSpec,
}

/// How messages are gathered into one statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchSpec {
    /// Messages in a batch. 1 to 10000. Larger batches drain faster, smaller ones persist a lone write sooner.
    #[schemars(range(min = 1, max = 10_000))]
    pub size: i32,
    /// How long a batch waits to become full. 1ms to 1m.
    #[schemars(extend("x-kubernetes-validations" = rules::between("spec.worker.batch.wait", "1ms", "1m")))]
    pub wait: Period,
    /// Let batches grow up to 1000 messages while there is a backlog, and shrink back to size without one.
    pub adaptive: bool,
}

/// What happens to a batch that PostgreSQL did not take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetrySpec {
    /// Attempts before a row that PostgreSQL rejects is set aside. 1 to 20. An unreachable PostgreSQL is not counted.
    #[schemars(range(min = 1, max = 20))]
    pub max_attempts: i32,
    /// The first pause between attempts. 10ms to 30s. It doubles with each attempt, with jitter, up to 30s.
    #[schemars(extend("x-kubernetes-validations" = rules::between("spec.worker.retry.backoff", "10ms", "30s")))]
    pub backoff: Period,
}

/// How many workers there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [rules::rule(
    "self.min <= self.max",
    "spec.worker.autoscaling.min must not be above spec.worker.autoscaling.max",
)]))]
pub struct WorkerAutoscalingSpec {
    /// Least number of workers. 0 to 100. With 0 there is none while nothing is queued, and a first write persists some
    /// seconds later.
    #[schemars(range(min = 0, max = 100))]
    pub min: i32,
    /// Greatest number of workers. 1 to 100. Each opens up to spec.postgres.maxConnections connections.
    #[schemars(range(min = 1, max = 100))]
    pub max: i32,
    /// Queued messages per worker that are wanted while the speed of a worker is not known yet. 1 to 1000000000.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub target_queue_depth: i64,
    /// Time in which a backlog should be drained. 1s to 1h. Shorter means more workers.
    #[schemars(extend("x-kubernetes-validations" = rules::between("spec.worker.autoscaling.drainTarget", "1s", "1h")))]
    pub drain_target: Period,
    /// How long fewer workers must have been enough before their number goes down. 0s to 1h.
    #[schemars(extend("x-kubernetes-validations"
        = rules::between("spec.worker.autoscaling.scaleDownStabilization", "0s", "1h")))]
    pub scale_down_stabilization: Period,
}

impl Default for WorkerSpec {
    fn default() -> Self {
        Self {
            batch: BatchSpec::default(),
            concurrency: 2,
            max_bytes_in_progress: 64 << 20,
            retry: RetrySpec::default(),
            autoscaling: WorkerAutoscalingSpec::default(),
            resources: ResourcesSpec::default(),
        }
    }
}

impl Default for BatchSpec {
    fn default() -> Self {
        let config = BatchConfig::default();
        Self {
            size: 500,
            wait: config.wait,
            adaptive: config.adaptive,
        }
    }
}

impl Default for RetrySpec {
    fn default() -> Self {
        let config = RetryConfig::default();
        Self {
            max_attempts: i32::from(config.max_attempts),
            backoff: config.backoff,
        }
    }
}

impl Default for WorkerAutoscalingSpec {
    fn default() -> Self {
        Self {
            min: 1,
            // With ten connections each, two APIs and five workers stay below PostgreSQL's default of 100.
            max: 5,
            target_queue_depth: 10_000,
            drain_target: Period::from_secs(60),
            scale_down_stabilization: Period::from_secs(300),
        }
    }
}
