//! Over how many tables the entries are spread, by the hash of their key.
//!
//! One transaction moves them all: a run that dies leaves them where they were. While it lasts nobody reads or writes
//! entries in PostgreSQL, so hits are served, writes are queued, and everything else waits.

use std::time::Instant;

use birbnest_stores::postgres::PostgresError;
use sqlx::{Connection, PgConnection, raw_sql};

use crate::MigrateError;

const FUNCTION: &str = include_str!("spread.sql");
/// A table that is not spread has no parts.
const TABLES: &str = "SELECT greatest(count(*), 1) FROM pg_partition_tree('cache_entries') WHERE isleaf";

/// Spreads the entries over so many tables, if they are not already.
pub(crate) async fn spread(connection: &mut PgConnection, tables: u16) -> Result<(), MigrateError> {
    let found: i64 = sqlx::query_scalar(TABLES)
        .fetch_one(&mut *connection)
        .await
        .map_err(PostgresError::from)?;
    if found == i64::from(tables) {
        return Ok(());
    }
    tracing::info!(from = found, to = tables, "moving the entries to other tables");
    let began = Instant::now();
    let moved = rebuild(connection, tables).await;
    let rows = moved.map_err(|source| MigrateError::Unspread { tables, source })?;
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(tables, rows, duration_ms, "the entries are moved");
    Ok(())
}

async fn rebuild(connection: &mut PgConnection, tables: u16) -> sqlx::Result<i64> {
    let mut transaction = connection.begin().await?;
    raw_sql(FUNCTION).execute(&mut *transaction).await?;
    let moved = sqlx::query_scalar("SELECT pg_temp.spread_entries($1)")
        .bind(i32::from(tables))
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(moved)
}
