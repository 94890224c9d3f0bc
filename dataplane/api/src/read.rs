//! The read path: Redis, then the stream, and only after its reply PostgreSQL; the highest version wins.

use std::sync::Arc;

use birbnest_core::{Content, Entry, EntryId, KeyHash, Partition, Timestamp, Version};
use birbnest_stores::{
    fence::FenceWatch,
    jetstream::{Log, ReadError},
    postgres::{Postgres, PostgresError, Stored},
    redis::{Cache, Cached, Found, Lease},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    flight::{Boarding, Flights, Lead, joined},
    metrics::{Metrics, Outcome},
    problem::Problem,
};

/// Misses of one batch that ask the sources at the same time.
const BATCH_CONCURRENCY: usize = 16;

/// What a read found, and where. Clones share the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) found: Option<Envelope>,
    pub(crate) source: Source,
}

/// A live entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) version: Version,
    pub(crate) json: Bytes,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Redis.
    Cache,
    /// The stream and PostgreSQL together: the truth.
    Both,
    /// PostgreSQL alone: a queued write may be newer.
    DatabaseAlone,
    /// The stream alone: the write is queued and not yet in PostgreSQL.
    StreamAlone,
}

/// Reads entries, cheap to clone.
#[derive(Clone)]
pub(crate) struct ReadPath {
    cache: Cache,
    log: Log,
    postgres: Postgres,
    fences: FenceWatch,
    metrics: Metrics,
    partitions: u16,
    flights: Arc<Flights<Result<Read, Problem>>>,
}

impl ReadPath {
    pub(crate) fn new(
        cache: Cache,
        log: Log,
        postgres: Postgres,
        fences: FenceWatch,
        metrics: Metrics,
        partitions: u16,
    ) -> Self {
        Self {
            cache,
            log,
            postgres,
            fences,
            metrics,
            partitions,
            flights: Arc::new(Flights::new()),
        }
    }

    /// Reads one entry.
    pub(crate) async fn get(&self, id: EntryId) -> Result<Read, Problem> {
        let hash = id.hash();
        let partition = hash.partition(self.partitions);
        let cached = self.cache.get(partition, &id).await.unwrap_or(Cached::Unknown);
        self.finish(id, hash, partition, cached).await
    }

    /// Whether there is a live entry.
    pub(crate) async fn exists(&self, id: &EntryId) -> Result<bool, Problem> {
        Ok(self.get(id.clone()).await?.found.is_some())
    }

    /// Reads several entries, in the order asked: one round trip to Redis, and the sources for what it does not have.
    pub(crate) async fn get_many(&self, ids: Vec<EntryId>) -> Result<Vec<(EntryId, Read)>, Problem> {
        let asked: Vec<(Partition, EntryId)> = ids
            .into_iter()
            .map(|id| (id.hash().partition(self.partitions), id))
            .collect();
        let mut cached = self.cache.get_many(&asked).await.unwrap_or_default();
        cached.resize(asked.len(), Cached::Unknown);
        let reads = asked
            .into_iter()
            .zip(cached)
            .map(|((partition, id), cached)| async move {
                let read = self.finish(id.clone(), id.hash(), partition, cached).await?;
                Ok((id, read))
            });
        stream::iter(reads)
            .buffered(BATCH_CONCURRENCY)
            .try_collect()
            .await
    }

    async fn finish(
        &self,
        id: EntryId,
        hash: KeyHash,
        partition: Partition,
        cached: Cached,
    ) -> Result<Read, Problem> {
        let (found, outcome) = match cached {
            Cached::Entry { version, envelope } => (
                Some(Envelope {
                    version,
                    json: envelope,
                }),
                Outcome::Hit,
            ),
            Cached::Absent { .. } => (None, Outcome::NegativeHit),
            Cached::Unknown => {
                self.metrics.read(Outcome::Miss);
                return self.miss(id, hash, partition).await;
            }
        };
        self.metrics.read(outcome);
        Ok(Read {
            found,
            source: Source::Cache,
        })
    }

    /// Asks the sources, together with the others who miss the same key.
    async fn miss(&self, id: EntryId, hash: KeyHash, partition: Partition) -> Result<Read, Problem> {
        loop {
            match self.flights.board(hash) {
                Boarding::Join(flight) => {
                    if let Some(answer) = joined(flight).await {
                        return answer;
                    }
                    // The leader's client hung up: somebody else must lead.
                }
                Boarding::Lead(lead) => return self.lead(lead, &id, hash, partition).await,
            }
        }
    }

    async fn lead(
        &self,
        mut lead: Lead<Result<Read, Problem>>,
        id: &EntryId,
        hash: KeyHash,
        partition: Partition,
    ) -> Result<Read, Problem> {
        // Before the sources are read: a write or refresh that comes later removes the lease.
        let lease = self
            .cache
            .lease(partition, id, rand::random())
            .await
            .unwrap_or_default();
        lead.close();
        let queued = self.log.last(partition, hash).await;
        let stored = self.stored(partition, id).await;
        let answer = self
            .combine(partition, queued, stored)
            .map(|truth| self.told(truth, lease));
        lead.land(answer.clone());
        answer
    }

    /// A database that is known to be away is not waited for.
    async fn stored(&self, partition: Partition, id: &EntryId) -> Result<Stored, Option<PostgresError>> {
        if !self.fences.status().borrow().is_connected() {
            return Err(None);
        }
        self.postgres.read(partition, id).await.map_err(Some)
    }

    /// What both sources say, or the one that answers.
    fn combine(
        &self,
        partition: Partition,
        queued: Result<Option<Entry>, ReadError>,
        stored: Result<Stored, Option<PostgresError>>,
    ) -> Result<Truth, Problem> {
        match (queued, stored) {
            (Ok(queued), Ok(stored)) => Ok(Truth {
                mark: stored.mark,
                newest: newest(queued, stored.entry, stored.mark, Timestamp::now()),
                source: Source::Both,
            }),
            (Err(error), Ok(stored)) => {
                tracing::debug!(%error, "answering from postgresql alone");
                Ok(Truth {
                    mark: stored.mark,
                    newest: stored.entry,
                    source: Source::DatabaseAlone,
                })
            }
            (Ok(queued), Err(error)) => {
                tracing::debug!(?error, "answering from the stream alone");
                let mark = self
                    .fences
                    .get(partition)
                    .map_or(Version::ZERO, |fence| fence.mark);
                match queued.filter(|entry| entry.version > mark) {
                    Some(entry) => Ok(Truth {
                        mark,
                        newest: Some(entry),
                        source: Source::StreamAlone,
                    }),
                    None => Err(Problem::unavailable(
                        "the database is not reachable, and neither cache nor queue has the key",
                    )
                    .cause(&cause_of(error))),
                }
            }
            (Err(error), Err(_)) => {
                Err(Problem::unavailable("neither the queue nor the database is reachable").cause(&error))
            }
        }
    }

    /// The answer; if both sources gave it, it is also copied to Redis, for which the client does not wait.
    fn told(&self, truth: Truth, lease: Option<Lease>) -> Read {
        let live = truth
            .newest
            .filter(|entry| entry.record.is_live(Timestamp::now()));
        let found = live.as_ref().and_then(|entry| {
            Some(Envelope {
                version: entry.version,
                json: Bytes::from(entry.envelope()?),
            })
        });
        if let (Source::Both, Some(lease)) = (truth.source, lease) {
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
            source: truth.source,
        }
    }
}

/// What the sources say.
struct Truth {
    /// Everything up to here is in PostgreSQL.
    mark: Version,
    newest: Option<Entry>,
    source: Source,
}

/// The higher version of the two. A message at or below the mark is a ghost: a restarted server may bring back messages
/// that were overwritten, and everything up to the mark is in PostgreSQL.
fn newest(queued: Option<Entry>, stored: Option<Entry>, mark: Version, now: Timestamp) -> Option<Entry> {
    let queued = queued.filter(|queued| queued.version > mark);
    match (queued, stored) {
        (Some(mut queued), Some(stored)) if queued.version > stored.version => {
            // The worker will keep it so.
            let overwrites = matches!(queued.record.content, Content::Value { .. });
            if overwrites && stored.record.is_live(now) {
                queued.record.created_at = stored.record.created_at;
            }
            Some(queued)
        }
        (queued, stored) => stored.or(queued),
    }
}

fn cause_of(error: Option<PostgresError>) -> String {
    error.map_or_else(
        || "postgresql is known to be away".to_owned(),
        |error| error.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use birbnest_core::{InstanceName, Record};

    use super::*;

    fn entry(version: u64, content: Content) -> Entry {
        let at = Timestamp::from_micros(i64::try_from(version).unwrap());
        Entry {
            version: Version::new(version).unwrap(),
            record: Record {
                id: EntryId {
                    instance: InstanceName::global(),
                    key: "robin".parse().unwrap(),
                },
                content,
                created_at: at,
                updated_at: at,
                expires_at: None,
                operation_ids: vec![],
            },
        }
    }

    fn value(version: u64) -> Entry {
        let value = serde_json::value::RawValue::from_string("1".to_owned()).unwrap();
        entry(
            version,
            Content::Value {
                value,
                metadata: None,
            },
        )
    }

    fn newest_version(queued: Option<Entry>, stored: Option<Entry>, mark: u64) -> Option<u64> {
        let mark = Version::new(mark).unwrap();
        newest(queued, stored, mark, Timestamp::from_micros(100)).map(|entry| entry.version.get())
    }

    #[test]
    fn the_higher_version_wins_wherever_it_is() {
        assert_eq!(newest_version(Some(value(5)), Some(value(3)), 2), Some(5));
        assert_eq!(newest_version(Some(value(3)), Some(value(5)), 2), Some(5));
        assert_eq!(newest_version(Some(value(3)), None, 2), Some(3));
        assert_eq!(newest_version(None, Some(value(3)), 9), Some(3));
        assert_eq!(newest_version(None, None, 9), None);
    }

    #[test]
    fn a_message_at_or_below_the_mark_is_a_ghost() {
        assert_eq!(newest_version(Some(value(4)), None, 4), None);
        assert_eq!(newest_version(Some(value(4)), Some(value(2)), 4), Some(2));
    }

    #[test]
    fn what_wins_is_what_the_model_says() {
        let there = |version: u8| (version > 0).then(|| value(version.into()));
        for queued in 0..4_u8 {
            for (stored, mark) in (0..4_u8).flat_map(|stored| (0..4_u8).map(move |mark| (stored, mark))) {
                let modelled = birbnest_model::one_epoch::newest(queued, stored, mark);
                let real = newest_version(there(queued), there(stored), u64::from(mark));
                assert_eq!(real.unwrap_or(0), u64::from(modelled), "{queued} {stored} {mark}");
            }
        }
    }

    #[test]
    fn an_overwrite_keeps_the_creation_and_a_new_beginning_does_not() {
        let now = Timestamp::from_micros(100);
        let kept = newest(Some(value(5)), Some(value(3)), Version::ZERO, now).unwrap();
        assert_eq!(kept.record.created_at, Timestamp::from_micros(3));
        let anew = newest(
            Some(value(5)),
            Some(entry(3, Content::Tombstone)),
            Version::ZERO,
            now,
        )
        .unwrap();
        assert_eq!(anew.record.created_at, Timestamp::from_micros(5));
    }
}
