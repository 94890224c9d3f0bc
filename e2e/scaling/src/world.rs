//! A queue, workers that take a while to start, and what the waiting cost.

use std::collections::VecDeque;

use crate::traces::{SPEED, Second, Trace};

/// Seconds from the order for a worker until it persists: the pod is scheduled, starts, and passes its first probe.
const START: u64 = 8;
/// A rejected message is delivered again after so many seconds.
const AGAIN: usize = 10;

/// What a rule sees in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Seconds since the beginning.
    pub at: u64,
    /// Messages that wait.
    pub depth: u64,
    /// Of them, those that were rejected and wait for another delivery.
    pub redelivered: u64,
    /// Messages that ever arrived.
    pub arrived: u64,
    /// Messages that were ever persisted.
    pub served: u64,
    /// Deliveries, repeated ones included.
    pub delivered: u64,
    /// Workers that are ready.
    pub ready: u32,
}

/// Decides how many workers there should be.
pub trait Rule {
    /// The number of workers from now on.
    fn decide(&mut self, view: &View) -> u32;
}

/// What a run cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Waiting messages, summed over all seconds.
    pub backlog_seconds: u64,
    /// The longest that a message waited, in seconds.
    pub oldest: u64,
    /// Workers, those that start included, summed over all seconds.
    pub worker_seconds: u64,
    /// Times that the number of workers began to fall after it had grown.
    pub turns: u32,
    /// Seconds of the trace.
    pub seconds: u64,
}

impl Cost {
    /// Turns in an hour.
    pub fn turns_per_hour(&self) -> f64 {
        f64::from(self.turns) * 3_600.0 / f64::from(u32::try_from(self.seconds).unwrap_or(u32::MAX))
    }

    /// The mean of several runs; the longest wait is the longest of all.
    pub fn mean(costs: &[Self]) -> Self {
        let runs = u64::try_from(costs.len().max(1)).unwrap_or(u64::MAX);
        let mean = |of: fn(&Self) -> u64| costs.iter().map(of).sum::<u64>() / runs;
        Self {
            backlog_seconds: mean(|cost| cost.backlog_seconds),
            oldest: costs.iter().map(|cost| cost.oldest).max().unwrap_or(0),
            worker_seconds: mean(|cost| cost.worker_seconds),
            turns: u32::try_from(mean(|cost| cost.turns.into())).unwrap_or(u32::MAX),
            seconds: mean(|cost| cost.seconds),
        }
    }

    /// Whether it is nowhere worse, and somewhere better.
    pub fn dominates(&self, other: &Self) -> bool {
        let mine = (self.backlog_seconds, self.worker_seconds);
        let theirs = (other.backlog_seconds, other.worker_seconds);
        mine.0 <= theirs.0 && mine.1 <= theirs.1 && mine != theirs
    }
}

struct World {
    view: View,
    /// When each worker that is ordered will be ready, the first of them first.
    workers: Vec<u64>,
    /// When messages that wait arrived, and how many in that second.
    queue: VecDeque<(u64, u64)>,
    /// Rejected messages by the second in which they come again.
    rejected: VecDeque<u64>,
    cost: Cost,
    grew: bool,
}

/// Plays a trace through a rule that begins with one worker.
pub fn play(trace: &Trace, rule: &mut impl Rule) -> Cost {
    let mut world = World {
        view: View::default(),
        workers: vec![0],
        queue: VecDeque::new(),
        rejected: VecDeque::from(vec![0; AGAIN]),
        cost: Cost::default(),
        grew: false,
    };
    for second in &trace.seconds {
        world.pass(second);
        let desired = rule.decide(&world.view);
        world.order(desired);
    }
    world.cost
}

impl World {
    fn pass(&mut self, second: &Second) {
        let at = self.view.at + 1;
        self.view.at = at;
        self.view.ready =
            u32::try_from(self.workers.iter().filter(|from| **from <= at).count()).unwrap_or(u32::MAX);
        self.view.arrived += second.arrivals;
        self.queue.push_back((at, second.arrivals));
        let again = self.rejected.pop_front().unwrap_or(0);
        if again > 0 {
            self.queue.push_front((at, again));
            self.view.redelivered -= again;
        }
        let capacity = (u64::from(self.view.ready) * SPEED).min(second.database);
        let taken = self.take(capacity);
        let rejected = taken * second.poisoned / 100;
        self.rejected.push_back(rejected);
        self.view.redelivered += rejected;
        self.view.delivered += taken;
        self.view.served += taken - rejected;
        let waiting: u64 = self.queue.iter().map(|(_, messages)| messages).sum();
        self.view.depth = waiting + self.view.redelivered;
        self.cost.seconds += 1;
        self.cost.backlog_seconds += self.view.depth;
        self.cost.worker_seconds += self.workers.len() as u64;
        let oldest = self.queue.front().map_or(0, |(since, _)| at - since);
        self.cost.oldest = self.cost.oldest.max(oldest);
    }

    /// Takes the oldest messages.
    fn take(&mut self, capacity: u64) -> u64 {
        let mut left = capacity;
        while let Some((_, messages)) = self.queue.front_mut() {
            if *messages > left {
                *messages -= left;
                return capacity;
            }
            left -= *messages;
            self.queue.pop_front();
        }
        capacity - left
    }

    fn order(&mut self, desired: u32) {
        let (now, wanted) = (self.workers.len(), desired as usize);
        if wanted > now {
            self.grew = true;
            self.workers.resize(wanted, self.view.at + START);
        } else if wanted < now {
            self.cost.turns += u32::from(self.grew);
            self.grew = false;
            self.workers.truncate(wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u32);

    impl Rule for Fixed {
        fn decide(&mut self, _: &View) -> u32 {
            self.0
        }
    }

    fn trace(arrivals: u64, seconds: usize) -> Trace {
        let second = Second {
            arrivals,
            database: u64::MAX,
            poisoned: 0,
        };
        Trace {
            name: "test",
            seconds: vec![second; seconds],
        }
    }

    #[test]
    fn what_one_worker_can_take_never_waits() {
        let cost = play(&trace(SPEED, 100), &mut Fixed(1));
        assert_eq!(
            (cost.backlog_seconds, cost.oldest, cost.worker_seconds),
            (0, 0, 100)
        );
    }

    #[test]
    fn what_it_cannot_take_waits_longer_and_longer() {
        let cost = play(&trace(2 * SPEED, 100), &mut Fixed(1));
        assert_eq!(
            cost.backlog_seconds,
            (1..=100).map(|second| second * SPEED).sum::<u64>()
        );
        assert_eq!(cost.oldest, 49);
    }

    #[test]
    fn a_new_worker_takes_its_time() {
        let cost = play(&trace(2 * SPEED, 100), &mut Fixed(2));
        assert_eq!(
            cost.backlog_seconds,
            (1..=8).map(|second| second * SPEED).sum::<u64>() + 92 * 8 * SPEED
        );
    }
}
