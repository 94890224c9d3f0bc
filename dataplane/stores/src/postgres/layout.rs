//! The layout of the partitions, and how another one begins.

use birbnest_core::{Base, DrainTerm, Incarnation, Layout, Partition, Version};
use sqlx::{Acquire, PgConnection};
use tokio::time::timeout;

use super::{
    Mode, Postgres, PostgresError,
    error::CorruptValue,
    fence::{Fence, all_fences, insert},
};
use crate::epoch::Remembered;

/// The layout as PostgreSQL has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownLayout {
    /// The partitions.
    pub layout: Layout,
    /// Another layout is about to begin.
    pub changing: bool,
}

/// The stream of a partition that is to begin.
#[derive(Clone, Debug)]
pub struct NewStream {
    /// The partition.
    pub partition: Partition,
    /// The stream's name.
    pub name: String,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// An epoch that NATS remembers of it: it has begun before, and PostgreSQL has lost that.
    pub later: Option<Remembered>,
}

/// What was found out about two layouts, for the step from one to the other.
#[derive(Clone, Debug)]
pub struct Step {
    /// The one that ends: every stream of it is sealed, and everything in them is persisted.
    pub from: Layout,
    /// The one that begins.
    pub to: Layout,
    /// Its streams, one for each partition.
    pub streams: Vec<NewStream>,
    /// The terms in which the streams of the layout that ends were found drained.
    pub drained: Vec<(Partition, DrainTerm)>,
    /// The highest version that was given in the layout that ends.
    pub persisted: Version,
    /// The highest version that messages in the streams of the layout that begins bear, or that a lost epoch of theirs may
    /// have given.
    pub reached: Version,
}

impl Postgres {
    /// The layout, `None` before the schema's runner has made one.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or the row is not valid.
    pub async fn layout(&self) -> Result<Option<KnownLayout>, PostgresError> {
        let mut lease = self.lease().await?;
        let read = timeout(self.limit, select(&mut lease, "")).await;
        lease.end(read)?.map(parse).transpose()
    }

    /// Makes the layout of a new nest, unless there is one; returns the one that is there then.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or the row is not valid.
    pub async fn create_layout_if_absent(&self, layout: Layout) -> Result<KnownLayout, PostgresError> {
        let mut lease = self.lease().await?;
        let work = async {
            sqlx::query("INSERT INTO layout (first, partitions) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(layout.first().0.cast_signed())
                .bind(layout.count().cast_signed())
                .execute(&mut *lease)
                .await?;
            select(&mut lease, "").await
        };
        let made = timeout(self.limit, work).await;
        match lease.end(made)? {
            Some(row) => parse(row),
            None => Err(PostgresError::NoFence(layout.first())),
        }
    }

    /// How many partitions a nest of a release without layouts has: as many as it has fences, 0 before the first one.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn fence_count(&self) -> Result<u16, PostgresError> {
        let mut lease = self.lease().await?;
        let asked = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM fence").fetch_one(&mut *lease);
        let counted = timeout(self.limit, asked).await;
        Ok(u16::try_from(lease.end(counted)?).unwrap_or(u16::MAX))
    }

    /// Says that another layout is about to begin after this one, or that none is after all. Nothing changes when it is another
    /// one by now.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn announce_change(&self, layout: Layout, changing: bool) -> Result<(), PostgresError> {
        let mut lease = self.lease().await?;
        let asked = sqlx::query("UPDATE layout SET changing = $3 WHERE first = $1 AND partitions = $2")
            .bind(layout.first().0.cast_signed())
            .bind(layout.count().cast_signed())
            .bind(changing)
            .execute(&mut *lease);
        let done = timeout(self.limit, asked).await;
        lease.end(done).map(drop)
    }

    /// Begins another layout, in one transaction: its fences take the place of those before, with a base 2^32 above
    /// everything that was ever given, and with another cache generation. `false` when it has begun already.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, when a fence of the layout that ends is not that of an open queue in the term in which
    /// it was found drained, or when versions have come to their end.
    pub async fn begin_layout(&self, step: &Step) -> Result<bool, PostgresError> {
        let mut lease = self.lease().await?;
        let work = async {
            let mut transaction = lease.begin().await?;
            let begun = begin(&mut transaction, step).await;
            if matches!(begun, Ok(true)) {
                transaction.commit().await?;
            }
            Ok(begun)
        };
        let ended = timeout(self.limit, work).await;
        lease.end(ended)?
    }
}

async fn begin(connection: &mut PgConnection, step: &Step) -> Result<bool, PostgresError> {
    let known = select(connection, "FOR UPDATE").await?.map(parse).transpose()?;
    if known.is_none_or(|known| known.layout != step.from) {
        return Ok(false);
    }
    let ending = all_fences(connection, "FOR UPDATE").await?;
    let is_drained = |fence: &Fence| {
        let drained = step.drained.contains(&(fence.partition, fence.term()));
        drained && fence.mode == Mode::Queue && !fence.failed_over
    };
    if let Some(other) = ending.iter().find(|fence| !is_drained(fence)) {
        return Err(PostgresError::NotDrained(other.partition));
    }
    let persisted = ending.iter().fold(step.persisted, |highest, fence| {
        highest.max(fence.highest_version)
    });
    let mut reached = persisted.max(step.reached);
    for fence in &ending {
        reached = reached.max(Version::new(fence.base.get()).map_err(CorruptValue::from)?);
    }
    let base = Base::above(reached).map_err(CorruptValue::from)?;
    let generation = ending.iter().map(|fence| fence.generation).max().unwrap_or(0) + 1;
    sqlx::query("DELETE FROM fence").execute(&mut *connection).await?;
    for stream in &step.streams {
        let fence = Fence {
            partition: stream.partition,
            stream: stream.name.clone(),
            epoch: stream
                .later
                .as_ref()
                .map_or(1, |later| later.epoch.saturating_add(1)),
            base,
            mode: Mode::Queue,
            incarnation: stream.incarnation.clone(),
            highest_version: reached,
            purge_sequence: 0,
            mark: persisted,
            generation,
            replay: 0,
            failed_over: false,
        };
        insert(connection, &fence).await?;
    }
    sqlx::query("UPDATE layout SET first = $1, partitions = $2, changing = false")
        .bind(step.to.first().0.cast_signed())
        .bind(step.to.count().cast_signed())
        .execute(connection)
        .await?;
    Ok(true)
}

type Row = (i16, i16, bool);

/// Reads the layout; `lock` is the clause that follows, a constant of this file.
async fn select(connection: &mut PgConnection, lock: &'static str) -> sqlx::Result<Option<Row>> {
    let statement = format!("SELECT first, partitions, changing FROM layout {lock}");
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .fetch_optional(connection)
        .await
}

fn parse((first, partitions, changing): Row) -> Result<KnownLayout, PostgresError> {
    let layout = Layout::new(Partition(first.cast_unsigned()), partitions.cast_unsigned());
    let layout = layout.ok_or(CorruptValue::Layout { first, partitions })?;
    Ok(KnownLayout { layout, changing })
}
