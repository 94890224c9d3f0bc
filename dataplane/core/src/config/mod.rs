//! The configuration file of the data plane.
//!
//! The operator renders this very type into a ConfigMap, the binaries parse it: a field cannot be forgotten on one
//! side. Every field has a default, so an empty file is a valid one. Addresses and passwords are not in it: they come
//! from the environment (see [`Secrets`]).

mod bounds;
mod defaults;
mod file;
mod period;
mod prime;
mod secrets;

use std::{net::SocketAddr, path::PathBuf};

use garde::Validate;
use serde::{Deserialize, Serialize};

use crate::{Durability, OnQueueOutage, WriteMode};
use bounds::{DAY_MS, HOUR_MS, between};

pub use file::ConfigError;
pub use period::{InvalidPeriod, Period};
pub use prime::{MOST_PRIMED, PrimeConfig, PrimeOrder};
pub use secrets::{MissingSecret, Secrets};

/// Everything that the data-plane binaries can be told. Each reads the sections that concern it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// What an entry may be and how long copies live.
    #[garde(dive)]
    pub cache: CacheConfig,
    /// The persist streams.
    #[garde(dive)]
    pub stream: StreamConfig,
    /// The cache in front.
    #[garde(dive)]
    pub redis: RedisConfig,
    /// The database behind.
    #[garde(dive)]
    pub postgres: PostgresConfig,
    /// The HTTP service.
    #[garde(dive)]
    pub api: ApiConfig,
    /// The drain.
    #[garde(dive)]
    pub worker: WorkerConfig,
    /// What the processes write to their standard error.
    #[garde(skip)]
    pub log: LogConfig,
}

/// What an entry may be and how long copies live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CacheConfig {
    /// How long Redis keeps a copy of an entry that PostgreSQL still has. 1 s to 30 days.
    #[garde(custom(between(1_000, 30 * DAY_MS)))]
    pub default_ttl: Period,
    /// How long Redis remembers that a key has no entry. 100 ms to 1 h.
    #[garde(custom(between(100, HOUR_MS)))]
    pub negative_ttl: Period,
    /// Longest value that is accepted, in bytes of JSON text. At most 8 MiB (the default message limit of NATS is 1 MiB,
    /// so more than that needs `max_payload` raised there).
    #[garde(range(min = 1, max = 8 << 20))]
    pub max_value_bytes: u32,
    /// What a write waits for.
    #[garde(skip)]
    pub write_mode: WriteMode,
    /// What happens to writes while NATS is away.
    #[garde(skip)]
    pub on_queue_outage: OnQueueOutage,
    /// How safe a write is when it is acknowledged, unless the request asks for something else.
    #[garde(skip)]
    pub durability: Durability,
    /// Which entries are loaded into Redis before anybody asks for them.
    #[garde(dive)]
    pub prime: PrimeConfig,
}

/// The persist streams: the log that holds each acknowledged write until PostgreSQL has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StreamConfig {
    /// What the names of streams and subjects start with; no two nests on one NATS may share it.
    #[garde(pattern(r"^[A-Za-z0-9_-]{1,160}$"))]
    pub prefix: String,
    /// Streams that the keys are spread over, by their hash. 1 to 64. JetStream syncs the messages of a stream one after
    /// the other, so a few streams take about twice the writes of one.
    #[garde(range(min = 1, max = 64))]
    pub partitions: u16,
    /// Copies that JetStream keeps of each message. 1, 3 or 5.
    #[garde(range(min = 1, max = 5))]
    pub replicas: u8,
    /// Messages over all partitions above which writes are refused.
    #[garde(range(min = 1_000, max = 1_000_000_000))]
    pub max_messages: u64,
    /// Bytes over all partitions above which writes are refused.
    #[garde(range(min = 1 << 20, max = 1 << 44))]
    pub max_bytes: u64,
    /// How long a publisher waits for JetStream's acknowledgement. The answer is then "outcome unknown".
    #[garde(custom(between(100, 10_000)))]
    pub ack_timeout: Period,
    /// How long an acknowledged and persisted message stays before it is purged. It must exceed what a publish can be
    /// held in a dead connection: NATS' `ping_interval x (ping_max + 1)` and the request deadline.
    #[garde(custom(between(1_000, HOUR_MS)))]
    pub horizon: Period,
    /// How often the janitor looks.
    #[garde(custom(between(100, HOUR_MS)))]
    pub janitor_interval: Period,
}

impl StreamConfig {
    /// Whether a stream in memory tells the lives of the servers apart, as a cluster needs.
    pub fn has_witness(&self) -> bool {
        self.replicas > 1
    }
}

/// The cache in front.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RedisConfig {
    /// What every key starts with; no two nests on one Redis may share it.
    #[garde(length(min = 1, max = 160))]
    pub key_prefix: String,
    /// How long one command may take.
    #[garde(custom(between(10, 10_000)))]
    pub command_timeout: Period,
}

/// The database behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// The schema that holds the tables; no two nests in one database may share it.
    #[garde(pattern(r"^[a-z_][a-z0-9_]{0,62}$"))]
    pub schema: String,
    /// Connections that one process may open. 2 to 100.
    #[garde(range(min = 2, max = 100))]
    pub max_connections: u32,
    /// Tables that the entries are spread over, by the hash of their key. 1 to 256.
    #[garde(range(min = 1, max = 256))]
    pub table_partitions: u16,
    /// How long one statement may take, and how long a request waits for a connection.
    #[garde(custom(between(100, 60_000)))]
    pub statement_timeout: Period,
}

/// The HTTP service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Where it listens.
    #[garde(skip)]
    pub listen: SocketAddr,
    /// Requests in progress above which new ones are refused with 503.
    #[garde(range(min = 1, max = 1_000_000))]
    pub max_concurrent_requests: u32,
    /// Bytes of bodies and large answers in progress above which new ones are refused with 503. The process takes about
    /// four times as much. 32 MiB to 64 GiB.
    #[garde(range(min = 32 << 20, max = 64 << 30))]
    pub max_bytes_in_progress: u64,
    /// Open connections above which a new one is told 503 and closed. 16 to 1,000,000.
    #[garde(range(min = 16, max = 1_000_000))]
    pub max_connections: u32,
    /// How long a request may take, including the reading of its body.
    #[garde(custom(between(100, 60_000)))]
    pub request_timeout: Period,
    /// How long requests in progress may go on after SIGTERM.
    #[garde(custom(between(0, HOUR_MS)))]
    pub shutdown_grace: Period,
    /// Folder with `tls.crt` and `tls.key`, both PEM: HTTP is served with TLS then, and with the new ones when they change.
    #[garde(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<PathBuf>,
    /// Folder whose files each hold an API key, named by whose it is: everything below `/v1` asks for one of them then.
    #[garde(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<PathBuf>,
}

/// The drain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// Where health and metrics are served.
    #[garde(skip)]
    pub listen: SocketAddr,
    /// How messages are gathered.
    #[garde(dive)]
    pub batch: BatchConfig,
    /// Batches in progress per partition and process. 1 to 16.
    #[garde(range(min = 1, max = 16))]
    pub concurrency: u8,
    /// Bytes of messages in hand, over all partitions, above which nothing more is pulled. The process takes about four
    /// times as much. 32 MiB to 64 GiB.
    #[garde(range(min = 32 << 20, max = 64 << 30))]
    pub max_bytes_in_progress: u64,
    /// What happens to a batch that PostgreSQL did not take.
    #[garde(dive)]
    pub retry: RetryConfig,
    /// How long a batch in hand may take after SIGTERM.
    #[garde(custom(between(0, HOUR_MS)))]
    pub shutdown_grace: Period,
}

/// How messages are gathered into one statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Messages in a batch. 1 to 10,000.
    #[garde(range(min = 1, max = 10_000))]
    pub size: u32,
    /// How long a batch waits to become full.
    #[garde(custom(between(1, 60_000)))]
    pub wait: Period,
    /// Grow batches up to 1,000 messages while there is a backlog, and shrink back to `size` without one.
    #[garde(skip)]
    pub adaptive: bool,
}

/// What happens to a batch that PostgreSQL did not take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryConfig {
    /// Attempts before a row that PostgreSQL rejects is set aside. An unreachable PostgreSQL is not counted. 1 to 20.
    #[garde(range(min = 1, max = 20))]
    pub max_attempts: u8,
    /// The first pause; it doubles with each attempt, with jitter, up to 30 s.
    #[garde(custom(between(10, 30_000)))]
    pub backoff: Period,
}

/// What the processes write to their standard error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogConfig {
    /// The least severe level that is written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Somebody must act.
    Error,
    /// Somebody should look.
    Warn,
    /// What happened, once per event of note.
    #[default]
    Info,
    /// What a developer asks for.
    Debug,
    /// Everything.
    Trace,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For a person at a terminal.
    Text,
}
