//! What the API and the worker have in common: the stores that their addresses name.

use std::sync::Arc;

use birbnest_core::config::{CacheConfig, Config, RedisConfig, Secrets};

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

/// The database, what its fences say, and where the cache is whose generation they raise. Cheap to clone.
#[derive(Clone)]
pub struct Backends {
    /// The database behind.
    pub postgres: Postgres,
    /// Which partitions there are, and the fence of each.
    pub fences: FenceWatch,
    cache: Arc<CacheAddress>,
}

struct CacheAddress {
    url: String,
    redis: RedisConfig,
    cache: CacheConfig,
}

impl Backends {
    /// Starts connecting in the background; PostgreSQL sees the connections under `name`.
    ///
    /// # Errors
    /// When an address cannot be used.
    pub fn start(config: &Config, secrets: &Secrets, name: &'static str) -> Result<Self, BackendError> {
        let postgres = Postgres::connect(&secrets.postgres_url, name, &config.postgres)?;
        let fences = FenceWatch::start(postgres.clone());
        let cache = CacheAddress {
            url: secrets.redis_url.clone(),
            redis: config.redis.clone(),
            cache: config.cache.clone(),
        };
        Ok(Self {
            postgres,
            fences,
            cache: Arc::new(cache),
        })
    }

    /// Starts a connection to the cache, on the runtime in whose context this is called.
    ///
    /// # Errors
    /// When its address cannot be used.
    pub fn cache(&self) -> Result<Cache, BackendError> {
        let CacheAddress { url, redis, cache } = &*self.cache;
        Ok(Cache::start(url, redis, cache, self.fences.generations())?)
    }
}
