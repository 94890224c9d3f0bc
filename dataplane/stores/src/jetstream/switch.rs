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
    pub(super) closed: Closed,
}

/// The epoch in which each partition was first seen closed, and when.
#[derive(Default)]
pub(super) struct Closed(BTreeMap<Partition, (i64, Instant)>);

impl Closed {
    /// For how long a partition has been seen closed by now.
    fn note(&mut self, fence: &Fence, now: Instant) -> Duration {
        if fence.mode != Mode::Closing {
            // It may be closed again in the same epoch, if PostgreSQL has lost that it was.
            self.0.remove(&fence.partition);
            return Duration::ZERO;
        }
        let since = self.0.entry(fence.partition).or_insert((fence.epoch, now));
        if since.0 != fence.epoch {
            *since = (fence.epoch, now);
        }
        now.duration_since(since.1)
    }
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
        let every_lease_ended = self.closed.note(fence, Instant::now()) > ALL_LEASES;
        match fence.mode {
            Mode::Queue if self.may_close() => self.close(partition, epoch).await,
            Mode::Closing if every_lease_ended => self.begin(partition, epoch).await,
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_is_closed_again_is_waited_for_again() {
        let fence = |epoch, mode| Fence {
            epoch,
            mode,
            ..Fence::example()
        };
        let (mut closed, start) = (Closed::default(), Instant::now());
        let mut note =
            |epoch, mode, seconds| closed.note(&fence(epoch, mode), start + Duration::from_secs(seconds));
        assert_eq!(note(1, Mode::Queue, 0), Duration::ZERO);
        assert_eq!(note(1, Mode::Closing, 1), Duration::ZERO);
        assert_eq!(note(1, Mode::Closing, 4), Duration::from_secs(3));
        assert_eq!(note(2, Mode::Closing, 5), Duration::ZERO);
        assert_eq!(note(2, Mode::Queue, 6), Duration::ZERO);
        assert_eq!(note(2, Mode::Closing, 20), Duration::ZERO);
    }
}
