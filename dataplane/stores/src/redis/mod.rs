//! Redis: the copies that make reads fast. It is never the only place of anything.

mod address;
mod batch;
mod cluster;
mod connection;
mod generation;
mod masters;
mod memory;
mod place;
mod primed;
mod scripts;
mod sentinel;
mod server;
mod slot;
mod told;

use std::{sync::Arc, time::Duration};

use birbnest_core::{
    Entry, EntryId, Partition, Timestamp, Version,
    config::{CacheConfig, RedisConfig},
};
use bytes::Bytes;
use redis::{RedisError, ScriptInvocation};
use tokio::sync::watch;

use crate::{Connectivity, millis};
use address::Address;
use generation::{Life, Tag};
use masters::{Session, Shared};
use scripts::Scripts;

pub use generation::Generations;
pub use memory::RedisMemory;
pub use slot::Cached;

/// How long a reader may take from its lease to its fill.
const LEASE_LIFETIME: Duration = Duration::from_secs(5);

/// Why the cache could not be asked. The sources can: no request fails for it.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// There is no connection at the moment.
    #[error("redis is not connected")]
    NotConnected,
    /// The fence has not been read yet, so no copy can be judged.
    #[error("the cache generation is not known yet")]
    UnknownGeneration,
    /// Redis refused, or did not answer in time.
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
}

/// A handle to Redis, cheap to clone.
#[derive(Clone, Debug)]
pub struct Cache {
    shared: Arc<Shared>,
    scripts: Arc<Scripts>,
    generations: Generations,
    key_prefix: Arc<str>,
    residency: Duration,
    negative_ttl: Duration,
    status: watch::Receiver<Connectivity>,
}

/// The right to fill one absent key, as long as nobody else writes there.
#[derive(Debug)]
pub struct Lease {
    session: Arc<Session>,
    tag: Tag,
    key: String,
    slot: Vec<u8>,
}

impl Cache {
    /// Starts connecting in the background.
    ///
    /// # Errors
    /// When the address is not one of Redis.
    pub fn start(
        url: &str,
        redis: &RedisConfig,
        cache: &CacheConfig,
        generations: Generations,
    ) -> Result<Self, CacheError> {
        let address = Address::parse(url)?;
        let shared = Arc::new(Shared::default());
        let (sender, status) = watch::channel(Connectivity::default());
        let timeout = redis.command_timeout.get();
        tokio::spawn(address.keep_connected(timeout, Arc::downgrade(&shared), sender));
        Ok(Self {
            shared,
            scripts: Arc::new(Scripts::new()),
            generations,
            key_prefix: redis.key_prefix.as_str().into(),
            residency: cache.default_ttl.get(),
            negative_ttl: cache.negative_ttl.get(),
            status,
        })
    }

    /// Whether there is a connection, and if not, why.
    pub fn status(&self) -> watch::Receiver<Connectivity> {
        self.status.clone()
    }

    /// What the cache knows of a key: one round trip.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn get(&self, partition: Partition, id: &EntryId) -> Result<Cached, CacheError> {
        let key = self.key(id);
        let (session, tag) = self.session(partition, &key)?;
        let mut connection = session.connection.clone();
        let answer = redis::cmd("GET")
            .arg(key)
            .query_async::<Option<Bytes>>(&mut connection)
            .await;
        let slot = self.noted(&session, answer)?;
        Ok(slot.map_or(Cached::Unknown, |slot| slot::parse(&slot, tag)))
    }

    /// Takes the right to fill an absent key; `None` when something of this generation is there by now.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn lease(
        &self,
        partition: Partition,
        id: &EntryId,
        token: u64,
    ) -> Result<Option<Lease>, CacheError> {
        let key = self.key(id);
        let (session, tag) = self.session(partition, &key)?;
        let lease = Lease {
            tag,
            key,
            slot: slot::of_lease(token, tag),
            session,
        };
        let mut call = self.scripts.lease.prepare_invoke();
        call.key(&lease.key)
            .arg(tag.as_bytes())
            .arg(&lease.slot)
            .arg(millis(LEASE_LIFETIME));
        let granted: bool = self.invoke(&lease.session, &call).await?;
        Ok(granted.then_some(lease))
    }

    /// Stores what both sources said, if the lease still stands, and returns whether it did. The connection is that of the lease: another one may
    /// lead to another Redis.
    ///
    /// # Errors
    /// When Redis cannot be asked; the lease then ends by itself.
    pub async fn fill(&self, lease: Lease, found: Found<'_>) -> Result<bool, CacheError> {
        let (slot, lifetime) = match found {
            Found::Entry(entry) => (slot::of_entry(entry, lease.tag), self.lifetime_ms(entry)),
            Found::Nothing { mark } => (slot::of_negative(mark, lease.tag), millis(self.negative_ttl)),
        };
        let mut call = self.scripts.fill.prepare_invoke();
        call.key(&lease.key).arg(&lease.slot).arg(slot).arg(lifetime);
        self.invoke(&lease.session, &call).await
    }

    fn session(&self, partition: Partition, key: &str) -> Result<(Arc<Session>, Tag), CacheError> {
        let session = self.shared.serving(key)?;
        let tag = self.tag(session.life, partition)?;
        Ok((session, tag))
    }

    fn tag(&self, life: Life, partition: Partition) -> Result<Tag, CacheError> {
        let counter = self
            .generations
            .get(partition)
            .ok_or(CacheError::UnknownGeneration)?;
        Ok(Tag::new(life, counter))
    }

    /// Every key of a nest starts with its prefix; no instance contains a colon, so no two names run together.
    fn key(&self, id: &EntryId) -> String {
        [&*self.key_prefix, id.instance.as_str(), id.key.as_str()].join(":")
    }

    /// What is left of the entry's time to live, at most the residency and at least a millisecond.
    fn lifetime_ms(&self, entry: &Entry) -> u64 {
        let residency = millis(self.residency);
        let left = entry
            .record
            .expires_at
            .map(|end| end.millis_since(Timestamp::now()));
        left.map_or(residency, |left| left.clamp(1, residency))
    }

    async fn invoke<T: redis::FromRedisValue>(
        &self,
        session: &Session,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, CacheError> {
        let mut connection = session.connection.clone();
        let answer = call.invoke_async(&mut connection).await;
        self.noted(session, answer)
    }

    fn noted<T>(&self, session: &Session, answer: Result<T, RedisError>) -> Result<T, CacheError> {
        if let Err(error) = &answer {
            self.shared.note(session, error);
        }
        Ok(answer?)
    }
}

/// What both sources together said of a key.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// The newest entry or tombstone.
    Entry(&'a Entry),
    /// Nothing up to the mark.
    Nothing {
        /// Everything up to this version is in PostgreSQL, and nothing of this key was there.
        mark: Version,
    },
}
