//! Which fault comes when, from a seed.

use std::time::Duration;

use clap::ValueEnum;
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
/// The shortest fault.
const SHORTEST: Duration = Duration::from_millis(200);
/// How often each server fails over before the pairs begin.
const FAILOVERS: usize = 3;
const TROUBLES: [Trouble; 3] = [Trouble::Cut, Trouble::Silence, Trouble::Delay];
/// Those whose clocks can be made wrong: NATS asks the kernel itself, and Redis' allocator asks before it can be answered.
const CLOCKS: [Target; 3] = [Target::Api, Target::Workers, Target::Postgres];

/// What Redis, NATS and PostgreSQL are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backends {
    /// One server each.
    Single,
    /// A Redis with a replica and sentinels, three NATS servers, and a PostgreSQL with a standby, which
    /// has the entries in eight tables.
    Replicated,
}

/// Every fault alone, in an order that the seed gives, then pairs of faults for ever; each for a time from the seed.
#[derive(Debug)]
pub struct Schedule {
    random: StdRng,
    waiting: Vec<Fault>,
    longest: Duration,
}

impl Schedule {
    /// The schedule of a seed, with faults of up to `longest`, but at least 200 ms.
    pub fn new(seed: u64, backends: Backends, longest: Duration) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut waiting = singles(backends);
        waiting.shuffle(&mut random);
        waiting.push(Fault::Calm);
        Self {
            random,
            waiting,
            longest: longest.max(SHORTEST),
        }
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
        let length = self.random.random_range(SHORTEST..=self.longest);
        Some((fault, length))
    }
}

/// Sentinels say where Redis is, so that there is no way to put a link into; members of a cluster have no small disk.
fn singles(backends: Backends) -> Vec<Fault> {
    let mut faults = everywhere();
    match backends {
        Backends::Single => {
            faults.push(Fault::FullDisk);
            faults.extend(TROUBLES.map(|trouble| Fault::Network(trouble, Target::Redis)));
        }
        Backends::Replicated => {
            let failovers = SERVERS.map(Fault::FailOver);
            faults.extend([Fault::TwoMasters, other_partitions(Fault::TwoMasters)]);
            faults.extend(SERVERS.map(|server| other_partitions(Fault::FailOver(server))));
            faults.extend(std::iter::repeat_n(failovers, FAILOVERS).flatten());
        }
    }
    faults
}

fn everywhere() -> Vec<Fault> {
    let each = |fault: fn(Target) -> Fault| TARGETS.map(fault);
    let mut faults = vec![
        Fault::Flush,
        Fault::OldSnapshot,
        Fault::OlderStore,
        Fault::FullStreams,
        Fault::RejectedRows,
        Fault::NoConnections,
        Fault::ReadOnly,
        other_partitions(Fault::Calm),
    ];
    faults.extend(each(|target| other_partitions(Fault::Kill(vec![target]))));
    for trouble in TROUBLES {
        faults.extend([Target::Nats, Target::Postgres].map(|server| Fault::Network(trouble, server)));
    }
    for hours in [-1, 1] {
        faults.extend(CLOCKS.map(|target| Fault::Clock(target, hours)));
    }
    faults.extend(each(|target| Fault::Kill(vec![target])));
    faults.extend(each(|target| Fault::Freeze(vec![target])));
    faults.extend(each(Fault::KillOften));
    faults
}

fn other_partitions(meanwhile: Fault) -> Fault {
    Fault::OtherPartitions(Box::new(meanwhile))
}

/// The faults that the test suite has time for.
pub fn short() -> Vec<Fault> {
    let kill = |target| Fault::Kill(vec![target]);
    let freeze = |target| Fault::Freeze(vec![target]);
    vec![
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
        other_partitions(kill(Target::Workers)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(4);

    #[test]
    fn a_seed_gives_the_same_schedule_every_time() {
        let first = |seed| {
            Schedule::new(seed, Backends::Single, LONGEST)
                .take(60)
                .collect::<Vec<_>>()
        };
        assert_eq!(first(7), first(7));
        assert_ne!(first(7), first(8));
    }

    #[test]
    fn every_single_fault_comes_once_before_the_pairs() {
        for backends in [Backends::Single, Backends::Replicated] {
            let (schedule, singles) = (Schedule::new(1, backends, LONGEST), singles(backends));
            let (begin, pairs): (Vec<_>, Vec<_>) = schedule
                .map(|(fault, _)| fault)
                .take(singles.len() + 51)
                .enumerate()
                .partition(|(number, _)| *number <= singles.len());
            assert!(
                singles
                    .iter()
                    .all(|fault| begin.iter().any(|(_, begun)| begun == fault))
            );
            assert!(pairs.iter().all(|(_, fault)| {
                matches!(fault, Fault::Kill(two) | Fault::Freeze(two) if two.len() == 2 && two[0] != two[1])
            }));
        }
    }
}
