//! The fence as it is stored.

use birbnest_core::{Base, Incarnation, Partition, Version};
use sqlx::PgConnection;

use super::{Fence, Mode};
use crate::postgres::{PostgresError, error::CorruptValue};

pub(super) const COLUMNS: &str = "partition, stream, epoch, base, mode, incarnation, highest_version, purge_sequence, mark, \
                                  generation, replay, history <> (SELECT server_history()) AS failed_over";

/// Reads a fence row; `lock` is the clause that follows, a constant of this file.
pub(super) async fn select(
    connection: &mut PgConnection,
    partition: Partition,
    lock: &'static str,
) -> sqlx::Result<Option<FenceRow>> {
    let statement = format!("SELECT {COLUMNS} FROM fence WHERE partition = $1 {lock}");
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(partition.0.cast_signed())
        .fetch_optional(connection)
        .await
}

/// Reads every fence, by partition; `lock` is the clause that follows, a constant of this room.
pub(in crate::postgres) async fn all_fences(
    connection: &mut PgConnection,
    lock: &'static str,
) -> Result<Vec<Fence>, PostgresError> {
    let statement = format!("SELECT {COLUMNS} FROM fence ORDER BY partition {lock}");
    let rows = sqlx::query_as::<_, FenceRow>(sqlx::AssertSqlSafe(statement))
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(FenceRow::parse).collect()
}

/// Writes a fence that does not exist. The deliveries are counted from the clock: the consumer is another one than any that
/// a failover of PostgreSQL may have made forgotten.
pub(in crate::postgres) async fn insert(
    connection: &mut PgConnection,
    fence: &Fence,
) -> Result<(), PostgresError> {
    sqlx::query(
        "INSERT INTO fence (partition, stream, epoch, base, mode, incarnation, highest_version, purge_sequence, mark, \
         generation, replay, history) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, \
         (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, server_history())",
    )
    .bind(fence.partition.0.cast_signed())
    .bind(&fence.stream)
    .bind(fence.epoch)
    .bind(fence.base.get().cast_signed())
    .bind(fence.mode.name())
    .bind(fence.incarnation.as_str())
    .bind(fence.highest_version.as_i64())
    .bind(fence.purge_sequence.cast_signed())
    .bind(fence.mark.as_i64())
    .bind(fence.generation.cast_signed())
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes back what may change.
pub(in crate::postgres) async fn store(
    connection: &mut PgConnection,
    fence: &Fence,
) -> Result<(), PostgresError> {
    sqlx::query(
        "UPDATE fence SET epoch = $2, base = $3, incarnation = $4, highest_version = $5, purge_sequence = $6, \
         mark = $7, generation = $8, mode = $9, updated_at = now() WHERE partition = $1",
    )
    .bind(fence.partition.0.cast_signed())
    .bind(fence.epoch)
    .bind(fence.base.get().cast_signed())
    .bind(fence.incarnation.as_str())
    .bind(fence.highest_version.as_i64())
    .bind(fence.purge_sequence.cast_signed())
    .bind(fence.mark.as_i64())
    .bind(fence.generation.cast_signed())
    .bind(fence.mode.name())
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
pub(super) struct FenceRow {
    partition: i16,
    stream: String,
    epoch: i64,
    base: i64,
    mode: String,
    incarnation: String,
    highest_version: i64,
    purge_sequence: i64,
    mark: i64,
    generation: i64,
    replay: i64,
    failed_over: bool,
}

impl FenceRow {
    pub(super) fn parse(self) -> Result<Fence, PostgresError> {
        Ok(Fence {
            partition: Partition(self.partition.cast_unsigned()),
            stream: self.stream,
            epoch: self.epoch,
            base: Base::new(counted("base", self.base)?).map_err(CorruptValue::from)?,
            mode: mode(&self.mode)?,
            incarnation: Incarnation::stored(self.incarnation),
            highest_version: version("highest_version", self.highest_version)?,
            purge_sequence: counted("purge_sequence", self.purge_sequence)?,
            mark: version("mark", self.mark)?,
            generation: counted("generation", self.generation)?,
            replay: self.replay,
            failed_over: self.failed_over,
        })
    }
}

/// A stored number that is never negative.
fn counted(column: &'static str, value: i64) -> Result<u64, CorruptValue> {
    u64::try_from(value).map_err(|_| CorruptValue::Number { column, value })
}

/// A stored mode.
pub(in crate::postgres) fn mode(name: &str) -> Result<Mode, CorruptValue> {
    [Mode::Queue, Mode::Closing, Mode::Through]
        .into_iter()
        .find(|mode| mode.name() == name)
        .ok_or_else(|| CorruptValue::Mode(name.to_owned()))
}

/// A stored version.
pub(in crate::postgres) fn version(column: &'static str, value: i64) -> Result<Version, CorruptValue> {
    Ok(Version::new(counted(column, value)?)?)
}
