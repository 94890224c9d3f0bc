//! From the queue to PostgreSQL and back. Each step is one transaction on one partition's row, and is bound to the epoch in
//! which its maker saw it; whoever notices takes the next one.

use birbnest_core::{Base, Incarnation, Partition, Version};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Fence, Mode, store};
use crate::{
    epoch::Remembered,
    postgres::{Postgres, PostgresError, error::CorruptValue},
};

/// For so long after it was last seen an outage counts, by PostgreSQL's clock. A process that cannot reach NATS says so more
/// often than that.
const OUTAGE_SECONDS: i32 = 10;

impl Postgres {
    /// Closes the queue of a partition: nobody takes a lease from here on. `false` when the fence is another one by now.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or there is no fence row.
    pub async fn close_queue(&self, partition: Partition, epoch: i64) -> Result<bool, PostgresError> {
        self.step(partition, epoch, Mode::Queue, |now| {
            Ok(Fence {
                mode: Mode::Closing,
                ..now
            })
        })
        .await
    }

    /// Gives the writes of a partition to PostgreSQL, under the next epoch. Only for who knows that every lease has ended
    /// that was taken before the queue was closed. Copies in Redis stay: whoever writes past the queue removes them.
    ///
    /// # Errors
    /// As [`Postgres::close_queue`], or when versions have come to their end.
    pub async fn begin_writing_through(
        &self,
        partition: Partition,
        epoch: i64,
    ) -> Result<bool, PostgresError> {
        self.step(partition, epoch, Mode::Closing, |now| {
            // A raise may have come just before, and nothing of its epoch has been recorded.
            let reached = now.highest_version.max(Version::new(now.base.get())?);
            let base = Base::above(reached).map_err(CorruptValue::from)?;
            Ok(Fence {
                mode: Mode::Through,
                epoch: now.epoch + 1,
                base,
                highest_version: Version::new(base.get())?,
                ..now
            })
        })
        .await
    }

    /// Gives the writes of a partition back to its stream, which is this one now and has come to `last_sequence`, under the next
    /// epoch, also after one that NATS remembers and PostgreSQL has lost. Only for who knows that nothing of an earlier epoch
    /// can arrive there any more.
    ///
    /// # Errors
    /// As [`Postgres::begin_writing_through`].
    pub async fn reopen_queue(
        &self,
        partition: Partition,
        epoch: i64,
        incarnation: &Incarnation,
        last_sequence: u64,
        later: Option<&Remembered>,
    ) -> Result<bool, PostgresError> {
        self.step(partition, epoch, Mode::Through, |now| {
            let next = now.after(now.highest_version, incarnation, last_sequence, later)?;
            Ok(Fence {
                mode: Mode::Queue,
                ..next
            })
        })
        .await
    }

    async fn step(
        &self,
        partition: Partition,
        epoch: i64,
        from: Mode,
        change: impl FnOnce(Fence) -> Result<Fence, CorruptValue>,
    ) -> Result<bool, PostgresError> {
        let made = self.locked(partition, async |connection, now| {
            if now.epoch != epoch || now.mode != from {
                return Ok(false);
            }
            store(connection, &change(now)?).await?;
            Ok(true)
        });
        made.await
    }

    /// Notes that this process cannot reach NATS.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn note_queue_outage(&self, holder: Uuid) -> Result<(), PostgresError> {
        let mut lease = self.lease().await?;
        let noted = sqlx::query(
            "INSERT INTO queue_outages (holder, seen_at) VALUES ($1, now()) \
             ON CONFLICT (holder) DO UPDATE SET seen_at = now()",
        )
        .bind(holder)
        .execute(&mut *lease);
        let ended = timeout(self.limit, noted).await;
        lease.end(ended).map(drop)
    }

    /// Whether another process could not reach NATS some seconds ago. What this one noted is forgotten, and whatever is
    /// old.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn others_miss_the_queue(&self, holder: Uuid) -> Result<bool, PostgresError> {
        let mut lease = self.lease().await?;
        let work = async {
            sqlx::query(
                "DELETE FROM queue_outages WHERE holder = $1 OR seen_at < now() - make_interval(secs => $2)",
            )
            .bind(holder)
            .bind(f64::from(OUTAGE_SECONDS))
            .execute(&mut *lease)
            .await?;
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM queue_outages)")
                .fetch_one(&mut *lease)
                .await
        };
        let ended = timeout(self.limit, work).await;
        lease.end(ended)
    }
}
