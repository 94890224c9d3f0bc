//! From the queue to PostgreSQL, while NATS is away.
//!
//! The fence is the truth, and every process may take the next step, so a crash leaves a step that another one takes:
//! 1. Who has been without NATS for some seconds closes the queue, if `onQueueOutage: WriteThrough` lets it.
//! 2. Whoever knows it closed waits until every lease has ended, by a clock of its own, and begins the next epoch, in which
//!    PostgreSQL takes the writes.
//! 3. The way back is [`Connector::take_back`](super::session::Connector::take_back).

use std::{
    collections::BTreeMap,
    sync::Weak,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use birbnest_core::{OnQueueOutage, Partition};
use tokio::time::{MissedTickBehavior, interval};

use super::{reach::Reach, session::Session};
use crate::{
    fence::{Fence, FenceWatch, Mode},
    lease::ALL_LEASES,
    postgres::{Postgres, PostgresError},
};

/// For so long a process is without NATS before it closes the queue: a restart takes less, and the way back takes longer.
const PATIENCE: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_millis(250);

/// Takes the steps that lead to PostgreSQL.
pub(super) struct Switch {
    pub(super) postgres: Postgres,
    pub(super) fences: FenceWatch,
    pub(super) reach: Reach,
    pub(super) on_outage: OnQueueOutage,
    /// The epoch in which each partition was first seen closed, and when.
    pub(super) closed: BTreeMap<Partition, (i64, Instant)>,
}

impl Switch {
    /// Goes on until the last user of `current` is gone.
    pub(super) async fn run(mut self, current: Weak<ArcSwapOption<Session>>) {
        let mut turn = interval(INTERVAL);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(slot) = current.upgrade() {
            self.end_if_silent(slot.load_full().as_deref());
            drop(slot);
            for fence in self.fences.all().iter() {
                if let Err(error) = self.step(fence).await {
                    tracing::debug!(partition = %fence.partition, %error, "a step between queue and postgresql is left for later");
                }
            }
            turn.tick().await;
        }
    }

    /// A connection over which nobody answers is none.
    fn end_if_silent(&self, session: Option<&Session>) {
        if let Some(session) = session
            && self.on_outage == OnQueueOutage::WriteThrough
            && session.pulse.silence() > PATIENCE
            && !session.has_ended()
        {
            session.end("nats does not answer");
        }
    }

    async fn step(&mut self, fence: &Fence) -> Result<(), PostgresError> {
        let (partition, epoch) = (fence.partition, fence.epoch);
        match fence.mode {
            Mode::Queue if self.may_close() => self.close(partition, epoch).await,
            Mode::Closing if self.knows_every_lease_ended(partition, epoch) => {
                self.begin(partition, epoch).await
            }
            _ => Ok(()),
        }
    }

    async fn close(&self, partition: Partition, epoch: i64) -> Result<(), PostgresError> {
        if self.postgres.close_queue(partition, epoch).await? {
            tracing::warn!(%partition, epoch, "nats is away: the queue is closed");
        }
        Ok(())
    }

    async fn begin(&self, partition: Partition, epoch: i64) -> Result<(), PostgresError> {
        if self.postgres.begin_writing_through(partition, epoch).await? {
            tracing::warn!(%partition, epoch = epoch + 1, "postgresql takes the writes");
        }
        Ok(())
    }

    fn may_close(&self) -> bool {
        self.on_outage == OnQueueOutage::WriteThrough && self.reach.away_for() > PATIENCE
    }

    /// The queue is closed once in an epoch: the next step begins another one.
    fn knows_every_lease_ended(&mut self, partition: Partition, epoch: i64) -> bool {
        let now = (epoch, Instant::now());
        let seen = self.closed.entry(partition).or_insert(now);
        if seen.0 != epoch {
            *seen = now;
        }
        seen.1.elapsed() > ALL_LEASES
    }
}
