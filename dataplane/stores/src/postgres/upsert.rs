//! Writing batches.

use birbnest_core::{Content, Entry, Partition, Version};
use serde_json::value::RawValue;
use sqlx::{Acquire, PgConnection, Postgres as Driver, postgres::PgArguments, query::Query};
use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Postgres, PostgresError, fence::version};

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upserted {
    /// The partition's mark, which stood still while the batch was written: entries at or below it were ignored.
    pub mark: Version,
    /// Rows that were inserted or replaced; the others were ignored or are newer already.
    pub rows: u64,
}

/// Sorted, so that two batches lock the rows that they share in the same order and never deadlock. The entry keeps the
/// time at which it came to be, unless what is there had been deleted or had expired before this write.
const UPSERT: &str = "\
INSERT INTO cache_entries AS old
       (instance, key, partition, version, created_at, updated_at, expires_at, operation_ids, tombstone, metadata, value)
SELECT instance, key, $1, version, created_at, updated_at, expires_at, operation_ids::uuid[],
       value IS NULL, metadata::json, value::json
  FROM unnest($3::text[], $4::text[], $5::bigint[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[],
              $9::text[], $10::text[], $11::text[])
    AS new (instance, key, version, created_at, updated_at, expires_at, operation_ids, metadata, value)
 WHERE version > $2
 ORDER BY instance COLLATE \"C\", key COLLATE \"C\"
    ON CONFLICT (instance, key) DO UPDATE
   SET partition = EXCLUDED.partition,
       version = EXCLUDED.version,
       created_at = CASE WHEN old.tombstone OR EXCLUDED.tombstone OR old.expires_at <= EXCLUDED.updated_at
                         THEN EXCLUDED.created_at ELSE old.created_at END,
       updated_at = EXCLUDED.updated_at,
       expires_at = EXCLUDED.expires_at,
       operation_ids = EXCLUDED.operation_ids,
       tombstone = EXCLUDED.tombstone,
       metadata = EXCLUDED.metadata,
       value = EXCLUDED.value
 WHERE old.version < EXCLUDED.version";

impl Postgres {
    /// Writes a batch of one partition in one transaction: each entry is inserted, or replaces an older one. Writing
    /// the same batch again changes nothing. A key must not occur twice.
    ///
    /// # Errors
    /// Nothing of the batch is written then. [`PostgresError::rejection`] says that one of its rows is to blame.
    pub async fn upsert(&self, partition: Partition, entries: &[Entry]) -> Result<Upserted, PostgresError> {
        let columns = Columns::of(entries);
        let mut lease = self.lease().await?;
        let written = timeout(self.limit, write(&mut lease, partition, columns)).await;
        let Some((mark, rows)) = lease.end(written)? else {
            return Err(PostgresError::NoFence(partition));
        };
        Ok(Upserted {
            mark: version("mark", mark)?,
            rows,
        })
    }
}

/// The mark that was found and the rows that were written, `None` without a fence row.
async fn write(
    connection: &mut PgConnection,
    partition: Partition,
    columns: Columns<'_>,
) -> sqlx::Result<Option<(i64, u64)>> {
    let partition = partition.0.cast_signed();
    let mut transaction = connection.begin().await?;
    // Held until the commit: the sweeper must not remove a tombstone between this look at the mark and the insert.
    let mark = sqlx::query_scalar::<_, i64>("SELECT mark FROM fence WHERE partition = $1 FOR SHARE")
        .bind(partition)
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(mark) = mark else { return Ok(None) };
    let written = statement(partition, mark, columns)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Some((mark, written.rows_affected())))
}

/// Inserts or replaces within a transaction that holds the fence row; returns how many rows.
pub(super) async fn put(
    connection: &mut PgConnection,
    partition: Partition,
    mark: Version,
    entries: &[Entry],
) -> sqlx::Result<u64> {
    let statement = statement(partition.0.cast_signed(), mark.as_i64(), Columns::of(entries));
    Ok(statement.execute(connection).await?.rows_affected())
}

/// The statement with its values.
fn statement(partition: i16, mark: i64, columns: Columns<'_>) -> Query<'_, Driver, PgArguments> {
    sqlx::query(UPSERT)
        .bind(partition)
        .bind(mark)
        .bind(columns.instances)
        .bind(columns.keys)
        .bind(columns.versions)
        .bind(columns.created)
        .bind(columns.updated)
        .bind(columns.expires)
        .bind(columns.operations)
        .bind(columns.metadata)
        .bind(columns.values)
}

/// The batch, a column each.
struct Columns<'a> {
    instances: Vec<&'a str>,
    keys: Vec<&'a str>,
    versions: Vec<i64>,
    created: Vec<OffsetDateTime>,
    updated: Vec<OffsetDateTime>,
    expires: Vec<Option<OffsetDateTime>>,
    /// Array literals: PostgreSQL has no arrays of arrays of different lengths.
    operations: Vec<String>,
    metadata: Vec<Option<&'a str>>,
    values: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        let records = || entries.iter().map(|entry| &entry.record);
        let contents = || records().map(|record| texts(&record.content));
        Self {
            instances: records().map(|record| record.id.instance.as_str()).collect(),
            keys: records().map(|record| record.id.key.as_str()).collect(),
            versions: entries.iter().map(|entry| entry.version.as_i64()).collect(),
            created: records().map(|record| record.created_at.into()).collect(),
            updated: records().map(|record| record.updated_at.into()).collect(),
            expires: records()
                .map(|record| record.expires_at.map(Into::into))
                .collect(),
            operations: records()
                .map(|record| array_literal(&record.operation_ids))
                .collect(),
            metadata: contents().map(|(_, metadata)| metadata).collect(),
            values: contents().map(|(value, _)| value).collect(),
        }
    }
}

/// Value and metadata as text, neither for a tombstone.
fn texts(content: &Content) -> (Option<&str>, Option<&str>) {
    match content {
        Content::Value { value, metadata } => (Some(value.get()), metadata.as_deref().map(RawValue::get)),
        Content::Tombstone => (None, None),
    }
}

fn array_literal(ids: &[Uuid]) -> String {
    let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    format!("{{{}}}", ids.join(","))
}
