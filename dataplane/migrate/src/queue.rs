//! The streams as the runner sees them.

use async_nats::jetstream::{self, Context};
use birbnest_core::{Layout, Partition, Version, config::StreamConfig};
use birbnest_stores::{
    epoch::given,
    jetstream::{Lives, addresses, connect, highest_version, provision},
    postgres::{Fence, NewStream, Step},
};

use crate::MigrateError;

/// A connection to NATS, and which streams are meant.
pub(crate) struct Queue {
    js: Context,
    lives: Lives,
    config: StreamConfig,
}

impl Queue {
    pub(crate) async fn connect(url: &str, config: &StreamConfig) -> Result<Self, MigrateError> {
        let client = connect(&addresses(url)?, "birbnest-migrate").await?;
        let js = jetstream::new(client.clone());
        Ok(Self {
            lives: Lives::new(client, js.clone(), config),
            js,
            config: config.clone(),
        })
    }

    /// The layout whose streams take writes, if there are any.
    pub(crate) async fn layout(&self) -> Result<Option<Layout>, MigrateError> {
        Ok(provision::layout(&self.js, &self.config).await?)
    }

    /// Creates what is missing and repairs what was changed.
    pub(crate) async fn provide(&self, layout: Layout) -> Result<(), MigrateError> {
        for done in provision::ensure(&self.js, &self.config, layout).await? {
            tracing::info!(
                stream = done.stream,
                stream_change = ?done.stream_change,
                consumer_change = ?done.consumer_change,
                "the stream is as it should be"
            );
        }
        Ok(())
    }

    /// Writes that are not acknowledged by the workers.
    pub(crate) async fn backlog(&self, layout: Layout) -> Result<u64, MigrateError> {
        Ok(provision::backlog(&self.js, &self.config, layout).await?)
    }

    /// As [`Queue::backlog`], by the consumers of these fences' terms. A partition without a fence was never written to.
    pub(crate) async fn backlog_of_terms(
        &self,
        layout: Layout,
        fences: &[Fence],
    ) -> Result<u64, MigrateError> {
        let mut waiting = 0;
        for fence in fences
            .iter()
            .filter(|fence| layout.place(fence.partition).is_some())
        {
            waiting +=
                provision::backlog_of_term(&self.js, &self.config, fence.partition, fence.term()).await?;
        }
        Ok(waiting)
    }

    pub(crate) async fn is_sealed(&self, layout: Layout) -> Result<bool, MigrateError> {
        let streams = provision::streams(&self.js, &self.config, layout).await?;
        Ok(streams.iter().any(|found| found.info.config.sealed))
    }

    pub(crate) async fn seal(&self, layout: Layout) -> Result<(), MigrateError> {
        Ok(provision::seal(&self.js, &self.config, layout).await?)
    }

    /// Removes the streams of earlier layouts.
    pub(crate) async fn retire_before(&self, layout: Layout) -> Result<(), MigrateError> {
        Ok(provision::retire(&self.js, &self.config, layout).await?)
    }

    /// What has to be known for the step from a layout, whose fences are these, to another one.
    pub(crate) async fn step(
        &self,
        from: Layout,
        fences: &[Fence],
        to: Layout,
    ) -> Result<Step, MigrateError> {
        let mut persisted = Version::ZERO;
        for found in provision::streams(&self.js, &self.config, from).await? {
            let fence = fences.iter().find(|fence| fence.partition == found.partition);
            let (epoch, base) = fence.map_or((0, 0), |fence| (fence.epoch, fence.base.get()));
            let last_sequence = found.info.state.last_sequence;
            let last = Version::new(base.saturating_add(last_sequence))?;
            // PostgreSQL may have lost an epoch, and nobody have noticed yet.
            let later = provision::epoch_after(&self.js, &found.info.config.name, epoch).await?;
            persisted = persisted.max(last).max(given(later.as_ref(), last_sequence)?);
        }
        let mut reached = Version::ZERO;
        let mut streams = Vec::with_capacity(usize::from(to.count()));
        for found in provision::streams(&self.js, &self.config, to).await? {
            let stream = self.js.get_stream_no_info(&found.info.config.name).await;
            let stream = stream.map_err(|error| MigrateError::Stream {
                partition: found.partition,
                message: error.to_string(),
            })?;
            let last_sequence = found.info.state.last_sequence;
            let highest = highest_version(&stream, last_sequence).await?;
            let later = provision::epoch_after(&self.js, &found.info.config.name, 0).await?;
            reached = reached.max(highest).max(given(later.as_ref(), last_sequence)?);
            streams.push(NewStream {
                later,
                partition: found.partition,
                incarnation: self.lives.incarnation(&found.info).await?,
                name: found.info.config.name,
            });
        }
        Ok(Step {
            from,
            to,
            streams,
            drained: fences
                .iter()
                .map(|fence| (fence.partition, fence.term()))
                .collect(),
            persisted,
            reached,
        })
    }
}

/// For messages.
pub(crate) fn told(layout: Layout) -> String {
    let Partition(first) = layout.first();
    format!("{} from {first} on", layout.count())
}
