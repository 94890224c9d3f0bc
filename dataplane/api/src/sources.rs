//! The two that know the truth: the stream, and only after its reply PostgreSQL; the highest version wins.

use std::{sync::Arc, time::Duration};

use birbnest_core::{Budget, Entry, EntryId, KeyHash, Partition, Record, Timestamp, Version, newest};
use birbnest_stores::{
    fence::{FenceWatch, Mode},
    jetstream::{AppendError, Expected, Log, ReadError, Turn},
    postgres::{Postgres, PostgresError, Stored},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::problem::Problem;

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

/// What the sources say of a key.
pub(crate) struct Truth {
    /// Everything up to here is in PostgreSQL.
    pub(crate) mark: Version,
    /// The newest entry or tombstone.
    pub(crate) newest: Option<Entry>,
    pub(crate) source: Source,
    /// Whether Redis may be given a copy of it.
    pub(crate) may_fill: bool,
}

impl Truth {
    /// No write up to this version is missing: what is at or below the mark is in PostgreSQL, and without PostgreSQL the
    /// mark says nothing of what it holds.
    pub(crate) fn as_of(&self) -> Version {
        let newest = self.newest.as_ref().map_or(Version::ZERO, |entry| entry.version);
        match self.source {
            Source::StreamAlone => newest,
            _ => newest.max(self.mark),
        }
    }
}

/// Why the sources gave no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The partition has no fence: the keys are spread over other partitions by now, or over none yet.
    NoFence(Partition),
    /// Neither could say.
    Problem(Problem),
}

impl From<Unanswered> for Problem {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NoFence(partition) => {
                Self::unavailable("no API has reached queue and database together yet")
                    .cause(&PostgresError::NoFence(partition))
            }
            Unanswered::Problem(problem) => problem,
        }
    }
}

/// What both sources said, and the connection over which a write that follows from it must be appended.
pub(crate) struct Ground {
    pub(crate) turn: Turn,
    /// The sequence of the last message of the key in the stream, 0 for none.
    pub(crate) sequence: u64,
    /// The newest entry or tombstone.
    pub(crate) newest: Option<Entry>,
}

impl Ground {
    /// The entry that was appended, `None` when another write came first.
    pub(crate) async fn append(&self, record: Record) -> Result<Option<Entry>, AppendError> {
        let expected = Expected::LastSequence(self.sequence);
        match self.turn.append(record.id.hash(), &record, expected).await {
            Ok(version) => Ok(Some(Entry { version, record })),
            Err(AppendError::Conflict) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Questions at the same time: more would wait for PostgreSQL's connections only, each with an entry in memory.
const MOST_QUESTIONS: usize = 256;
/// Fewer than this, and a source that is slow would stall too many readers.
const LEAST_QUESTIONS: usize = 32;
/// How long a reader waits for its turn to ask.
const TURN: Duration = Duration::from_secs(1);

/// The stream and PostgreSQL, cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources {
    log: Log,
    postgres: Postgres,
    fences: FenceWatch,
    turns: Arc<Semaphore>,
}

/// Turns to ask: as many at a time as answers of `largest` bytes, from both sources, fit into the budget.
pub(crate) fn turns(budget: &Budget, largest: usize) -> Arc<Semaphore> {
    let questions = budget.most() / largest.saturating_mul(2).max(1);
    Arc::new(Semaphore::new(questions.clamp(LEAST_QUESTIONS, MOST_QUESTIONS)))
}

impl Sources {
    /// `turns` are shared by all that are made in this process.
    pub(crate) fn new(log: Log, postgres: Postgres, fences: FenceWatch, turns: Arc<Semaphore>) -> Self {
        Self {
            log,
            postgres,
            fences,
            turns,
        }
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        match timeout(TURN, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Problem::unavailable(
                "queue and database have too many questions to answer, nothing was done",
            )),
        }
    }

    /// The partition that a key is in.
    pub(crate) async fn partition(&self, hash: KeyHash) -> Result<Partition, Problem> {
        self.log.partition(hash).await.ok_or_else(nowhere)
    }

    /// The partition that a key went to after this one, which has no fence: `None` if there are no others.
    pub(crate) async fn partition_after(&self, before: Partition, hash: KeyHash) -> Option<Partition> {
        if self.fences.until_left(before).await {
            self.log.partition(hash).await
        } else {
            None
        }
    }

    /// Asks both; one may be away.
    pub(crate) async fn ask(
        &self,
        partition: Partition,
        hash: KeyHash,
        id: &EntryId,
    ) -> Result<Truth, Unanswered> {
        let _turn = self.turn().await.map_err(Unanswered::Problem)?;
        let queued = self.log.last(partition, hash).await;
        let stored = self.stored(partition, id).await;
        self.combine(partition, queued, stored)
    }

    /// Asks both for a write that depends on the answer, so both must answer. The row counts also when the stream has a
    /// message: it may be a ghost.
    pub(crate) async fn ground(
        &self,
        partition: Partition,
        hash: KeyHash,
        id: &EntryId,
    ) -> Result<Ground, Problem> {
        let _turn = self.turn().await?;
        let turn = self.log.turn(partition).map_err(|reason| {
            Problem::unavailable("the queue is not reachable, nothing was written").cause(&reason)
        })?;
        let last = turn.last(hash).await.map_err(|error| {
            Problem::unavailable("the queue did not say what it holds, nothing was written").cause(&error)
        })?;
        let stored = self.stored(partition, id).await.map_err(|error| {
            Problem::unavailable(
                "the database is not reachable, so the condition cannot be checked: nothing was written",
            )
            .cause(&cause_of(error))
        })?;
        Ok(Ground {
            turn,
            sequence: last.sequence,
            newest: newest(last.entry, stored.entry, stored.mark, Timestamp::now()),
        })
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
    ) -> Result<Truth, Unanswered> {
        match (queued, stored) {
            (_, Err(Some(PostgresError::NoFence(partition)))) => Err(Unanswered::NoFence(partition)),
            (Ok(queued), Ok(stored)) => Ok(Truth {
                mark: stored.mark,
                newest: newest(queued, stored.entry, stored.mark, Timestamp::now()),
                source: Source::Both,
                // Writes past the queue remove copies before they commit and never again.
                may_fill: stored.mode != Mode::Through,
            }),
            (Err(error), Ok(stored)) => {
                tracing::debug!(%error, "answering from postgresql alone");
                Ok(Truth {
                    mark: stored.mark,
                    newest: stored.entry,
                    source: Source::DatabaseAlone,
                    may_fill: false,
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
                        may_fill: false,
                    }),
                    None => Err(Unanswered::Problem(
                        Problem::unavailable(
                            "the database is not reachable, and neither cache nor queue has the key",
                        )
                        .cause(&cause_of(error)),
                    )),
                }
            }
            (Err(error), Err(_)) => Err(Unanswered::Problem(
                Problem::unavailable("neither the queue nor the database is reachable").cause(&error),
            )),
        }
    }
}

/// Before PostgreSQL has answered for the first time.
pub(crate) fn nowhere() -> Problem {
    Problem::unavailable("the database has not answered yet, so it is not known where the key is")
}

fn cause_of(error: Option<PostgresError>) -> String {
    error.map_or_else(
        || "postgresql is known to be away".to_owned(),
        |error| error.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use birbnest_core::Content;

    use super::*;

    fn entry(version: u64, content: Content) -> Entry {
        let at = Timestamp::from_micros(i64::try_from(version).unwrap());
        Entry {
            version: Version::new(version).unwrap(),
            record: Record {
                id: EntryId::global("robin".parse().unwrap()),
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
