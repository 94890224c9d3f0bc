//! How far the workers are: what tells a client whether its write is in PostgreSQL by now.

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    routing::get,
};
use birbnest_core::{EntryId, EntryKey, InstanceName, Partition};
use birbnest_stores::{
    fence::{Fence, FenceWatch, Mode},
    jetstream::{Log, Progress},
    postgres::Postgres,
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::{app::App, problem::Problem, request::Instance, sources::nowhere};

/// Partitions that are asked at the same time.
const CONCURRENCY: usize = 16;

/// The route.
pub(crate) fn router() -> Router<App> {
    Router::new().route("/v1/admin/watermarks", get(list))
}

/// Who knows how far the workers are. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Watermarks {
    pub(crate) log: Log,
    pub(crate) postgres: Postgres,
    pub(crate) fences: FenceWatch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// Only the partition of this key.
    key: Option<String>,
}

#[derive(Serialize)]
struct List {
    watermarks: Vec<Watermark>,
}

#[derive(Serialize)]
struct Watermark {
    partition: u16,
    epoch: i64,
    /// Who takes the writes.
    mode: &'static str,
    /// Every acknowledged write up to here is in PostgreSQL, a dead letter, or was overwritten by a later one.
    persisted_through: u64,
    highest_version: u64,
    /// Writes that PostgreSQL does not have yet; not known while it takes the writes itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_age_seconds: Option<u64>,
}

impl Watermark {
    fn of(fence: &Fence, progress: &Progress) -> Self {
        Self {
            partition: fence.partition.0,
            epoch: fence.epoch,
            mode: fence.mode.name(),
            persisted_through: progress.persisted_through.get(),
            highest_version: progress.highest_version.get(),
            waiting: Some(progress.waiting),
            oldest_age_seconds: progress.oldest.map(|oldest| oldest.age().as_secs()),
        }
    }

    /// While PostgreSQL takes the writes: what the queue still holds is not known.
    fn of_fence_alone(fence: &Fence) -> Self {
        Self {
            partition: fence.partition.0,
            epoch: fence.epoch,
            mode: fence.mode.name(),
            persisted_through: fence.mark.get(),
            highest_version: fence.highest_version.get(),
            waiting: None,
            oldest_age_seconds: None,
        }
    }
}

impl Watermarks {
    async fn of(&self, partition: Partition) -> Result<Watermark, Problem> {
        let fence = self.fences.get(partition).ok_or_else(|| {
            Problem::unavailable("nothing is known about the partition yet: the database has not answered")
        })?;
        if fence.mode == Mode::Through
            && let Some(now) = self.now(partition).await?
        {
            return Ok(now);
        }
        let progress = self.log.progress(&fence).await.map_err(|error| {
            Problem::unavailable("the queue did not say how far the workers are").cause(&error)
        })?;
        Ok(Watermark::of(&fence, &progress))
    }

    /// What the fence says at this moment, if PostgreSQL takes the writes.
    async fn now(&self, partition: Partition) -> Result<Option<Watermark>, Problem> {
        let fence = self.postgres.fence(partition).await.map_err(|error| {
            Problem::unavailable("the database did not say which versions it has given").cause(&error)
        })?;
        let through = fence.filter(|fence| fence.mode == Mode::Through);
        Ok(through.as_ref().map(Watermark::of_fence_alone))
    }

    /// The partition of the key that is asked for, or all.
    fn asked(&self, instance: InstanceName, filter: Filter) -> Result<Vec<Partition>, Problem> {
        let layout = self.fences.layout().ok_or_else(nowhere)?;
        let Some(key) = filter.key else {
            return Ok(layout.partitions().collect());
        };
        let key: EntryKey = key
            .parse()
            .map_err(|error| Problem::invalid(format!("key: {error}")))?;
        Ok(vec![layout.partition(EntryId { instance, key }.hash())])
    }
}

async fn list(
    State(app): State<App>,
    Instance(instance): Instance,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<List>, Problem> {
    let Query(filter) = filter.map_err(|error| Problem::invalid(error.body_text()))?;
    let asked = app.watermarks.asked(instance, filter)?;
    let asking = asked.into_iter().map(|partition| app.watermarks.of(partition));
    let watermarks = stream::iter(asking).buffered(CONCURRENCY).try_collect().await?;
    Ok(Json(List { watermarks }))
}
