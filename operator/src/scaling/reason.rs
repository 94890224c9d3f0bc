//! Why there are as many workers as there are: in words for people, and as a stable name for events.

use std::fmt;

/// Why a number of workers was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// Nothing waits and nothing arrives.
    Idle,
    /// The speed of a worker is not known yet, so their number follows the depth alone.
    Depth {
        /// Messages that wait.
        depth: u64,
    },
    /// Their number follows arrivals and backlog.
    Load {
        /// Messages that wait.
        depth: u64,
        /// Messages that arrive per second.
        arrival: f64,
        /// Messages that one worker persists per second.
        per_worker: f64,
    },
    /// As many as the spec allows; more would be wanted.
    AtMaximum {
        /// What would be wanted.
        wanted: u32,
    },
    /// As many as PostgreSQL has connections for; more would be wanted, and the spec allows them.
    NoConnections {
        /// What would be wanted.
        wanted: u32,
    },
    /// Fewer would do, but have not for long enough.
    Stabilizing {
        /// What would do.
        wanted: u32,
    },
    /// More workers did not drain faster.
    Saturated,
    /// Nothing is persisted at the moment, so more workers would not help.
    NotDraining,
    /// Workers are starting.
    NotReady,
    /// Messages are delivered again and again.
    Redelivering,
    /// There are no figures.
    NoFigures,
}

impl Reason {
    /// A stable name, for events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle => "QueueEmpty",
            Self::Depth { .. } => "QueueDepth",
            Self::Load { .. } => "QueueLoad",
            Self::AtMaximum { .. } => "AtMaximum",
            Self::NoConnections { .. } => "NoConnections",
            Self::Stabilizing { .. } => "Stabilizing",
            Self::Saturated => "DatabaseSaturated",
            Self::NotDraining => "NotDraining",
            Self::NotReady => "WorkersStarting",
            Self::Redelivering => "Redelivering",
            Self::NoFigures => "NoFigures",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("nothing is queued"),
            Self::Depth { depth } => {
                write!(f, "{depth} messages are queued, and the speed of a worker is not known yet")
            }
            Self::Load { depth, arrival, per_worker } => write!(
                f,
                "{depth} messages are queued and {arrival:.0} arrive per second, of which a worker persists {per_worker:.0}"
            ),
            Self::AtMaximum { wanted } => {
                write!(f, "{wanted} workers would be wanted, but spec.worker.autoscaling.max is reached")
            }
            Self::NoConnections { wanted } => write!(
                f,
                "{wanted} workers would be wanted, but PostgreSQL has no connections for more: raise max_connections or lower \
                 spec.postgres.maxConnections"
            ),
            Self::Stabilizing { wanted } => {
                write!(f, "{wanted} would do, but not for spec.worker.autoscaling.scaleDownStabilization yet")
            }
            Self::Saturated => f.write_str(
                "more workers did not drain faster, so none is added: PostgreSQL is the bottleneck",
            ),
            Self::NotDraining => f.write_str(
                "nothing is being persisted, so more workers would not help: see whether PostgreSQL and Redis answer",
            ),
            Self::NotReady => f.write_str("no worker is ready yet, so none is added"),
            Self::Redelivering => {
                f.write_str("messages are delivered again and again, which is failure and not load: see the workers' logs")
            }
            Self::NoFigures => f.write_str("JetStream gives no figures, so their number stays"),
        }
    }
}
