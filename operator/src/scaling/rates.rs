//! How fast messages arrive and how fast a worker persists them, from counters that only grow.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Rates are taken over this time: long enough to smooth batches, short enough to follow a burst.
const WINDOW: Duration = Duration::from_secs(10);
/// Shorter spans say nothing about a rate.
const SHORTEST_SPAN: Duration = Duration::from_secs(1);
/// With this many undelivered messages for each worker, every worker is busy: the largest batch waits for it.
const BUSY_BACKLOG_PER_WORKER: u64 = 1_000;
/// When nothing was persisted for this long, the drain has stalled: that time says nothing about the speed of a worker.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(3);
/// A speed is believed after as many workers have been busy for this long.
const SETTLED: Duration = Duration::from_secs(5);

/// What was measured at one moment, over all partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// Messages not delivered yet.
    pub pending: u64,
    /// Messages delivered and not acknowledged.
    pub unacked: u64,
    /// Messages delivered more than once and not acknowledged.
    pub redelivered: u64,
    /// Messages that ever arrived: the sum of the last sequences.
    pub arrived: u64,
    /// Messages that were ever persisted: the sum of the ack floors.
    pub served: u64,
    /// Deliveries to workers, repeated ones included.
    pub delivered: u64,
    /// Workers that were ready.
    pub ready: u32,
}

impl Sample {
    /// The true depth of the queue: what PostgreSQL does not have yet.
    pub fn depth(&self) -> u64 {
        self.pending.saturating_add(self.unacked)
    }

    /// Whether every worker has more than it can take.
    pub(super) fn is_busy(&self) -> bool {
        self.ready > 0 && self.pending >= BUSY_BACKLOG_PER_WORKER * u64::from(self.ready)
    }
}

/// The samples of the last seconds, and what was learnt from them.
#[derive(Debug, Default)]
pub(super) struct Rates {
    samples: VecDeque<Sample>,
    /// Messages that one busy worker persists per second.
    per_worker: Option<f64>,
    progress: Progress,
    /// When the drain went on after it had stalled.
    resumed: Option<Instant>,
}

/// When the queue last moved. Both must: the ack floor alone also rises when messages that wait in a worker's hands are
/// overwritten, and deliveries alone when they are repeated.
#[derive(Debug, Default)]
struct Progress {
    acknowledged: Option<Instant>,
    delivered: Option<Instant>,
}

impl Progress {
    fn observe(&mut self, previous: &Sample, sample: &Sample) {
        if sample.served > previous.served {
            self.acknowledged = Some(sample.at);
        }
        if sample.delivered > previous.delivered {
            self.delivered = Some(sample.at);
        }
    }

    fn is_recent(&self, now: Instant) -> bool {
        let recent =
            |last: Option<Instant>| last.is_some_and(|last| now.duration_since(last) <= STALLED_AFTER);
        recent(self.acknowledged) && recent(self.delivered)
    }
}

impl Rates {
    pub(super) fn observe(&mut self, sample: Sample) {
        let previous = self.samples.back().copied();
        if previous.is_some_and(|previous| went_back(&previous, &sample)) {
            // A recreated stream counts from zero.
            *self = Self::default();
        }
        if let Some(previous) = previous {
            let drained_before = self.drains(sample.at);
            self.progress.observe(&previous, &sample);
            if !drained_before && self.drains(sample.at) {
                self.resumed = Some(sample.at);
            }
        }
        self.samples.push_back(sample);
        while self
            .samples
            .front()
            .is_some_and(|oldest| sample.at.duration_since(oldest.at) > WINDOW)
        {
            self.samples.pop_front();
        }
        self.learn();
    }

    /// No sample for a while: what comes next is not measured against what was before.
    pub(super) fn forget_samples(&mut self) {
        self.samples.clear();
        self.progress = Progress::default();
    }

    /// Messages that arrived per second.
    pub(super) fn arrival(&self) -> Option<f64> {
        self.per_second(|sample| sample.arrived)
    }

    /// Messages that all workers together persisted per second.
    pub(super) fn service(&self) -> Option<f64> {
        self.per_second(|sample| sample.served)
    }

    pub(super) fn per_worker(&self) -> Option<f64> {
        self.per_worker
    }

    /// Whether something was persisted lately. An empty queue proves nothing: PostgreSQL may be away when the next
    /// messages come.
    pub(super) fn drains(&self, now: Instant) -> bool {
        self.progress.is_recent(now)
    }

    /// Whether deliveries are repeated more and more: workers die or PostgreSQL refuses.
    pub(super) fn redeliveries_rise(&self) -> bool {
        match (self.samples.front(), self.samples.back()) {
            (Some(first), Some(last)) => last.redelivered > first.redelivered,
            _ => false,
        }
    }

    /// Messages that all workers together persisted per second while they, as many as now, were busy.
    pub(super) fn busy_service(&self) -> Option<f64> {
        let last = self.samples.back()?;
        let since_stall = |sample: &Sample| self.resumed.is_none_or(|resumed| sample.at >= resumed);
        let run = |sample: &&Sample| sample.is_busy() && sample.ready == last.ready && since_stall(sample);
        let first = self.samples.iter().rev().take_while(run).last()?;
        let span = last.at.duration_since(first.at);
        (span >= SETTLED).then(|| real(last.served - first.served) / span.as_secs_f64())
    }

    /// The nest is quiet: the speed that was seen last may have been that of a slow moment.
    pub(super) fn forget_speed(&mut self) {
        self.per_worker = None;
    }

    fn per_second(&self, counter: impl Fn(&Sample) -> u64) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let span = last.at.duration_since(first.at);
        if span < SHORTEST_SPAN {
            return None;
        }
        Some(real(counter(last).saturating_sub(counter(first))) / span.as_secs_f64())
    }

    fn learn(&mut self) {
        let (Some(service), Some(last)) = (self.busy_service(), self.samples.back()) else {
            return;
        };
        // Nothing persisted is an outage, not a speed.
        if service > 0.0 {
            let seen = service / f64::from(last.ready);
            self.per_worker = Some(self.per_worker.map_or(seen, |known| f64::midpoint(known, seen)));
        }
    }
}

fn went_back(previous: &Sample, sample: &Sample) -> bool {
    sample.arrived < previous.arrived || sample.served < previous.served
}

/// Counters here stay far below 2^53, above which a float skips integers.
#[allow(
    clippy::cast_precision_loss,
    reason = "an estimate needs no more than 53 bits"
)]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, pending: u64, arrived: u64, served: u64) -> Sample {
        Sample {
            at,
            pending,
            unacked: 0,
            redelivered: 0,
            arrived,
            served,
            delivered: served,
            ready: 2,
        }
    }

    #[test]
    fn rates_are_taken_over_the_window() {
        let (start, mut rates) = (Instant::now(), Rates::default());
        for second in 0..30 {
            let at = start + Duration::from_secs(second);
            // The first 15 seconds are twice as fast.
            let arrived = if second < 15 {
                second * 200
            } else {
                3_000 + (second - 15) * 100
            };
            rates.observe(sample(at, 5_000, arrived, second * 50));
        }
        assert_eq!(rates.arrival(), Some(100.0));
        assert_eq!(rates.service(), Some(50.0));
    }

    #[test]
    fn a_workers_speed_is_learnt_only_while_all_are_busy() {
        let (start, mut idle) = (Instant::now(), Rates::default());
        let mut busy = Rates::default();
        for second in 0..7 {
            let at = start + Duration::from_secs(second);
            idle.observe(sample(at, 10, second * 100, second * 100));
            busy.observe(sample(at, 50_000, second * 100, second * 600));
        }
        assert_eq!(idle.per_worker(), None);
        assert_eq!(busy.per_worker(), Some(300.0));
    }

    #[test]
    fn a_recreated_stream_starts_anew() {
        let (start, mut rates) = (Instant::now(), Rates::default());
        for second in 0..7 {
            rates.observe(sample(
                start + Duration::from_secs(second),
                50_000,
                1_000 * second,
                400 * second,
            ));
        }
        rates.observe(sample(start + Duration::from_secs(5), 1, 1, 0));
        assert_eq!(rates.arrival(), None);
        assert_eq!(rates.per_worker(), None);
    }

    #[test]
    fn an_outage_teaches_no_speed() {
        let (start, mut rates) = (Instant::now(), Rates::default());
        for second in 0..20 {
            rates.observe(sample(
                start + Duration::from_secs(second),
                50_000,
                1_000 * second,
                7,
            ));
        }
        assert_eq!(rates.per_worker(), None);
        assert!(!rates.drains(start + Duration::from_secs(19)));
    }

    #[test]
    fn the_time_of_an_outage_does_not_lower_the_speed() {
        let (start, mut rates) = (Instant::now(), Rates::default());
        for second in 0..20_u64 {
            let served = second.saturating_sub(12) * 600;
            rates.observe(sample(
                start + Duration::from_secs(second),
                50_000,
                1_000 * second,
                served,
            ));
        }
        assert_eq!(rates.per_worker(), Some(300.0));
    }
}
