use birbnest_core::{
    Durability, OnQueueOutage, WriteMode,
    config::{CacheConfig, Period, PrimeConfig, PrimeOrder},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// What an entry may be and how long copies live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CacheSpec {
    /// How long Redis keeps a copy of an entry that PostgreSQL still has. 1s to 720h. An entry itself lives until it is
    /// deleted or its own ttl ends.
    #[schemars(extend("x-kubernetes-validations" = rules::between("spec.cache.defaultTtl", "1s", "720h")))]
    pub default_ttl: Period,
    /// How long Redis remembers that a key has no entry. 100ms to 1h.
    #[schemars(extend("x-kubernetes-validations" = rules::between("spec.cache.negativeTtl", "100ms", "1h")))]
    pub negative_ttl: Period,
    /// Longest value that is accepted, in bytes of JSON text. 1 to 8388608 (8 MiB). More than about 1000000 needs
    /// max_payload raised on a NATS server of your own.
    #[schemars(range(min = 1, max = 8 << 20))]
    pub max_value_bytes: i32,
    /// What a write waits for. Behind: for the durability that it asks for, PostgreSQL follows behind. Through: for
    /// PostgreSQL, whatever it asks for.
    pub write_mode: WriteMode,
    /// What happens to writes while NATS is away. Reject: they are refused. WriteThrough: after some seconds PostgreSQL
    /// takes them, until NATS is back. In return a pod that cannot reach PostgreSQL for 5 seconds takes no writes.
    pub on_queue_outage: OnQueueOutage,
    /// How safe a write is when it is acknowledged, unless the request says otherwise (Prefer: durability=...).
    /// queued: in the persist stream. persisted: committed by PostgreSQL.
    pub durability: Durability,
    /// Which entries are loaded into Redis before anybody asks for them.
    pub prime: PrimeSpec,
}

/// Which entries are loaded into Redis before anybody asks for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PrimeSpec {
    /// Load them when a worker starts and finds a Redis that holds nothing of this cache generation, and whenever Redis
    /// loses everything later. One worker does it, behind the writes.
    pub on_start: bool,
    /// Only keys of the instance global that start with this; empty: all of them. At most 255 characters.
    #[schemars(length(max = 255))]
    pub prefix: String,
    /// Most keys. 1 to 100000.
    #[schemars(range(min = 1, max = 100_000))]
    pub limit: i32,
    /// Which keys come first. newest: those that were written last, found by looking at every row once. key: in their own
    /// order.
    pub order: PrimeOrder,
}

impl Default for PrimeSpec {
    fn default() -> Self {
        let config = PrimeConfig::default();
        Self {
            on_start: config.on_start,
            prefix: config.prefix,
            limit: 10_000,
            order: config.order,
        }
    }
}

impl Default for CacheSpec {
    fn default() -> Self {
        let config = CacheConfig::default();
        Self {
            default_ttl: config.default_ttl,
            negative_ttl: config.negative_ttl,
            max_value_bytes: 1_000_000,
            write_mode: config.write_mode,
            on_queue_outage: config.on_queue_outage,
            durability: config.durability,
            prime: PrimeSpec::default(),
        }
    }
}
