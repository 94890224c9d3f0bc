//! What the API and the worker have in common: the stores that their addresses name.

use birbnest_core::config::{Config, Secrets};

use crate::{
    fence::FenceWatch,
    jetstream::InvalidAddress,
    postgres::{Postgres, PostgresError},
    redis::{Cache, CacheError},
};

/// Why an address cannot be used. A backend that is away is no reason: whoever needs it waits.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// It is no address of Redis.
    #[error("BIRBNEST_REDIS_URL: {0}")]
    Redis(#[from] CacheError),
    /// It is no address of NATS.
    #[error("BIRBNEST_NATS_URL: {0}")]
    Nats(#[from] InvalidAddress),
    /// It is no address of PostgreSQL.
    #[error("BIRBNEST_POSTGRES_URL: {0}")]
    Postgres(#[from] PostgresError),
}

/// The database, what its fences say, and the cache whose generation they raise. Each is cheap to clone.
#[derive(Clone)]
pub struct Backends {
    /// The database behind.
    pub postgres: Postgres,
    /// The fence of every partition.
    pub fences: FenceWatch,
    /// The cache in front.
    pub cache: Cache,
}

impl Backends {
    /// Starts connecting in the background; PostgreSQL sees the connections under `name`.
    ///
    /// # Errors
    /// When an address cannot be used.
    pub fn start(config: &Config, secrets: &Secrets, name: &'static str) -> Result<Self, BackendError> {
        let postgres = Postgres::connect(&secrets.postgres_url, name, &config.postgres)?;
        let fences = FenceWatch::start(postgres.clone(), config.stream.partitions);
        let generations = fences.generations();
        let cache = Cache::start(&secrets.redis_url, &config.redis, &config.cache, generations)?;
        Ok(Self {
            postgres,
            fences,
            cache,
        })
    }
}
