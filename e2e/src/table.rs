//! What PostgreSQL holds.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, FromRow, PgConnection};

use crate::wait::{eventually, seen};

/// The table of entries of one BirbNest.
#[derive(Clone, Debug)]
pub struct Table {
    url: String,
    schema: String,
}

/// A row, without its times.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct Row {
    /// The key.
    pub key: String,
    /// The version.
    pub version: i64,
    /// The value's JSON text, none for a tombstone.
    pub value: Option<String>,
    /// Whether the entry was deleted.
    pub tombstone: bool,
}

const COLUMNS: &str = "key, version, value::text AS value, tombstone";

impl Table {
    /// The table in this database and schema.
    pub fn new(url: &str, schema: &str) -> Self {
        Self {
            url: url.to_owned(),
            schema: schema.to_owned(),
        }
    }

    /// The address of its database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The row of a key, or `None`.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn row(&self, key: &str) -> sqlx::Result<Option<Row>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {}.cache_entries WHERE instance = 'global' AND key = $1",
            self.schema
        );
        let mut connection = PgConnection::connect(&self.url).await?;
        sqlx::query_as(AssertSqlSafe(sql))
            .bind(key)
            .fetch_optional(&mut connection)
            .await
    }

    /// Every row, by key.
    ///
    /// # Panics
    /// When PostgreSQL does not answer.
    pub async fn rows(&self) -> BTreeMap<String, Row> {
        self.try_rows()
            .await
            .unwrap_or_else(|error| panic!("PostgreSQL: {error}"))
    }

    async fn try_rows(&self) -> sqlx::Result<BTreeMap<String, Row>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {}.cache_entries WHERE instance = 'global'",
            self.schema
        );
        let mut connection = PgConnection::connect(&self.url).await?;
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await?;
        Ok(rows.into_iter().map(|row| (row.key.clone(), row)).collect())
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn count(&self) -> sqlx::Result<i64> {
        let sql = format!("SELECT count(*) FROM {}.cache_entries", self.schema);
        let mut connection = PgConnection::connect(&self.url).await?;
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut connection)
            .await
    }

    /// Waits until the key has a row for which the condition holds, and returns it.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn until_row(&self, key: &str, condition: impl Fn(&Row) -> bool) -> Row {
        eventually(&format!("a row of {key} in PostgreSQL"), || async {
            let row = self.row(key).await.map_err(|error| error.to_string())?;
            let row = seen(row, |row| row.as_ref().is_some_and(&condition))?;
            row.ok_or_else(|| "no row".to_owned())
        })
        .await
    }
}

impl Row {
    /// The value.
    ///
    /// # Panics
    /// When there is none.
    pub fn json(&self) -> Value {
        let text = self
            .value
            .as_deref()
            .unwrap_or_else(|| panic!("{self:?} has no value"));
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text} is no JSON: {error}"))
    }
}
