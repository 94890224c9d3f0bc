//! What an empty file means.

use std::net::SocketAddr;

use super::{
    ApiConfig, BatchConfig, CacheConfig, Period, PostgresConfig, PrimeConfig, RedisConfig, RetryConfig,
    StreamConfig, WorkerConfig,
};
use crate::{Durability, OnQueueOutage, WriteMode};

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            default_ttl: Period::from_secs(3600),
            negative_ttl: Period::from_secs(10),
            max_value_bytes: 1_000_000,
            write_mode: WriteMode::default(),
            on_queue_outage: OnQueueOutage::default(),
            durability: Durability::default(),
            prime: PrimeConfig::default(),
        }
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            prefix: "cache".to_owned(),
            partitions: 4,
            replicas: 1,
            max_messages: 1_000_000,
            max_bytes: 1 << 30,
            ack_timeout: Period::from_secs(2),
            horizon: Period::from_secs(15),
            janitor_interval: Period::from_secs(5),
        }
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            key_prefix: "birb".to_owned(),
            command_timeout: Period::from_millis(500),
        }
    }
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            schema: "birbnest".to_owned(),
            max_connections: 10,
            table_partitions: 1,
            statement_timeout: Period::from_secs(5),
        }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            max_concurrent_requests: 10_000,
            max_bytes_in_progress: 64 << 20,
            max_connections: 4_096,
            request_timeout: Period::from_secs(5),
            shutdown_grace: Period::from_secs(20),
            tls: None,
            api_keys: None,
        }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8081)),
            batch: BatchConfig::default(),
            concurrency: 2,
            max_bytes_in_progress: 64 << 20,
            retry: RetryConfig::default(),
            shutdown_grace: Period::from_secs(20),
        }
    }
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            size: 500,
            wait: Period::from_millis(50),
            adaptive: true,
        }
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Period::from_millis(200),
        }
    }
}
