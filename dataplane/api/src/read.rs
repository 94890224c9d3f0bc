//! The read path: Redis, then the stream, and only after its reply PostgreSQL; the highest version wins.

use std::{pin::pin, sync::Arc};

use birbnest_core::{EntryId, KeyHash, Partition, Timestamp, Version};
use birbnest_stores::{
    fence::FenceWatch,
    redis::{Cache, Cached, Found, Lease},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    flight::{Boarding, Flights, Lead, joined},
    metrics::{Metrics, Outcome},
    problem::Problem,
    sources::{Source, Sources, Truth, Unanswered, nowhere},
};

/// Misses of one batch that ask the sources at the same time.
const BATCH_CONCURRENCY: usize = 16;
/// Bytes after which Redis is not asked for more entries of a batch before these are dealt with.
const ROUND_BYTES: usize = 4 << 20;

/// What a read found, and where. Clones share the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) found: Option<Envelope>,
    /// No write up to this version is missing.
    pub(crate) as_of: Version,
    pub(crate) source: Source,
}

/// An entry that the cache knows nothing of.
#[derive(Debug)]
pub(crate) struct Miss {
    id: EntryId,
    hash: KeyHash,
}

/// A live entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) version: Version,
    pub(crate) json: Bytes,
}

/// Where the readers of all cores meet who miss the same key.
pub(crate) type SharedFlights = Arc<Flights<Result<Read, Problem>>>;

/// Reads entries.
pub(crate) struct ReadPath {
    cache: Cache,
    sources: Sources,
    metrics: Metrics,
    fences: FenceWatch,
    flights: SharedFlights,
}

impl ReadPath {
    pub(crate) fn new(
        cache: Cache,
        sources: Sources,
        metrics: Metrics,
        fences: FenceWatch,
        flights: SharedFlights,
    ) -> Self {
        Self {
            cache,
            sources,
            metrics,
            fences,
            flights,
        }
    }

    /// Reads one entry, as it was at `at_least` or later.
    pub(crate) async fn get(&self, id: EntryId, at_least: Version) -> Result<Read, Problem> {
        match self.cached(id, at_least).await {
            Ok(read) => Ok(read),
            Err(miss) => self.miss(miss, at_least).await,
        }
    }

    /// What the cache says of an entry, or what the sources must be asked with. Waits for Redis and for nothing else.
    pub(crate) async fn cached(&self, id: EntryId, at_least: Version) -> Result<Read, Miss> {
        let hash = id.hash();
        let mut cached = match self.fences.layout() {
            Some(layout) => self
                .cache
                .get(layout.partition(hash), &id)
                .await
                .unwrap_or_default(),
            None => Cached::Unknown,
        };
        if is_older(&cached, at_least) {
            cached = Cached::Unknown;
        }
        self.judged(cached).ok_or(Miss { id, hash })
    }

    /// Asks the sources for what the cache does not have.
    pub(crate) async fn miss(&self, miss: Miss, at_least: Version) -> Result<Read, Problem> {
        let read = self.ask(miss).await?;
        if read.as_of < at_least {
            return Err(Problem::unavailable(
                "what can be reached is older than Birb-Min-Version asks for",
            ));
        }
        Ok(read)
    }

    /// Whether there is a live entry.
    pub(crate) async fn exists(&self, id: &EntryId) -> Result<bool, Problem> {
        Ok(self.get(id.clone(), Version::ZERO).await?.found.is_some())
    }

    /// Reads several entries, in the order asked: few round trips to Redis, and the sources for what it does not have.
    /// `keep` is given each as it comes, and says what is kept of it.
    pub(crate) async fn get_many<T>(
        &self,
        ids: Vec<EntryId>,
        mut keep: impl FnMut(Read) -> Result<T, Problem>,
    ) -> Result<Vec<(EntryId, T)>, Problem> {
        let layout = self.fences.layout().ok_or_else(nowhere)?;
        let mut asked: Vec<(Partition, EntryId)> = ids
            .into_iter()
            .map(|id| (layout.partition(id.hash()), id))
            .collect();
        let mut kept = Vec::with_capacity(asked.len());
        while !asked.is_empty() {
            let mut cached = self.cache.get_some(&asked, ROUND_BYTES).await.unwrap_or_default();
            if cached.is_empty() {
                cached.resize(asked.len(), Cached::Unknown);
            }
            let later = asked.split_off(cached.len());
            let reads = asked
                .into_iter()
                .zip(cached)
                .map(|((_, id), cached)| self.one_of_many(id, cached));
            let mut reads = pin!(stream::iter(reads).buffered(BATCH_CONCURRENCY));
            while let Some((id, read)) = reads.try_next().await? {
                kept.push((id, keep(read)?));
            }
            asked = later;
        }
        Ok(kept)
    }

    async fn one_of_many(&self, id: EntryId, cached: Cached) -> Result<(EntryId, Read), Problem> {
        if let Some(read) = self.judged(cached) {
            return Ok((id, read));
        }
        let miss = Miss {
            hash: id.hash(),
            id: id.clone(),
        };
        Ok((id, self.ask(miss).await?))
    }

    /// The answer, if the cache has one.
    fn judged(&self, cached: Cached) -> Option<Read> {
        let (found, as_of, outcome) = match cached {
            Cached::Entry { version, envelope } => {
                let json = envelope;
                (Some(Envelope { version, json }), version, Outcome::Hit)
            }
            Cached::Absent { version } => (None, version, Outcome::NegativeHit),
            Cached::Unknown => {
                self.metrics.read(Outcome::Miss);
                return None;
            }
        };
        self.metrics.read(outcome);
        Some(Read {
            found,
            as_of,
            source: Source::Cache,
        })
    }

    /// Asks the sources, together with the others who miss the same key.
    async fn ask(&self, Miss { id, hash }: Miss) -> Result<Read, Problem> {
        loop {
            match self.flights.board(hash) {
                Boarding::Join(flight) => {
                    if let Some(answer) = joined(flight).await {
                        return answer;
                    }
                    // The leader's client hung up: somebody else must lead.
                }
                Boarding::Lead(lead) => return self.lead(lead, &id, hash).await,
            }
        }
    }

    async fn lead(
        &self,
        mut lead: Lead<Result<Read, Problem>>,
        id: &EntryId,
        hash: KeyHash,
    ) -> Result<Read, Problem> {
        let answer = self.look(&mut lead, id, hash).await;
        lead.land(answer.clone());
        answer
    }

    async fn look(
        &self,
        lead: &mut Lead<Result<Read, Problem>>,
        id: &EntryId,
        hash: KeyHash,
    ) -> Result<Read, Problem> {
        let mut partition = self.sources.partition(hash).await?;
        loop {
            // Before the sources are read: a write or refresh that comes later removes the lease.
            let lease = self.cache.lease(partition, id, rand::random()).await;
            lead.close();
            match self.sources.ask(partition, hash, id).await {
                Ok(truth) => return Ok(self.told(truth, lease.unwrap_or_default())),
                Err(unanswered) => {
                    let other = self.after(&unanswered, hash).await;
                    partition = other.ok_or(unanswered)?;
                }
            }
        }
    }

    /// The partition in which the key is by now, if it is in another one.
    async fn after(&self, unanswered: &Unanswered, hash: KeyHash) -> Option<Partition> {
        match unanswered {
            Unanswered::NoFence(before) => self.sources.partition_after(*before, hash).await,
            Unanswered::Problem(_) => None,
        }
    }

    /// The answer; if both sources gave it, it is also copied to Redis, for which the client does not wait.
    fn told(&self, truth: Truth, lease: Option<Lease>) -> Read {
        let as_of = truth.as_of();
        let live = truth
            .newest
            .filter(|entry| entry.record.is_live(Timestamp::now()));
        let found = live.as_ref().and_then(|entry| {
            Some(Envelope {
                version: entry.version,
                json: Bytes::from(entry.envelope()?),
            })
        });
        if let (true, Some(lease)) = (truth.may_fill, lease) {
            let cache = self.cache.clone();
            tokio::spawn(async move {
                let found = live
                    .as_ref()
                    .map_or(Found::Nothing { mark: truth.mark }, Found::Entry);
                if let Err(error) = cache.fill(lease, found).await {
                    tracing::debug!(%error, "a read was not copied to redis");
                }
            });
        }
        Read {
            found,
            as_of,
            source: truth.source,
        }
    }
}

/// Whether the sources must be asked, although the cache has an answer.
fn is_older(cached: &Cached, at_least: Version) -> bool {
    match cached {
        Cached::Entry { version, .. } | Cached::Absent { version } => *version < at_least,
        Cached::Unknown => false,
    }
}
