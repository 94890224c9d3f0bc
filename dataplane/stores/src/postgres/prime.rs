//! Requests to load entries into Redis, and the keys that they mean.

use std::{iter::repeat_n, time::Duration};

use birbnest_core::{EntryId, EntryKey, InstanceName, Timestamp, config::PrimeOrder};
use sqlx::Connection;
use time::OffsetDateTime;
use tokio::time::timeout;

use super::{Postgres, PostgresError, error::CorruptValue};

/// Requests that wait at the same time.
const MOST_PENDING: i64 = 100;
/// How long the search for the newest keys may take: it looks at every row, for an index over times would make every
/// overwrite touch it.
const SEARCH_LIMIT: Duration = Duration::from_mins(1);

/// Which entries are to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimeOrders {
    /// Entries of this instance.
    pub instance: InstanceName,
    /// Only keys that start with this.
    pub prefix: String,
    /// Most keys: 1 to 100,000.
    pub limit: u32,
    /// Which keys come first.
    pub order: PrimeOrder,
}

/// A request, and how far it is.
#[derive(Clone, Debug)]
pub struct PrimeRequest {
    /// Its number.
    pub id: i64,
    /// What is to be loaded.
    pub orders: PrimeOrders,
    /// Whether a worker made it that found Redis empty.
    pub automatic: bool,
    /// Keys that were looked at.
    pub examined: u32,
    /// Keys that were loaded; the others were in Redis already, or are gone.
    pub filled: u32,
    /// When it was made.
    pub requested_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it was given up.
    pub failure: Option<String>,
}

const COLUMNS: &str = "id, instance, prefix, key_limit, newest_first, automatic, examined, filled, requested_at, \
                       finished_at, failure";
/// What ended a day ago is of no interest any more.
const FORGET: &str = "DELETE FROM prime_requests WHERE finished_at < now() - interval '1 day'";
const REQUEST: &str = "\
INSERT INTO prime_requests (instance, prefix, key_limit, newest_first, automatic)
SELECT $1, $2, $3, $4, $5
 WHERE (SELECT count(*) FROM prime_requests WHERE finished_at IS NULL AND (automatic OR NOT $5)) < $6
RETURNING id";
const NOTE: &str = "UPDATE prime_requests SET examined = $2, filled = $3 WHERE id = $1";
const FINISH: &str = "UPDATE prime_requests SET finished_at = now(), failure = $2 WHERE id = $1";
/// Live entries in a range of keys, which the primary key finds.
const LIVE: &str = "FROM cache_entries WHERE instance = $1 AND key > $2 AND key >= $3 AND key < $4 \
                    AND NOT tombstone AND (expires_at IS NULL OR expires_at > now())";

impl Postgres {
    /// Makes a request and returns its number; `None` when too many wait, or, for an automatic one, when one waits.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or refuses.
    pub async fn request_prime(
        &self,
        orders: &PrimeOrders,
        automatic: bool,
    ) -> Result<Option<i64>, PostgresError> {
        let mut lease = self.lease().await?;
        let work = async {
            sqlx::query(FORGET).execute(&mut *lease).await?;
            sqlx::query_scalar(REQUEST)
                .bind(orders.instance.as_str())
                .bind(&orders.prefix)
                .bind(i64::from(orders.limit))
                .bind(orders.order == PrimeOrder::Newest)
                .bind(automatic)
                .bind(if automatic { 1 } else { MOST_PENDING })
                .fetch_optional(&mut *lease)
                .await
        };
        let made = timeout(self.limit, work).await;
        lease.end(made)
    }

    /// The request with this number.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or the row is not valid.
    pub async fn prime_request(&self, id: i64) -> Result<Option<PrimeRequest>, PostgresError> {
        self.select_prime_request("id = $1", id).await
    }

    /// The oldest request after this number that has not ended.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or the row is not valid.
    pub async fn next_prime_request(&self, after: i64) -> Result<Option<PrimeRequest>, PostgresError> {
        self.select_prime_request("id > $1 AND finished_at IS NULL ORDER BY id LIMIT 1", after)
            .await
    }

    async fn select_prime_request(
        &self,
        condition: &'static str,
        id: i64,
    ) -> Result<Option<PrimeRequest>, PostgresError> {
        let statement = format!("SELECT {COLUMNS} FROM prime_requests WHERE {condition}");
        let mut lease = self.lease().await?;
        let asked = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(statement))
            .bind(id)
            .fetch_optional(&mut *lease);
        let read = timeout(self.limit, asked).await;
        Ok(lease.end(read)?.map(Row::parse).transpose()?)
    }

    /// Notes how far a request is.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or refuses.
    pub async fn note_prime(&self, id: i64, examined: u32, filled: u32) -> Result<(), PostgresError> {
        let mut lease = self.lease().await?;
        let asked = sqlx::query(NOTE)
            .bind(id)
            .bind(i64::from(examined))
            .bind(i64::from(filled))
            .execute(&mut *lease);
        let noted = timeout(self.limit, asked).await;
        lease.end(noted).map(drop)
    }

    /// Ends a request; `failure` says why, if it was given up.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or refuses.
    pub async fn finish_prime(&self, id: i64, failure: Option<&str>) -> Result<(), PostgresError> {
        let mut lease = self.lease().await?;
        let asked = sqlx::query(FINISH).bind(id).bind(failure).execute(&mut *lease);
        let ended = timeout(self.limit, asked).await;
        lease.end(ended).map(drop)
    }

    /// Up to `limit` keys of live entries after the key `after` (empty: from the first), in their order.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or a key is not valid.
    pub async fn keys_after(
        &self,
        orders: &PrimeOrders,
        after: &str,
        limit: u32,
    ) -> Result<Vec<EntryId>, PostgresError> {
        let statement = format!("SELECT key {LIVE} ORDER BY key LIMIT $5");
        let mut lease = self.lease().await?;
        let asked = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(statement))
            .bind(orders.instance.as_str())
            .bind(after)
            .bind(&orders.prefix)
            .bind(beyond(&orders.prefix))
            .bind(i64::from(limit))
            .fetch_all(&mut *lease);
        let read = timeout(self.limit, asked).await;
        ids(&orders.instance, lease.end(read)?)
    }

    /// The keys of the entries that were written last, by the writers' clocks. Looks at every row.
    ///
    /// # Errors
    /// When PostgreSQL does not answer within a minute, or a key is not valid.
    pub async fn newest_keys(&self, orders: &PrimeOrders) -> Result<Vec<EntryId>, PostgresError> {
        let statement = format!("SELECT key {LIVE} ORDER BY updated_at DESC LIMIT $5");
        let mut lease = self.lease().await?;
        let work = async {
            let mut transaction = lease.begin().await?;
            let longer = format!("SET LOCAL statement_timeout = {}", SEARCH_LIMIT.as_millis());
            sqlx::query(sqlx::AssertSqlSafe(longer))
                .execute(&mut *transaction)
                .await?;
            let keys = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(statement))
                .bind(orders.instance.as_str())
                .bind("")
                .bind(&orders.prefix)
                .bind(beyond(&orders.prefix))
                .bind(i64::from(orders.limit))
                .fetch_all(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(keys)
        };
        let read = timeout(SEARCH_LIMIT + self.limit, work).await;
        ids(&orders.instance, lease.end(read)?)
    }
}

fn ids(instance: &InstanceName, keys: Vec<String>) -> Result<Vec<EntryId>, PostgresError> {
    let id = |key: String| {
        let key: EntryKey = key.parse().map_err(CorruptValue::from)?;
        Ok::<_, PostgresError>(EntryId {
            instance: instance.clone(),
            key,
        })
    };
    keys.into_iter().map(id).collect()
}

/// A text that is above every key with this prefix, and below or at every other key above it, in the order of bytes.
fn beyond(prefix: &str) -> String {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        if let Some(next) = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32) {
            chars.push(next);
            return chars.into_iter().collect();
        }
    }
    // Longer than any key.
    repeat_n(char::MAX, 256).collect()
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    instance: String,
    prefix: String,
    key_limit: i32,
    newest_first: bool,
    automatic: bool,
    examined: i32,
    filled: i32,
    requested_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
    failure: Option<String>,
}

impl Row {
    fn parse(self) -> Result<PrimeRequest, CorruptValue> {
        Ok(PrimeRequest {
            id: self.id,
            orders: PrimeOrders {
                instance: self.instance.parse().map_err(CorruptValue::from)?,
                prefix: self.prefix,
                limit: self.key_limit.unsigned_abs(),
                order: if self.newest_first {
                    PrimeOrder::Newest
                } else {
                    PrimeOrder::Key
                },
            },
            automatic: self.automatic,
            examined: self.examined.unsigned_abs(),
            filled: self.filled.unsigned_abs(),
            requested_at: self.requested_at.into(),
            finished_at: self.finished_at.map(Timestamp::from),
            failure: self.failure,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::beyond;

    #[test]
    fn a_range_ends_right_behind_the_keys_with_the_prefix() {
        assert_eq!(beyond("nest/"), "nest0");
        assert_eq!(beyond("a\u{d7ff}"), "a\u{e000}");
        assert_eq!(beyond("a\u{10ffff}"), "b");
        assert!(beyond("").as_str() > "\u{10ffff}");
    }
}
