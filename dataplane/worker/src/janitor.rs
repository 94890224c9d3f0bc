//! Keeps streams and table short: moves the mark, purges what is persisted, sweeps what nobody can ask for any more.
//!
//! First the mark in the fence, then the purge: a purged message that comes back (a rebuilt stream, an older copy of its
//! files) is then at or below the mark, and everybody ignores it.

use std::{collections::BTreeMap, time::Duration};

use async_nats::{
    Client,
    jetstream::{
        Context,
        context::ContextBuilder,
        stream::{Info, Stream},
    },
};
use birbnest_core::{Layout, Partition, StreamNames, Version, config::StreamConfig};
use birbnest_service::{Heartbeat, Shutdown};
use birbnest_stores::{
    Backends,
    jetstream::{DeadLetters, LifeError, Lives, Progress, ReadError, first_above, settled_through},
    postgres::{Fence, Leader, Mode, Observed, PostgresError},
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    metrics::Metrics,
    ripening::{Era, Ripening},
};

/// A purge writes the stream's whole index: up to two seconds with a million messages.
const API_TIMEOUT: Duration = Duration::from_secs(5);
/// Rows of each kind that one transaction of the sweep removes, while the partition's batches wait.
const SWEEP_ROWS: u32 = 1_000;
/// Such transactions per round.
const SWEEP_TURNS: u32 = 10;

/// The janitor of this process, which works only while it leads.
pub(crate) struct Janitor {
    context: Context,
    lives: Lives,
    letters: DeadLetters,
    backends: Backends,
    config: StreamConfig,
    ripening: BTreeMap<Partition, Ripening>,
    heartbeat: Heartbeat,
    metrics: Metrics,
    lead: watch::Sender<Option<u64>>,
}

/// Why a partition was left alone this time.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error("nats: {0}")]
    Nats(String),
    #[error(transparent)]
    Life(#[from] LifeError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the fence is another stream's, epoch's or PostgreSQL's")]
    Fenced,
    #[error("the version is out of its bounds: {0}")]
    Version(#[from] birbnest_core::VersionOverflow),
}

/// What was found out about a partition.
struct Look {
    fence: Fence,
    stream: Stream,
    info: Info,
    era: Era,
    progress: Progress,
}

impl Janitor {
    pub(crate) fn new(
        client: Client,
        letters: DeadLetters,
        backends: Backends,
        config: StreamConfig,
        heartbeat: Heartbeat,
        metrics: Metrics,
        lead: watch::Sender<Option<u64>>,
    ) -> Self {
        let context = ContextBuilder::new().timeout(API_TIMEOUT).build(client.clone());
        Self {
            lives: Lives::new(client, context.clone(), &config),
            context,
            letters,
            backends,
            config,
            ripening: BTreeMap::new(),
            heartbeat,
            metrics,
            lead,
        }
    }

    /// Goes on until the shutdown.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut turn = interval(self.config.janitor_interval.get());
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leader = None;
        while shutdown.or(turn.tick()).await.is_some() {
            self.heartbeat.beat();
            leader = self.lead(leader).await;
            if leader.is_some() {
                let waiting = self.round(&shutdown).await;
                self.lead.send_replace(Some(waiting));
                self.count_dead_letters().await;
            } else {
                self.lead.send_replace(None);
                // What was seen before says nothing after somebody else led.
                self.ripening.clear();
                self.metrics.forget_lead();
            }
        }
    }

    /// Stays or becomes the leader, if nobody else is.
    async fn lead(&self, leader: Option<Leader>) -> Option<Leader> {
        if let Some(mut leader) = leader {
            match leader.confirm().await {
                Ok(()) => return Some(leader),
                Err(error) => tracing::info!(%error, "no longer the janitor"),
            }
        }
        match self.backends.postgres.try_lead("janitor").await {
            Ok(Some(leader)) => {
                tracing::info!("this worker is the janitor");
                Some(leader)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(%error, "cannot become the janitor");
                None
            }
        }
    }

    /// Returns how many writes wait.
    async fn round(&mut self, shutdown: &Shutdown) -> u64 {
        let mut waiting = 0;
        let layout = self.backends.fences.layout();
        self.ripening
            .retain(|partition, _| layout.is_some_and(|layout| layout.place(*partition).is_some()));
        for partition in layout.into_iter().flat_map(Layout::partitions) {
            if shutdown.has_begun() {
                break;
            }
            self.heartbeat.beat();
            // Boxed: what asks JetStream is large, and this future is part of others.
            match Box::pin(self.tidy(partition)).await {
                Ok(of_partition) => waiting += of_partition,
                Err(error) => tracing::debug!(%partition, %error, "the janitor left the partition alone"),
            }
            if let Err(error) = self.sweep(partition).await {
                tracing::debug!(%partition, %error, "the sweep failed");
            }
        }
        waiting
    }

    async fn count_dead_letters(&self) {
        let waiting = match self.letters.count().await {
            Ok(waiting) => waiting,
            Err(error) => return tracing::debug!(%error, "the dead letters cannot be counted"),
        };
        self.metrics.dead_letters_waiting(waiting);
        if waiting == 0
            && let Err(error) = self.backends.postgres.forget_old_dead_letters().await
        {
            tracing::debug!(%error, "what was noted about dead letters stays");
        }
    }

    /// Returns how many writes of the partition wait.
    async fn tidy(&mut self, partition: Partition) -> Result<u64, RoundError> {
        let look = Box::pin(self.look(partition)).await?;
        let waiting = look.progress.waiting;
        let now = Instant::now();
        let ripening = self.ripening.entry(partition).or_default();
        ripening.note(&look.era, look.progress.floor, now);
        // What an earlier leader recorded may be purged, too: after a restart the stream may have brought it back.
        let ripe = ripening
            .ripe(now, self.config.horizon.get())
            .max(look.fence.purge_sequence);
        let mark = self.record(&look, ripe).await?;
        self.metrics.mark(partition, mark.as_i64());
        if ripe > 0 && look.info.state.messages > 0 && look.info.state.first_sequence <= ripe {
            self.purge(look, ripe).await?;
        }
        Ok(waiting)
    }

    /// Fence first, then the stream: what the fence names was there before.
    async fn look(&self, partition: Partition) -> Result<Look, RoundError> {
        let fence = self
            .backends
            .postgres
            .fence(partition)
            .await?
            .ok_or(PostgresError::NoFence(partition))?;
        let name = StreamNames::new(&self.config.prefix).stream(partition);
        let stream = self.context.get_stream(&name).await.map_err(nats)?;
        let info = stream.cached_info().clone();
        let progress = Progress::of(&stream, &fence, info.state.last_sequence).await?;
        self.metrics.depth(partition, progress.waiting);
        let era = Era {
            term: fence.term(),
            incarnation: self.lives.incarnation(&info).await?,
        };
        let belongs = fence.stream == name && fence.incarnation == era.incarnation;
        if !belongs || fence.failed_over || fence.mode != Mode::Queue {
            return Err(RoundError::Fenced);
        }
        // More is acknowledged than the stream has given: not this consumer's stream.
        if progress.floor > info.state.last_sequence {
            return Err(RoundError::Fenced);
        }
        self.metrics.persisted(partition, &progress);
        Ok(Look {
            fence,
            stream,
            info,
            era,
            progress,
        })
    }

    /// Records the mark, and the highest version that the stream has given; returns the mark. It stays below what an
    /// earlier epoch left: that is purged as it is acknowledged, and ignored only when all before it is persisted.
    async fn record(&self, look: &Look, ripe: u64) -> Result<Version, RoundError> {
        let waiting = first_above(&look.stream, ripe).await?;
        let observed = Observed {
            term: look.era.term,
            incarnation: look.era.incarnation.clone(),
            mark: settled_through(look.fence.base, ripe, waiting)?,
            purge_sequence: ripe,
            highest_version: look.progress.highest_version,
        };
        if self
            .backends
            .postgres
            .record_mark(look.fence.partition, &observed)
            .await?
        {
            Ok(observed.mark.max(look.fence.mark))
        } else {
            Err(RoundError::Fenced)
        }
    }

    /// Right before, looks again: a purge deletes what is not acknowledged just as silently.
    async fn purge(&self, look: Look, up_to: u64) -> Result<(), RoundError> {
        let mut stream = look.stream;
        let info = stream.info().await.map_err(nats)?;
        let same = self.lives.incarnation(info).await? == look.era.incarnation;
        if !same || up_to > info.state.last_sequence {
            return Err(RoundError::Fenced);
        }
        // The server keeps the message of the sequence that it is given.
        let purged = stream.purge().sequence(up_to + 1).await.map_err(nats)?;
        self.metrics.purged(purged.purged);
        Ok(())
    }

    async fn sweep(&self, partition: Partition) -> Result<(), PostgresError> {
        for _ in 0..SWEEP_TURNS {
            let swept = self.backends.postgres.sweep(partition, SWEEP_ROWS).await?;
            self.metrics.swept(swept.total());
            if swept.total() < u64::from(SWEEP_ROWS) {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn nats(error: impl std::fmt::Display) -> RoundError {
    RoundError::Nats(error.to_string())
}
