//! Reading entries.

use birbnest_core::{Content, Entry, EntryId, Partition, Record, Timestamp, Version};
use serde_json::value::RawValue;
use sqlx::{FromRow, postgres::PgRow};
use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    Mode, Postgres, PostgresError,
    error::CorruptValue,
    fence::{mode, version},
};

/// What PostgreSQL knows about a key, as of one moment.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The partition's mark: a message at or below it is ignored.
    pub mark: Version,
    /// Who took the writes.
    pub mode: Mode,
    /// The row, which may be a tombstone or expired.
    pub entry: Option<Entry>,
}

/// `json` values travel as their text: their bytes are what the client sent.
const COLUMNS: &str = "f.mark, f.mode, e.version, e.created_at, e.updated_at, e.expires_at, e.operation_ids, \
                       e.metadata::text AS metadata, e.value::text AS value";

impl Postgres {
    /// Reads a key together with its partition's mark, in one statement and so as of one moment.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, there is no fence row, or the row is not valid.
    pub async fn read(&self, partition: Partition, id: &EntryId) -> Result<Stored, PostgresError> {
        let mut lease = self.lease().await?;
        let statement = format!(
            "SELECT {COLUMNS} FROM fence f LEFT JOIN cache_entries e ON e.instance = $2 AND e.key = $3 \
             WHERE f.partition = $1"
        );
        let asked = sqlx::query_as::<_, EntryRow>(sqlx::AssertSqlSafe(statement))
            .bind(partition.0.cast_signed())
            .bind(id.instance.as_str())
            .bind(id.key.as_str())
            .fetch_optional(&mut *lease);
        let read = timeout(self.limit, asked).await;
        match lease.end(read)? {
            Some(row) => row.parse(id),
            None => Err(PostgresError::NoFence(partition)),
        }
    }

    /// Reads many keys at once; the answers come in the order of the questions.
    ///
    /// # Errors
    /// As [`Postgres::read`]; one key that cannot be read fails them all.
    pub async fn read_many(&self, ids: &[(Partition, EntryId)]) -> Result<Vec<Stored>, PostgresError> {
        let partitions: Vec<i16> = ids
            .iter()
            .map(|(partition, _)| partition.0.cast_signed())
            .collect();
        let instances: Vec<&str> = ids.iter().map(|(_, id)| id.instance.as_str()).collect();
        let keys: Vec<&str> = ids.iter().map(|(_, id)| id.key.as_str()).collect();
        let statement = format!(
            "SELECT {COLUMNS} FROM unnest($1::smallint[], $2::text[], $3::text[]) \
             WITH ORDINALITY AS asked (partition, instance, key, place) \
             JOIN fence f ON f.partition = asked.partition \
             LEFT JOIN cache_entries e ON e.instance = asked.instance AND e.key = asked.key \
             ORDER BY asked.place"
        );
        let mut lease = self.lease().await?;
        let asked = sqlx::query_as::<_, EntryRow>(sqlx::AssertSqlSafe(statement))
            .bind(partitions)
            .bind(instances)
            .bind(keys)
            .fetch_all(&mut *lease);
        let read = timeout(self.limit, asked).await;
        let rows = lease.end(read)?;
        if let (true, Some((partition, _))) = (rows.len() < ids.len(), ids.first()) {
            return Err(PostgresError::NoFence(*partition));
        }
        rows.into_iter()
            .zip(ids)
            .map(|(row, (_, id))| row.parse(id))
            .collect()
    }
}

struct EntryRow {
    mark: i64,
    mode: String,
    row: Option<Row>,
}

struct Row {
    version: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    expires_at: Option<OffsetDateTime>,
    operation_ids: Vec<Uuid>,
    metadata: Option<String>,
    value: Option<String>,
}

impl FromRow<'_, PgRow> for EntryRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        use sqlx::Row as _;
        let found: Option<i64> = row.try_get("version")?;
        let entry = match found {
            None => None,
            Some(version) => Some(Row {
                version,
                created_at: row.try_get("created_at")?,
                updated_at: row.try_get("updated_at")?,
                expires_at: row.try_get("expires_at")?,
                operation_ids: row.try_get("operation_ids")?,
                metadata: row.try_get("metadata")?,
                value: row.try_get("value")?,
            }),
        };
        Ok(Self {
            mark: row.try_get("mark")?,
            mode: row.try_get("mode")?,
            row: entry,
        })
    }
}

impl EntryRow {
    fn parse(self, id: &EntryId) -> Result<Stored, PostgresError> {
        let entry = self.row.map(|row| row.parse(id)).transpose()?;
        Ok(Stored {
            mark: version("mark", self.mark)?,
            mode: mode(&self.mode)?,
            entry,
        })
    }
}

impl Row {
    fn parse(self, id: &EntryId) -> Result<Entry, CorruptValue> {
        let raw = |text: String| RawValue::from_string(text);
        let content = match self.value {
            Some(value) => Content::Value {
                value: raw(value)?,
                metadata: self.metadata.map(raw).transpose()?,
            },
            None => Content::Tombstone,
        };
        Ok(Entry {
            version: version("version", self.version)?,
            record: Record {
                id: id.clone(),
                content,
                created_at: Timestamp::from(self.created_at),
                updated_at: Timestamp::from(self.updated_at),
                expires_at: self.expires_at.map(Timestamp::from),
                operation_ids: self.operation_ids,
            },
        })
    }
}
