//! How long a process may publish after it looked at the fence.
//!
//! Only where `onQueueOutage: WriteThrough` lets PostgreSQL take the writes. A look that finds the queue open is a lease: it
//! was made before the queue was closed, if it was closed at all, so it has ended [`LEASE`] after that, wherever it was made.
//! Whoever closed the queue, or found it closed, waits for longer than that by a clock of its own; no two clocks are
//! compared.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use birbnest_core::Partition;

use crate::postgres::{Fence, Mode};

/// How long a look at the fence is good for, from before the question was sent.
pub const LEASE: Duration = Duration::from_secs(5);
/// By how much longer others wait: for clocks that run differently, and for what is done between a look at the clock and
/// the next one.
const MARGIN: Duration = Duration::from_secs(1);

/// After so long every lease has ended that was taken before the queue was closed.
pub(crate) const ALL_LEASES: Duration = LEASE.saturating_add(MARGIN);

/// The leases of this process, one per partition. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases(Arc<RwLock<BTreeMap<Partition, Lease>>>);

#[derive(Clone, Copy, Debug)]
struct Lease {
    epoch: i64,
    until: Instant,
}

impl Leases {
    /// Takes a look at the fence for a lease, if the queue is open. `asked` is a moment before the question was sent.
    pub(crate) fn renew(&self, fence: &Fence, asked: Instant) {
        let new = Lease {
            epoch: fence.epoch,
            until: asked + LEASE,
        };
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Answers may overtake each other, so the later epoch stays. PostgreSQL may have lost it: once its lease has ended, any
        // other takes its place.
        let newer = held.get(&fence.partition).is_none_or(|held| {
            (held.epoch, held.until) < (new.epoch, new.until) || held.until <= Instant::now()
        });
        if fence.mode == Mode::Queue && newer {
            held.insert(fence.partition, new);
        }
    }

    /// Whether a write of this epoch may be published or answered now.
    pub(crate) fn holds(&self, partition: Partition, epoch: i64) -> bool {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        held.get(&partition)
            .is_some_and(|held| held.epoch == epoch && Instant::now() < held.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: Partition = Partition(0);

    fn fence(epoch: i64, mode: Mode) -> Fence {
        Fence {
            epoch,
            mode,
            ..Fence::example()
        }
    }

    fn ago(time: Duration) -> Instant {
        Instant::now().checked_sub(time).unwrap()
    }

    #[test]
    fn a_lease_is_for_the_epoch_that_was_seen_and_for_its_time() {
        let leases = Leases::default();
        assert!(!leases.holds(PARTITION, 1));
        leases.renew(&fence(1, Mode::Queue), ago(LEASE));
        assert!(!leases.holds(PARTITION, 1));
        leases.renew(&fence(1, Mode::Queue), Instant::now());
        assert!(leases.holds(PARTITION, 1));
        assert!(!leases.holds(PARTITION, 2));
        assert!(!leases.holds(Partition(1), 1));
    }

    #[test]
    fn an_epoch_that_was_lost_gives_way_when_its_lease_has_ended() {
        let leases = Leases::default();
        leases.renew(&fence(3, Mode::Queue), Instant::now());
        leases.renew(&fence(1, Mode::Queue), Instant::now());
        assert!(!leases.holds(PARTITION, 1));
        let leases = Leases::default();
        leases.renew(&fence(3, Mode::Queue), ago(LEASE));
        leases.renew(&fence(1, Mode::Queue), Instant::now());
        assert!(leases.holds(PARTITION, 1));
    }

    #[test]
    fn a_queue_that_is_closed_or_written_past_gives_no_lease() {
        let leases = Leases::default();
        leases.renew(&fence(1, Mode::Closing), Instant::now());
        leases.renew(&fence(1, Mode::Through), Instant::now());
        assert!(!leases.holds(PARTITION, 1));
    }

    #[test]
    fn an_answer_that_comes_late_neither_shortens_a_lease_nor_brings_back_an_epoch() {
        let leases = Leases::default();
        leases.renew(&fence(2, Mode::Queue), Instant::now());
        leases.renew(&fence(2, Mode::Queue), ago(LEASE));
        leases.renew(&fence(1, Mode::Queue), Instant::now());
        assert!(leases.holds(PARTITION, 2));
        assert!(!leases.holds(PARTITION, 1));
    }
}
