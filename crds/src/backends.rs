use birbnest_core::config::{Period, StreamConfig};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ResourcesSpec, rules};

/// Where Redis is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::rule(
    "has(self.urlFrom) != has(self.managed)",
    "spec.redis takes exactly one of urlFrom and managed",
)]))]
pub struct RedisSpec {
    /// Where the address of a Redis of yours is kept, such as `redis://:password@host:6379/0` (rediss for TLS), that of
    /// its sentinels, such as `redis-sentinel://:password@a:26379,b:26379,c:26379/0?master=NAME`, or that of a cluster, such
    /// as `redis-cluster://:password@a:6379,b:6379,c:6379`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UrlSource")]
    pub url_from: Option<UrlSource>,
    /// Let the operator run a small Redis: a single node, for trying out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ManagedRedisSpec")]
    pub managed: Option<ManagedRedisSpec>,
}

/// Where NATS is, and the streams in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::rule(
    "[has(self.url), has(self.urlFrom), has(self.managed)].filter(given, given).size() == 1",
    "spec.nats takes exactly one of url, urlFrom and managed",
)]))]
pub struct NatsSpec {
    /// Address of a NATS of yours that asks for no password, such as `nats://host:4222` (tls for TLS); several are
    /// separated by commas. With a password, use urlFrom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 1024), extend("x-kubernetes-validations" = [
        rules::rule(
            "self.matches('^(nats|tls)://[^/,]+(,(nats|tls)://[^/,]+)*$')",
            "spec.nats.url must be one or more addresses such as nats://host:4222, separated by commas",
        ),
        rules::rule(
            "!self.contains('@')",
            "spec.nats.url must not hold a user or password: put the address into a Secret and name it in spec.nats.urlFrom",
        ),
    ]))]
    pub url: Option<String>,
    /// Where the address of a NATS of yours is kept, such as `nats://user:password@host:4222`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UrlSource")]
    pub url_from: Option<UrlSource>,
    /// Let the operator run a small NATS: a single node, for trying out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ManagedStoreSpec")]
    pub managed: Option<ManagedStoreSpec>,
    /// The persist streams: the log that holds each acknowledged write until PostgreSQL has it.
    #[serde(default)]
    pub stream: StreamSpec,
}

/// The persist streams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamSpec {
    /// Streams that the keys are spread over, by their hash. 1 to 64. NATS syncs the messages of a stream one after the
    /// other, so a few streams take more writes than one; one per 100000 messages of backlog keeps purges short. A change
    /// waits until the queue is short, holds writes back for a few seconds, and makes every copy in Redis void.
    #[schemars(range(min = 1, max = 64))]
    pub partitions: i32,
    /// Copies that JetStream keeps of each message. 1, 3 or 5; more than 1 needs a NATS cluster of that size.
    #[schemars(range(min = 1, max = 5), extend("x-kubernetes-validations" = [rules::rule(
        "self in [1, 3, 5]",
        "spec.nats.stream.replicas must be 1, 3 or 5",
    )]))]
    pub replicas: i32,
    /// Queued messages, over all partitions, above which writes are refused with 503. 1000 to 1000000000.
    #[schemars(range(min = 1_000, max = 1_000_000_000))]
    pub max_messages: i64,
    /// Bytes of queued messages, over all partitions, above which writes are refused with 503. 1048576 (1 MiB) to
    /// 17592186044416 (16 TiB).
    #[schemars(range(min = 1 << 20, max = 1_i64 << 44))]
    pub max_bytes: i64,
    /// How long a persisted message stays before it is purged. 1s to 1h. It must be longer than NATS' ping_interval x
    /// (ping_max + 1) plus the 2s that a write waits for its acknowledgement; for a managed NATS the default is.
    #[schemars(extend("x-kubernetes-validations" = rules::between("spec.nats.stream.horizon", "1s", "1h")))]
    pub horizon: Period,
}

/// Where PostgreSQL is, and what may be used of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::rule(
    "has(self.urlFrom) != has(self.managed)",
    "spec.postgres takes exactly one of urlFrom and managed",
), rules::rule(
    "!has(self.ownerUrlFrom) || has(self.urlFrom)",
    "spec.postgres.ownerUrlFrom belongs to urlFrom: a managed PostgreSQL has both roles by itself",
)]))]
pub struct PostgresSpec {
    /// Where the address of a PostgreSQL of yours is kept, such as `postgres://user:password@host:5432/database`. With
    /// standbys name all hosts, separated by commas: the one that accepts writes is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UrlSource")]
    pub url_from: Option<UrlSource>,
    /// Where the address is kept with the role that owns the tables, which migrations use alone. The role of urlFrom is then
    /// granted rows to read and write, and nothing else. Default: the role of urlFrom owns them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UrlSource")]
    pub owner_url_from: Option<UrlSource>,
    /// Let the operator run a small PostgreSQL: a single node, for trying out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ManagedStoreSpec")]
    pub managed: Option<ManagedStoreSpec>,
    /// Connections that each API and worker pod may open. 2 to 100.
    #[serde(default = "connections")]
    #[schemars(range(min = 2, max = 100))]
    pub max_connections: i32,
    /// Tables that the entries are spread over, by the hash of their key: smaller indexes, and more than one can be
    /// vacuumed at a time. 1 to 256. A change moves all entries in one transaction, during which misses and the workers
    /// wait.
    #[serde(default = "one_table")]
    #[schemars(range(min = 1, max = 256))]
    pub table_partitions: i32,
    /// Schema that holds the tables. Lower-case letters, digits and underscores, at most 63; fixed once the BirbNest
    /// exists. BirbNests that share a database need one each.
    #[serde(default = "tables")]
    #[schemars(length(max = 63), pattern(r"^[a-z_][a-z0-9_]*$"), extend("x-kubernetes-validations" = [
        rules::rule(
            "self == oldSelf",
            "spec.postgres.schema cannot be changed: the entries would stay behind in the old one",
        ),
        rules::rule(
            "!self.startsWith('pg_')",
            "spec.postgres.schema must not start with pg_, which PostgreSQL keeps for itself",
        ),
    ]))]
    pub schema: String,
}

/// Where an address is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UrlSource {
    /// The key of a Secret in the BirbNest's namespace. When its content changes, the pods that use it are rolled.
    pub secret_key_ref: SecretKeyRef,
}

/// A key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A Redis that the operator runs. It keeps nothing across a restart: a cache need not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedRedisSpec {
    /// Memory for entries, in bytes; above it the least recently used ones go. 16777216 (16 MiB) to 68719476736 (64 GiB).
    #[schemars(range(min = 16 << 20, max = 64_i64 << 30))]
    pub max_memory_bytes: i64,
    /// Compute resources of the pod. Default: requests of 50m CPU and the memory for entries plus a quarter.
    pub resources: ResourcesSpec,
}

/// A store that the operator runs on a volume of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedStoreSpec {
    /// Size of the volume, such as `1Gi`; fixed once it exists.
    #[schemars(schema_with = "rules::size", extend("x-kubernetes-validations" = [rules::rule(
        "self == oldSelf",
        "the storage of a managed backend cannot be changed: a volume is not resized",
    )]))]
    pub storage: Quantity,
    /// Compute resources of the pod. Default: requests of 50m CPU and 256Mi memory.
    pub resources: ResourcesSpec,
}

fn connections() -> i32 {
    10
}

fn one_table() -> i32 {
    1
}

fn tables() -> String {
    "birbnest".to_owned()
}

impl Default for StreamSpec {
    fn default() -> Self {
        let config = StreamConfig::default();
        Self {
            partitions: i32::from(config.partitions),
            replicas: i32::from(config.replicas),
            max_messages: 1_000_000,
            max_bytes: 1 << 30,
            horizon: config.horizon,
        }
    }
}

impl Default for ManagedRedisSpec {
    fn default() -> Self {
        Self {
            max_memory_bytes: 256 << 20,
            resources: ResourcesSpec::default(),
        }
    }
}

impl Default for ManagedStoreSpec {
    fn default() -> Self {
        Self {
            storage: Quantity("1Gi".to_owned()),
            resources: ResourcesSpec::default(),
        }
    }
}
