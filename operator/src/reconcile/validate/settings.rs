//! From the spec to the data plane's configuration. Every field is named: a new one cannot be forgotten.

use birbnest_core::config::{
    ApiConfig, BatchConfig, CacheConfig, Config, LogConfig, PostgresConfig, PrimeConfig, RedisConfig,
    RetryConfig, StreamConfig, WorkerConfig,
};
use birbnest_crds::{
    ApiSpec, BirbNestSpec, CacheSpec, LogSpec, PostgresSpec, PrimeSpec, StreamSpec, WorkerSpec,
};
use garde::Validate;

use super::{Invalid, NestId};

/// Where the pods of the API have the certificate.
pub const TLS_FOLDER: &str = "/etc/birbnest-tls";
/// Where they have the API keys.
pub const API_KEYS_FOLDER: &str = "/etc/birbnest-api-keys";

pub(super) fn of(id: &NestId, spec: &BirbNestSpec) -> Result<Config, Invalid> {
    let config = Config {
        cache: cache(&spec.cache)?,
        stream: stream(id, &spec.nats.stream)?,
        redis: redis(id),
        postgres: postgres(&spec.postgres)?,
        api: api(&spec.api)?,
        worker: worker(&spec.worker)?,
        log: log(spec.log),
    };
    match config.validate() {
        Ok(()) => Ok(config),
        Err(report) => Err(Invalid::OutOfBounds(
            report.to_string().trim_end().replace('\n', "; "),
        )),
    }
}

/// A number of the resource as the unsigned one that is meant.
pub(super) fn whole<F, T: TryFrom<F>>(field: &str, value: F) -> Result<T, Invalid>
where
    F: Copy + std::fmt::Display,
{
    T::try_from(value).map_err(|_| Invalid::OutOfBounds(format!("{field} cannot be {value}")))
}

fn cache(spec: &CacheSpec) -> Result<CacheConfig, Invalid> {
    Ok(CacheConfig {
        default_ttl: spec.default_ttl,
        negative_ttl: spec.negative_ttl,
        max_value_bytes: whole("cache.maxValueBytes", spec.max_value_bytes)?,
        write_mode: spec.write_mode,
        on_queue_outage: spec.on_queue_outage,
        durability: spec.durability,
        prime: prime(&spec.prime)?,
    })
}

fn prime(spec: &PrimeSpec) -> Result<PrimeConfig, Invalid> {
    Ok(PrimeConfig {
        on_start: spec.on_start,
        prefix: spec.prefix.clone(),
        limit: whole("cache.prime.limit", spec.limit)?,
        order: spec.order,
    })
}

fn stream(id: &NestId, spec: &StreamSpec) -> Result<StreamConfig, Invalid> {
    let standard = StreamConfig::default();
    Ok(StreamConfig {
        prefix: id.stream_prefix(),
        partitions: whole("nats.stream.partitions", spec.partitions)?,
        replicas: whole("nats.stream.replicas", spec.replicas)?,
        max_messages: whole("nats.stream.maxMessages", spec.max_messages)?,
        max_bytes: whole("nats.stream.maxBytes", spec.max_bytes)?,
        ack_timeout: standard.ack_timeout,
        horizon: spec.horizon,
        janitor_interval: standard.janitor_interval,
    })
}

fn redis(id: &NestId) -> RedisConfig {
    RedisConfig {
        key_prefix: id.key_prefix(),
        command_timeout: RedisConfig::default().command_timeout,
    }
}

fn postgres(spec: &PostgresSpec) -> Result<PostgresConfig, Invalid> {
    Ok(PostgresConfig {
        schema: spec.schema.clone(),
        max_connections: whole("postgres.maxConnections", spec.max_connections)?,
        table_partitions: whole("postgres.tablePartitions", spec.table_partitions)?,
        statement_timeout: PostgresConfig::default().statement_timeout,
    })
}

fn api(spec: &ApiSpec) -> Result<ApiConfig, Invalid> {
    let standard = ApiConfig::default();
    Ok(ApiConfig {
        listen: standard.listen,
        max_concurrent_requests: whole("api.maxConcurrentRequests", spec.max_concurrent_requests)?,
        max_bytes_in_progress: whole("api.maxBytesInProgress", spec.max_bytes_in_progress)?,
        max_connections: whole("api.maxConnections", spec.max_connections)?,
        request_timeout: spec.request_timeout,
        shutdown_grace: standard.shutdown_grace,
        tls: spec.tls.is_some().then(|| TLS_FOLDER.into()),
        api_keys: spec.auth.api_keys.is_some().then(|| API_KEYS_FOLDER.into()),
    })
}

fn worker(spec: &WorkerSpec) -> Result<WorkerConfig, Invalid> {
    let standard = WorkerConfig::default();
    Ok(WorkerConfig {
        listen: standard.listen,
        batch: BatchConfig {
            size: whole("worker.batch.size", spec.batch.size)?,
            wait: spec.batch.wait,
            adaptive: spec.batch.adaptive,
        },
        concurrency: whole("worker.concurrency", spec.concurrency)?,
        max_bytes_in_progress: whole("worker.maxBytesInProgress", spec.max_bytes_in_progress)?,
        retry: RetryConfig {
            max_attempts: whole("worker.retry.maxAttempts", spec.retry.max_attempts)?,
            backoff: spec.retry.backoff,
        },
        shutdown_grace: standard.shutdown_grace,
    })
}

fn log(spec: LogSpec) -> LogConfig {
    LogConfig {
        level: spec.level,
        format: spec.format,
    }
}
