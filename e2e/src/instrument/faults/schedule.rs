//! Which fault comes when, from a seed.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::{Fault, Target, Trouble};

const TARGETS: [Target; 5] = [
    Target::Api,
    Target::Workers,
    Target::Redis,
    Target::Nats,
    Target::Postgres,
];

const SERVERS: [Target; 3] = [Target::Redis, Target::Nats, Target::Postgres];
/// Those whose clocks can be made wrong: NATS asks the kernel itself, and Redis' allocator asks before it can be answered.
const CLOCKS: [Target; 3] = [Target::Api, Target::Workers, Target::Postgres];

/// Every fault alone, in an order that the seed gives, then pairs of faults for ever; each for a time from the seed.
#[derive(Debug)]
pub struct Schedule {
    random: StdRng,
    waiting: Vec<Fault>,
}

impl Schedule {
    /// The schedule of a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut waiting = singles();
        waiting.shuffle(&mut random);
        waiting.push(Fault::Calm);
        Self { random, waiting }
    }

    fn pair(&mut self) -> Fault {
        let first = self.random.random_range(0..TARGETS.len());
        let second = (first + self.random.random_range(1..TARGETS.len())) % TARGETS.len();
        let targets = vec![TARGETS[first], TARGETS[second]];
        if self.random.random_bool(0.5) {
            Fault::Kill(targets)
        } else {
            Fault::Freeze(targets)
        }
    }
}

impl Iterator for Schedule {
    type Item = (Fault, Duration);

    fn next(&mut self) -> Option<Self::Item> {
        let fault = self.waiting.pop().unwrap_or_else(|| self.pair());
        let length = Duration::from_millis(self.random.random_range(200..4_000));
        Some((fault, length))
    }
}

fn singles() -> Vec<Fault> {
    let each = |fault: fn(Target) -> Fault| TARGETS.map(fault);
    let mut faults = vec![
        Fault::Flush,
        Fault::OldSnapshot,
        Fault::OlderStore,
        Fault::FullStreams,
        Fault::RejectedRows,
        Fault::NoConnections,
        Fault::ReadOnly,
        Fault::FullDisk,
    ];
    for trouble in [Trouble::Cut, Trouble::Silence, Trouble::Delay] {
        faults.extend(SERVERS.map(|server| Fault::Network(trouble, server)));
    }
    for hours in [-1, 1] {
        faults.extend(CLOCKS.map(|target| Fault::Clock(target, hours)));
    }
    faults.extend(each(|target| Fault::Kill(vec![target])));
    faults.extend(each(|target| Fault::Freeze(vec![target])));
    faults.extend(each(Fault::KillOften));
    faults
}

/// The faults that the test suite has time for.
pub fn short() -> Vec<(Fault, Duration)> {
    let kill = |target| Fault::Kill(vec![target]);
    let freeze = |target| Fault::Freeze(vec![target]);
    let faults = [
        Fault::Calm,
        kill(Target::Workers),
        kill(Target::Nats),
        kill(Target::Redis),
        kill(Target::Postgres),
        kill(Target::Api),
        freeze(Target::Redis),
        freeze(Target::Nats),
        Fault::Flush,
        Fault::OldSnapshot,
        Fault::OlderStore,
        Fault::Network(Trouble::Cut, Target::Redis),
        Fault::Network(Trouble::Silence, Target::Nats),
        Fault::Network(Trouble::Delay, Target::Postgres),
        Fault::Clock(Target::Workers, 1),
    ];
    faults.map(|fault| (fault, Duration::from_millis(700))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_schedule_every_time() {
        let first = |seed| Schedule::new(seed).take(60).collect::<Vec<_>>();
        assert_eq!(first(7), first(7));
        assert_ne!(first(7), first(8));
    }

    #[test]
    fn every_single_fault_comes_once_before_the_pairs() {
        let begin: Vec<Fault> = Schedule::new(1)
            .map(|(fault, _)| fault)
            .take(singles().len() + 1)
            .collect();
        assert!(singles().iter().all(|fault| begin.contains(fault)));
        let pairs = Schedule::new(1).skip(begin.len()).take(50);
        assert!(pairs.into_iter().all(|(fault, _)| {
            matches!(&fault, Fault::Kill(two) | Fault::Freeze(two) if two.len() == 2 && two[0] != two[1])
        }));
    }
}
