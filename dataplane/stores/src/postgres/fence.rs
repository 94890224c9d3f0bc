//! The fence row of a partition, and the few ways in which it changes.

mod modes;
mod row;

use birbnest_core::{Base, DrainTerm, Incarnation, Partition, Version, VersionOverflow};
use sqlx::{Acquire, PgConnection};
use tokio::time::timeout;

use row::{FenceRow, select};

use super::{Postgres, PostgresError, error::CorruptValue};
use crate::epoch::{Beginning, Remembered, given};

pub(super) use row::{all_fences, insert, mode, store, version};

/// Who takes the writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// The persist stream.
    Queue,
    /// The persist stream, from those who found it open some seconds ago, and soon PostgreSQL.
    Closing,
    /// PostgreSQL itself.
    Through,
}

impl Mode {
    /// Its name in the fence row.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "Queue",
            Self::Closing => "Closing",
            Self::Through => "Through",
        }
    }
}

/// What all processes agree on about a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fence {
    /// The partition.
    pub partition: Partition,
    /// The name of its persist stream.
    pub stream: String,
    /// Counts, from 1, the times at which sequences could have repeated or the path of the writes changed.
    pub epoch: i64,
    /// What the epoch adds to a sequence to make a version.
    pub base: Base,
    /// Who takes the writes.
    pub mode: Mode,
    /// The stream that the epoch belongs to.
    pub incarnation: Incarnation,
    /// The highest version that was ever seen and recorded.
    pub highest_version: Version,
    /// Up to this sequence everything is persisted and may be purged; 0: nothing.
    pub purge_sequence: u64,
    /// Up to this version everything is persisted: messages at or below it are ignored.
    pub mark: Version,
    /// Copies in Redis of a lower generation count as absent.
    pub generation: u64,
    /// Which delivery of the stream's messages the workers are at: 0, or a number from the clock after a failover, a lost epoch
    /// or another layout.
    pub replay: i64,
    /// The row was last looked after in another history of PostgreSQL than that of the server that it was read from:
    /// commits may be missing, and the stream has to be replayed.
    pub failed_over: bool,
}

impl Fence {
    /// Whose consumer the workers use.
    pub fn term(&self) -> DrainTerm {
        DrainTerm {
            epoch: self.epoch,
            replay: self.replay,
        }
    }

    /// The next epoch, of this stream, which has come to `last_sequence`. It is after a `later` one that was lost as well, and
    /// above every version of both; copies in Redis are void, and nothing is purged.
    fn after(
        &self,
        highest: Version,
        incarnation: &Incarnation,
        last_sequence: u64,
        later: Option<&Remembered>,
    ) -> Result<Self, VersionOverflow> {
        let highest_version = highest.max(given(later, last_sequence)?);
        let latest = later.map_or(self.epoch, |later| later.epoch.max(self.epoch));
        Ok(Self {
            epoch: latest.saturating_add(1),
            base: Base::above(highest_version)?,
            incarnation: incarnation.clone(),
            highest_version,
            purge_sequence: 0,
            generation: self.generation + 1,
            ..self.clone()
        })
    }
}

#[cfg(test)]
impl Fence {
    /// That of a first partition in its first epoch.
    pub(crate) fn example() -> Self {
        Self {
            partition: Partition(0),
            stream: "cache_persist_0".to_owned(),
            epoch: 1,
            base: Base::ZERO,
            mode: Mode::Queue,
            incarnation: Incarnation::new("stream", "one"),
            highest_version: Version::ZERO,
            purge_sequence: 0,
            mark: Version::ZERO,
            generation: 1,
            replay: 0,
            failed_over: false,
        }
    }
}

/// What a raise came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Raised {
    /// The epoch was raised or restored; this is the fence now.
    Here(Fence),
    /// The fence was another one by then, or its mode did not allow it; this is the fence as it is.
    Elsewhere(Fence),
}

/// What the janitor saw of a stream, for the fence.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Whose consumer it looked at.
    pub term: DrainTerm,
    /// The stream at which it looked.
    pub incarnation: Incarnation,
    /// Everything up to here is persisted.
    pub mark: Version,
    /// The sequence of the mark.
    pub purge_sequence: u64,
    /// The highest version that the stream has given.
    pub highest_version: Version,
}

impl Raised {
    /// The fence as it is now.
    pub fn into_fence(self) -> Fence {
        match self {
            Self::Here(fence) | Self::Elsewhere(fence) => fence,
        }
    }
}

impl Postgres {
    /// The fence of a partition, `None` before somebody made it.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or the row is not valid.
    pub async fn fence(&self, partition: Partition) -> Result<Option<Fence>, PostgresError> {
        let mut lease = self.lease().await?;
        let read = timeout(self.limit, select(&mut lease, partition, "")).await;
        lease.end(read)?.map(FenceRow::parse).transpose()
    }

    /// Every fence, by partition.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or a row is not valid.
    pub async fn fences(&self) -> Result<Vec<Fence>, PostgresError> {
        let mut lease = self.lease().await?;
        let asked = async { Ok(all_fences(&mut lease, "").await) };
        let read = timeout(self.limit, asked).await;
        lease.end(read)?
    }

    /// Makes the first fence row of a partition of the layout, unless there is one; returns the one that is there then. The
    /// cache generation starts at the time: Redis may hold copies of a database that is gone.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, the row is not valid, or the partition is not one of the layout.
    pub async fn create_fence_if_absent(
        &self,
        partition: Partition,
        stream: &str,
        incarnation: &Incarnation,
        beginning: Beginning,
    ) -> Result<Fence, PostgresError> {
        let mut lease = self.lease().await?;
        let work = async {
            sqlx::query(
                // The share lock waits for another layout that is just beginning.
                "INSERT INTO fence (partition, stream, epoch, base, mode, incarnation, highest_version, \
                 purge_sequence, mark, generation, replay, history) SELECT $1, $2, $3, $4, 'Queue', $5, $4, 0, 0, \
                 extract(epoch FROM now())::bigint, \
                 CASE WHEN $6 THEN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint ELSE 0 END, \
                 server_history() \
                 FROM layout WHERE $1 >= first AND $1 < first + partitions FOR SHARE \
                 ON CONFLICT (partition) DO NOTHING",
            )
            .bind(partition.0.cast_signed())
            .bind(stream)
            .bind(beginning.epoch)
            .bind(beginning.base.get().cast_signed())
            .bind(incarnation.as_str())
            .bind(beginning.replays)
            .execute(&mut *lease)
            .await?;
            select(&mut lease, partition, "").await
        };
        let made = timeout(self.limit, work).await;
        match lease.end(made)? {
            Some(row) => row.parse(),
            None => Err(PostgresError::NoFence(partition)),
        }
    }

    /// Raises the epoch, unless it is no longer the one that the caller saw, or the queue was closed since: the base goes 2^32
    /// above every version that was seen (`last_sequence` is the highest one that the caller saw in the old epoch's stream) or
    /// given in a later epoch, which is over as well; the purge sequence starts again, the mark stays (it is a version), and
    /// the cache generation goes up.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, there is no fence row, or versions have come to their end.
    pub async fn raise_epoch(
        &self,
        partition: Partition,
        epoch: i64,
        incarnation: &Incarnation,
        last_sequence: u64,
        later: Option<&Remembered>,
    ) -> Result<Raised, PostgresError> {
        let raised = self.locked(partition, async |connection, now| {
            if now.epoch != epoch || now.mode != Mode::Queue {
                return Ok(Raised::Elsewhere(now));
            }
            let reached = Version::new(now.base.get().saturating_add(last_sequence));
            let highest = reached.map_err(CorruptValue::from)?.max(now.highest_version);
            let raised = now
                .after(highest, incarnation, last_sequence, later)
                .map_err(CorruptValue::from)?;
            store(connection, &raised).await?;
            Ok(Raised::Here(raised))
        });
        raised.await
    }

    /// Goes on with an epoch that PostgreSQL has lost, in which connections may be alive, unless the epoch is no longer the
    /// one that the caller saw, or the queue is being closed. What the stream holds is delivered again: what was acknowledged
    /// may be lost as well.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or there is no fence row.
    pub async fn restore_epoch(
        &self,
        partition: Partition,
        epoch: i64,
        lost: &Remembered,
    ) -> Result<Raised, PostgresError> {
        let restored = self.locked(partition, async |connection, now| {
            if now.epoch != epoch || now.mode == Mode::Closing {
                return Ok(Raised::Elsewhere(now));
            }
            let restored = Fence {
                epoch: lost.epoch,
                base: lost.base,
                mode: Mode::Queue,
                incarnation: lost.incarnation.clone(),
                purge_sequence: 0,
                ..now
            };
            store(connection, &restored).await?;
            replay(connection, partition, true).await?;
            match select(connection, partition, "").await? {
                Some(row) => Ok(Raised::Here(row.parse()?)),
                None => Err(PostgresError::NoFence(partition)),
            }
        });
        restored.await
    }

    /// Makes every copy in Redis count as absent, and returns the new cache generation.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or there is no fence row.
    pub async fn raise_generation(&self, partition: Partition) -> Result<u64, PostgresError> {
        let raised = self.locked(partition, async |connection, now| {
            let raised = Fence {
                generation: now.generation + 1,
                ..now
            };
            store(connection, &raised).await?;
            Ok(raised.generation)
        });
        raised.await
    }

    /// Records what the janitor saw; `false` when the consumer or the stream is another one by now, or PostgreSQL failed
    /// over: what was acknowledged before is then not persisted here. Neither the mark nor the highest version ever goes
    /// back.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or there is no fence row.
    pub async fn record_mark(
        &self,
        partition: Partition,
        observed: &Observed,
    ) -> Result<bool, PostgresError> {
        let recorded = self.locked(partition, async |connection, now| {
            let same = now.term() == observed.term && now.incarnation == observed.incarnation;
            if !same || now.failed_over {
                return Ok(false);
            }
            let mark = now.mark.max(observed.mark);
            let recorded = Fence {
                mark,
                highest_version: now.highest_version.max(observed.highest_version).max(mark),
                purge_sequence: now.purge_sequence.max(observed.purge_sequence),
                ..now.clone()
            };
            if recorded != now {
                store(connection, &recorded).await?;
            }
            Ok(true)
        });
        recorded.await
    }

    /// Has everything that the stream holds delivered again, and makes every copy in Redis count as absent, if PostgreSQL
    /// failed over since the fence was last looked after; `false` when it did not, or somebody else was faster.
    ///
    /// Both numbers are taken from the clock: the ones before may be lost with the failover, and must not come again.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn replay_after_failover(&self, partition: Partition) -> Result<bool, PostgresError> {
        let mut lease = self.lease().await?;
        let started = timeout(self.limit, replay(&mut lease, partition, false)).await;
        Ok(lease.end(started)? > 0)
    }

    /// Runs `change` in a transaction that holds the fence row for itself.
    pub(super) async fn locked<T>(
        &self,
        partition: Partition,
        change: impl AsyncFnOnce(&mut PgConnection, Fence) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        let mut lease = self.lease().await?;
        let work = async {
            let mut transaction = lease.begin().await?;
            let Some(row) = select(&mut transaction, partition, "FOR UPDATE").await? else {
                return Ok(Err(PostgresError::NoFence(partition)));
            };
            let changed = match row.parse() {
                Ok(fence) => change(&mut transaction, fence).await,
                Err(error) => Err(error),
            };
            if changed.is_ok() {
                transaction.commit().await?;
            }
            Ok(changed)
        };
        let ended = timeout(self.limit, work).await;
        lease.end(ended)?
    }
}

/// Begins another delivery of everything that the stream holds, and another cache generation; returns 1 if it did, else 0.
/// Unless it is `always` wanted, only where the fence was last looked after in another history.
async fn replay(connection: &mut PgConnection, partition: Partition, always: bool) -> sqlx::Result<u64> {
    let begun = sqlx::query(
        "UPDATE fence SET history = server_history(), updated_at = now(), \
         replay = greatest(replay + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint), \
         generation = greatest(generation + 1, extract(epoch FROM clock_timestamp())::bigint) \
         WHERE partition = $1 AND ($2 OR history <> server_history())",
    )
    .bind(partition.0.cast_signed())
    .bind(always)
    .execute(connection)
    .await?;
    Ok(begun.rows_affected())
}
