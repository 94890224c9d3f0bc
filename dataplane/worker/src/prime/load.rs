//! Many keys at once, each as a reader's miss fills it: a lease, the last message from the stream's leader, only after
//! that reply the row with the mark, and the fill over the own lease.

use async_nats::jetstream::Context;
use birbnest_core::{Entry, EntryId, Partition, StreamNames, Timestamp, config::StreamConfig, newest};
use birbnest_stores::{
    fence::FenceWatch,
    jetstream::{ReadError, last_entry},
    postgres::{Mode, Postgres, PostgresError, Stored},
    redis::{Cache, CacheError, Found, Lease},
};
use futures::{StreamExt, TryStreamExt, stream};

/// Commands of one kind in progress.
const CONCURRENCY: usize = 16;

/// Loads entries.
pub(crate) struct Loader {
    context: Context,
    names: StreamNames,
    fences: FenceWatch,
    postgres: Postgres,
    cache: Cache,
}

/// Why a batch was not loaded. Leases that were taken end by themselves, in seconds.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Stream(#[from] ReadError),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

/// A key that nobody else may fill at the moment.
struct Leased {
    partition: Partition,
    id: EntryId,
    lease: Lease,
}

impl Loader {
    pub(crate) fn new(
        context: Context,
        config: &StreamConfig,
        fences: FenceWatch,
        postgres: Postgres,
        cache: Cache,
    ) -> Self {
        Self {
            context,
            names: StreamNames::new(&config.prefix),
            fences,
            postgres,
            cache,
        }
    }

    /// Loads what Redis does not have; returns how many entries that were.
    pub(crate) async fn load(&self, ids: &[EntryId]) -> Result<usize, LoadError> {
        let leased = self.lease(ids).await?;
        let queued = together(leased.iter().map(|key| self.queued(key)).collect()).await?;
        let asked: Vec<_> = leased.iter().map(|key| (key.partition, key.id.clone())).collect();
        let stored = self.postgres.read_many(&asked).await?;
        let fills = leased.into_iter().zip(queued).zip(stored);
        let fills = fills.map(|((key, queued), stored)| self.fill(key, queued, stored));
        let filled = together(fills.collect()).await?;
        Ok(filled.into_iter().filter(|filled| *filled).count())
    }

    /// The keys that are absent from Redis, each under a lease of its own.
    async fn lease(&self, ids: &[EntryId]) -> Result<Vec<Leased>, LoadError> {
        let leases = ids.iter().map(|id| self.lease_one(id)).collect();
        Ok(together(leases).await?.into_iter().flatten().collect())
    }

    async fn lease_one(&self, id: &EntryId) -> Result<Option<Leased>, LoadError> {
        let layout = self.fences.layout().ok_or(CacheError::UnknownGeneration)?;
        let partition = layout.partition(id.hash());
        let lease = self.cache.lease(partition, id, rand::random()).await?;
        Ok(lease.map(|lease| Leased {
            partition,
            id: id.clone(),
            lease,
        }))
    }

    async fn queued(&self, key: &Leased) -> Result<Option<Entry>, LoadError> {
        let stream = self.names.stream(key.partition);
        let subject = self.names.subject(key.partition, key.id.hash());
        Ok(last_entry(&self.context, &stream, &subject).await?)
    }

    /// Whether an entry was loaded: it may be gone, or another write may have come first.
    async fn fill(&self, key: Leased, queued: Option<Entry>, stored: Stored) -> Result<bool, LoadError> {
        // Writes past the queue remove copies before they commit and never again.
        if stored.mode == Mode::Through {
            return Ok(false);
        }
        let now = Timestamp::now();
        let newest = newest(queued, stored.entry, stored.mark, now);
        let live = newest.filter(|entry| entry.record.is_live(now));
        let nothing = Found::Nothing { mark: stored.mark };
        let found = live.as_ref().map_or(nothing, Found::Entry);
        let filled = self.cache.fill(key.lease, found).await?;
        Ok(filled && live.is_some())
    }
}

/// What all of it comes to, in the same order.
async fn together<T>(work: Vec<impl Future<Output = Result<T, LoadError>>>) -> Result<Vec<T>, LoadError> {
    stream::iter(work).buffered(CONCURRENCY).try_collect().await
}
