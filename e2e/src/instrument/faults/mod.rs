//! What goes wrong.

mod failover;
mod schedule;
mod strike;
mod target;

use std::fmt;

pub use schedule::{Backends, Schedule, short};
pub use strike::{Strike, strike};
pub use target::Target;

/// What is wrong with the way of one API and one worker to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection.
    Cut,
    /// What is sent arrives when the trouble is over.
    Silence,
    /// What is sent arrives late.
    Delay,
}

/// What goes wrong for some time, and is mended then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Calm,
    /// Killed (SIGKILL), and started again later.
    Kill(Vec<Target>),
    /// Killed and started again, over and over.
    KillOften(Target),
    /// Stopped clocks (SIGSTOP), which go on later.
    Freeze(Vec<Target>),
    /// Whoever leads is killed, another one takes over, and the killed one comes back and follows.
    FailOver(Target),
    /// The sentinels lose sight of the Redis master and make another one, while it goes on.
    TwoMasters,
    /// The keys are spread over other partitions, and something else goes wrong meanwhile.
    OtherPartitions(Box<Fault>),
    /// Redis forgets everything, over and over.
    Flush,
    /// Redis is killed and comes back with an older snapshot.
    OldSnapshot,
    /// NATS comes back with an older copy of its store. What was only in the newer one is lost by declared posture.
    OlderStore,
    /// The streams take no new key.
    FullStreams,
    /// PostgreSQL rejects some rows.
    RejectedRows,
    /// PostgreSQL has no connection to give.
    NoConnections,
    /// PostgreSQL only reads.
    ReadOnly,
    /// The disk of NATS is full.
    FullDisk,
    /// Trouble on the way of one API and one worker to a server; the others reach it.
    Network(Trouble, Target),
    /// Restarted with a clock that is wrong by so many hours, and again with the right one.
    Clock(Target, i64),
}

impl Fault {
    /// How many times more keys than others it needs to be felt: a full stream still takes the keys that it holds.
    pub fn width(&self) -> usize {
        if *self == Self::FullStreams { 100 } else { 1 }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calm => f.write_str("nothing"),
            Self::Kill(targets) => write!(f, "kill -9 of {}", together(targets)),
            Self::KillOften(target) => write!(f, "kill -9 of {target}, over and over"),
            Self::Freeze(targets) => write!(f, "SIGSTOP of {}", together(targets)),
            Self::FailOver(target) => write!(f, "failover of {target}"),
            Self::TwoMasters => f.write_str("two Redis masters"),
            Self::OtherPartitions(meanwhile) if **meanwhile == Self::Calm => f.write_str("other partitions"),
            Self::OtherPartitions(meanwhile) => write!(f, "other partitions, and {meanwhile}"),
            Self::Flush => f.write_str("FLUSHALL, over and over"),
            Self::OldSnapshot => f.write_str("Redis back with an old snapshot"),
            Self::OlderStore => f.write_str("NATS back with an older store"),
            Self::FullStreams => f.write_str("full streams"),
            Self::RejectedRows => f.write_str("PostgreSQL rejects rows"),
            Self::NoConnections => f.write_str("PostgreSQL out of connections"),
            Self::ReadOnly => f.write_str("PostgreSQL read-only"),
            Self::FullDisk => f.write_str("disk of NATS full"),
            Self::Network(Trouble::Cut, target) => write!(f, "network to {target} cut"),
            Self::Network(Trouble::Silence, target) => write!(f, "network to {target} silent"),
            Self::Network(Trouble::Delay, target) => write!(f, "network to {target} slow"),
            Self::Clock(target, hours) => write!(f, "clock of {target} wrong by {hours:+} h"),
        }
    }
}

fn together(targets: &[Target]) -> String {
    let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
    names.join(" and ")
}
