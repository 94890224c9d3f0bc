//! Which writes wait as dead letters.

use birbnest_core::{EntryId, Version};
use tokio::time::timeout;

use super::{Postgres, PostgresError, fence::version};

/// Noted again, it counts as new.
const NOTE: &str = "\
INSERT INTO dead_letters (instance, key, version) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
    ON CONFLICT (instance, key, version) DO UPDATE SET noted_at = now()";
const FORGET: &str = "DELETE FROM dead_letters WHERE instance = $1 AND key = $2 AND version = $3";
const NEWEST: &str = "SELECT max(version) FROM dead_letters WHERE instance = $1 AND key = $2";
/// Far longer than a worker takes from the note to the letter.
const FORGET_OLD: &str = "DELETE FROM dead_letters WHERE noted_at < now() - interval '10 minutes'";

impl Postgres {
    /// Notes writes that are about to become dead letters. Until they are forgotten, no row of their keys is swept. The
    /// same write must not occur twice.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or refuses: none of them is noted then.
    pub async fn note_dead_letters(&self, writes: &[(EntryId, Version)]) -> Result<(), PostgresError> {
        let ids = || writes.iter().map(|(id, _)| id);
        let instances: Vec<&str> = ids().map(|id| id.instance.as_str()).collect();
        let keys: Vec<&str> = ids().map(|id| id.key.as_str()).collect();
        let versions: Vec<i64> = writes.iter().map(|(_, version)| version.as_i64()).collect();
        let mut lease = self.lease().await?;
        let asked = sqlx::query(NOTE)
            .bind(instances)
            .bind(keys)
            .bind(versions)
            .execute(&mut *lease);
        let noted = timeout(self.limit, asked).await;
        lease.end(noted).map(drop)
    }

    /// The highest version of the key's writes that are noted.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or refuses.
    pub async fn newest_dead_letter(&self, id: &EntryId) -> Result<Option<Version>, PostgresError> {
        let mut lease = self.lease().await?;
        let asked = sqlx::query_scalar::<_, Option<i64>>(NEWEST)
            .bind(id.instance.as_str())
            .bind(id.key.as_str())
            .fetch_one(&mut *lease);
        let found = timeout(self.limit, asked).await;
        let newest = lease.end(found)?.map(|found| version("version", found));
        Ok(newest.transpose()?)
    }

    /// Forgets a write that is no dead letter any more.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or refuses.
    pub async fn forget_dead_letter(&self, id: &EntryId, version: Version) -> Result<(), PostgresError> {
        let mut lease = self.lease().await?;
        let asked = sqlx::query(FORGET)
            .bind(id.instance.as_str())
            .bind(id.key.as_str())
            .bind(version.as_i64())
            .execute(&mut *lease);
        let forgotten = timeout(self.limit, asked).await;
        lease.end(forgotten).map(drop)
    }

    /// Forgets what was noted a while ago: for when no letter waits at all.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or refuses.
    pub async fn forget_old_dead_letters(&self) -> Result<(), PostgresError> {
        let mut lease = self.lease().await?;
        let forgotten = timeout(self.limit, sqlx::query(FORGET_OLD).execute(&mut *lease)).await;
        lease.end(forgotten).map(drop)
    }
}
