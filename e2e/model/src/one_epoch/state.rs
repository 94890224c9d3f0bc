//! A state of the system, and what must be true of it.

use super::{
    Slot,
    setting::{Faults, Setting},
};

/// Most messages that are published.
pub(super) const MESSAGES: usize = 6;
/// Most clients.
pub(super) const CLIENTS: usize = 4;

/// A published message; its version is its place in the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sent {
    /// The operation that sent it.
    pub(super) by: u8,
    /// Two bits per operation: how often it was counted.
    pub(super) counted: u8,
    pub(super) tombstone: bool,
}

/// Where a client is in what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum At {
    #[default]
    Idle,
    /// An increment asks the stream, then the table.
    CompareStream,
    CompareTable,
    Publish,
    /// Published, the acknowledgement is awaited.
    Applied,
    /// Acknowledged, Redis is to be told.
    Cache,
    /// Held in a connection, the client was told "unknown".
    Held,
    /// A read asks the stream, then the table, then fills.
    ReadStream,
    ReadTable,
    Fill,
    /// A read waits for what this client's read finds.
    Joined(u8),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) at: At,
    /// Runs that are left.
    pub(super) runs: u8,
    /// The highest version that was acknowledged to anybody when this run began.
    pub(super) low: u8,
    /// What the stream said.
    pub(super) message: u8,
    /// What a condition is compared with.
    pub(super) base: u8,
    pub(super) version: u8,
    /// The token of its lease, 0 for none.
    pub(super) lease: u8,
    /// The highest version it ever read.
    pub(super) seen: u8,
    /// Attempts that failed.
    pub(super) tried: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Drain {
    #[default]
    Idle,
    Snapshot,
    Upsert,
    Invalidate,
    Acknowledge,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Worker {
    pub(super) at: Drain,
    pub(super) message: u8,
    pub(super) mark: u8,
    /// Its consumer is not the workers' any more: what it acknowledges settles nothing.
    pub(super) late: bool,
}

impl Worker {
    pub(super) fn is_busy(self) -> bool {
        self.at != Drain::Idle
    }
}

/// What PostgreSQL's standby has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Standby {
    pub(super) row: u8,
    pub(super) mark: u8,
    pub(super) generation: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Purge {
    #[default]
    Idle,
    /// Until the horizon is over.
    Waiting,
    /// Between the mark and the purge.
    Halfway,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Janitor {
    pub(super) at: Purge,
    pub(super) floor: u8,
    /// Bits of the clients for which the horizon waits.
    pub(super) waits_for: u8,
}

/// A property that a state can violate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Broken {
    Lost,
    OldRead,
    LostUpdate,
    Doubled,
    UndeletedRead,
    UndeletedRow,
    Order,
    Carried,
    StaleAtRest,
    AbsentRead,
}

impl Broken {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lost => "an acknowledged write is lost",
            Self::OldRead => "a read is older than an acknowledged write",
            Self::LostUpdate => "an update is lost",
            Self::Doubled => "an update is applied twice",
            Self::UndeletedRead => "a deleted entry is read again",
            Self::UndeletedRow => "a deleted entry is in the table again",
            Self::Order => "a later write has a lower version",
            Self::Carried => "a read is older than the version it asked for",
            Self::StaleAtRest => "Redis stays stale",
            Self::AbsentRead => "an acknowledged write is not found",
        }
    }
}

/// A state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) last: u8,
    /// The key's message in the stream, 0 for none.
    pub(super) message: u8,
    /// Everything up to here was purged once.
    pub(super) purged: u8,
    /// The consumer's acknowledgements.
    pub(super) floor: u8,
    pub(super) history: [Sent; MESSAGES],
    /// The version of the row, 0 for none.
    pub(super) row: u8,
    pub(super) mark: u8,
    pub(super) swept: u8,
    pub(super) standby: Standby,
    /// The standby took over, and the replay has not begun.
    pub(super) unreplayed: bool,
    pub(super) slot: Slot,
    pub(super) generation: u8,
    pub(super) snapshot: Slot,
    pub(super) clients: [Client; CLIENTS],
    pub(super) workers: [Worker; 2],
    pub(super) janitor: Janitor,
    /// The janitor has not purged again since NATS came back.
    pub(super) purge_again: bool,
    pub(super) left: Faults,
    /// The highest version acknowledged, and the highest with 201.
    pub(super) told: u8,
    pub(super) told_fresh: u8,
    pub(super) broken: Option<Broken>,
}

impl State {
    pub(super) fn start(setting: &Setting) -> Self {
        let mut clients = [Client::default(); CLIENTS];
        for (client, (_, runs)) in clients.iter_mut().zip(&setting.clients) {
            client.runs = *runs;
        }
        Self {
            last: 0,
            message: 0,
            purged: 0,
            floor: 0,
            history: [Sent::default(); MESSAGES],
            row: 0,
            mark: 0,
            swept: 0,
            standby: Standby::default(),
            unreplayed: false,
            slot: Slot::Absent,
            generation: 0,
            snapshot: Slot::Absent,
            clients,
            workers: [Worker::default(); 2],
            janitor: Janitor::default(),
            purge_again: false,
            left: setting.faults,
            told: 0,
            told_fresh: 0,
            broken: None,
        }
    }

    pub(super) fn is_tombstone(&self, version: u8) -> bool {
        version > 0 && self.history[usize::from(version) - 1].tombstone
    }

    fn deleted_since(&self, version: u8) -> bool {
        (version..=self.last).any(|later| self.is_tombstone(later))
    }

    /// A read that began when `low` was acknowledged ends with this version, 0 for nothing.
    pub(super) fn judge_read(&mut self, low: u8, version: u8) {
        if version == 0 {
            if low > 0 && !self.deleted_since(low) {
                self.broken = Some(Broken::AbsentRead);
            }
        } else if version < low {
            let undeleted = self.is_tombstone(low) && !self.is_tombstone(version);
            self.broken = Some(if undeleted {
                Broken::UndeletedRead
            } else {
                Broken::OldRead
            });
        }
    }

    /// What must hold of every state.
    pub(super) fn judge(&mut self) {
        let told = self.told;
        let queued = self.message >= told && (self.message > self.floor || self.unreplayed);
        if self.broken.is_some() {
            return;
        }
        if self.row != 0 && self.row < self.swept && !self.is_tombstone(self.row) {
            self.broken = Some(Broken::UndeletedRow);
        } else if self.row < told && !queued && self.swept < told {
            self.broken = Some(Broken::Lost);
        } else if self.is_at_rest() && self.is_stale(told) {
            self.broken = Some(Broken::StaleAtRest);
        }
    }

    fn is_at_rest(&self) -> bool {
        self.clients.iter().all(|client| client.at == At::Idle)
            && !self.workers.iter().any(|worker| worker.is_busy())
            && self.message <= self.floor
            && !self.unreplayed
    }

    fn is_stale(&self, told: u8) -> bool {
        match self.slot.hit(self.generation) {
            None => false,
            Some(0) => told > 0 && !self.deleted_since(told),
            Some(version) => version < told,
        }
    }

    /// Ends a client's run.
    pub(super) fn end(&mut self, client: usize) {
        let Client { runs, seen, .. } = self.clients[client];
        self.clients[client] = Client {
            runs,
            seen,
            ..Client::default()
        };
    }
}
