//! Removing what nobody can ask for any more.

use birbnest_core::Partition;
use sqlx::{Acquire, PgConnection};
use tokio::time::timeout;

use super::{Postgres, PostgresError};

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Tombstones.
    pub tombstones: u64,
    /// Entries whose lifetime was over.
    pub expired: u64,
}

impl Swept {
    /// All rows that were removed.
    pub fn total(self) -> u64 {
        self.tombstones + self.expired
    }
}

/// Their version is at or below the mark: no older write of the key can arrive, since all those are ignored. Only a dead
/// letter could, by a replay, which has to find what is newer.
///
/// Rows of an earlier layout have lower partitions, and go with the first one of this: what they hold is below every mark.
/// Their keys may be in any partition by now, so the version is looked at again when the row is removed.
const TOMBSTONES: &str = "DELETE FROM cache_entries AS entry USING (
    SELECT instance, key FROM cache_entries AS swept WHERE tombstone AND partition > $4 AND partition <= $1 AND version <= $2
       AND NOT EXISTS (SELECT FROM dead_letters AS dead WHERE dead.instance = swept.instance AND dead.key = swept.key)
     LIMIT $3) AS gone
 WHERE entry.instance = gone.instance AND entry.key = gone.key AND entry.version <= $2";

/// The mark, and the partition before this one; -1 for the first.
const FENCE: &str = "SELECT mark, (SELECT coalesce(max(earlier.partition), -1) FROM fence AS earlier
                       WHERE earlier.partition < fence.partition)::smallint
  FROM fence WHERE partition = $1 FOR UPDATE";

/// The minute is for clocks that differ: whether an entry has expired is decided by those who read it.
const EXPIRED: &str = "DELETE FROM cache_entries AS entry USING (
    SELECT instance, key FROM cache_entries AS swept
     WHERE expires_at < now() - interval '1 minute' AND partition > $4 AND partition <= $1 AND version <= $2
       AND NOT EXISTS (SELECT FROM dead_letters AS dead WHERE dead.instance = swept.instance AND dead.key = swept.key)
     LIMIT $3) AS gone
 WHERE entry.instance = gone.instance AND entry.key = gone.key AND entry.version <= $2";

impl Postgres {
    /// Removes up to `limit` tombstones and up to `limit` expired entries of a partition, none above its mark.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or there is no fence row; nothing is removed then.
    pub async fn sweep(&self, partition: Partition, limit: u32) -> Result<Swept, PostgresError> {
        let mut lease = self.lease().await?;
        let swept = timeout(self.limit, sweep(&mut lease, partition.0.cast_signed(), limit)).await;
        lease.end(swept)?.ok_or(PostgresError::NoFence(partition))
    }
}

async fn sweep(connection: &mut PgConnection, partition: i16, limit: u32) -> sqlx::Result<Option<Swept>> {
    let mut transaction = connection.begin().await?;
    // Waits for the batches in progress and holds off the next ones, which look at the mark under a share lock: what is
    // found here does not change before it is removed.
    // The row keeps the highest version, which is at least the mark and so at least all that is removed here.
    let found = sqlx::query_as::<_, (i64, i16)>(FENCE)
        .bind(partition)
        .fetch_optional(&mut *transaction)
        .await?;
    let Some((mark, before)) = found else {
        return Ok(None);
    };
    let mut removed = [0; 2];
    for (statement, count) in [TOMBSTONES, EXPIRED].into_iter().zip(&mut removed) {
        let deleted = sqlx::query(statement)
            .bind(partition)
            .bind(mark)
            .bind(i64::from(limit))
            .bind(before);
        *count = deleted.execute(&mut *transaction).await?.rows_affected();
    }
    transaction.commit().await?;
    let [tombstones, expired] = removed;
    Ok(Some(Swept { tombstones, expired }))
}
