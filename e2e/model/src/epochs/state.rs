//! A state of the system over several epochs, and what must be true of it.

use super::Setting;

/// A write as it is stored somewhere; number 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Stored {
    pub(super) version: u8,
    pub(super) sequence: u8,
    pub(super) number: u8,
}

impl Stored {
    pub(super) fn exists(self) -> bool {
        self.number != 0
    }

    fn has_the_version_but_not_the_value_of(self, other: Self) -> bool {
        other.exists() && self.version == other.version && self.number != other.number
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum At {
    #[default]
    Idle,
    /// Sent; it arrives when it likes.
    Publish,
    Applied,
    /// About to commit past the queue.
    Commit,
}

/// Who takes the writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    #[default]
    Queue,
    Closing,
    Through,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pod {
    /// Whether its connection has passed the fence.
    pub(super) connected: bool,
    pub(super) epoch: u8,
    pub(super) base: u8,
    /// Whether it may publish.
    pub(super) leased: bool,
    /// The highest sequence it was acknowledged.
    pub(super) seen: u8,
    pub(super) at: At,
    /// The highest version acknowledged to anybody when the write began.
    pub(super) low: u8,
    pub(super) write: Stored,
    /// Writes that are left.
    pub(super) writes: u8,
}

impl Pod {
    /// The client is told that the outcome is unknown, or that nothing was written.
    pub(super) fn give_up(&mut self) {
        (self.at, self.write, self.low) = (At::Idle, Stored::default(), 0);
    }

    pub(super) fn break_connection(&mut self) {
        self.connected = false;
        self.give_up();
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Drain {
    #[default]
    Idle,
    Upsert,
    Acknowledge,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    pub(super) at: Drain,
    pub(super) message: Stored,
}

/// What the janitor has observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Observation {
    pub(super) floor: u8,
    pub(super) incarnation: u8,
    pub(super) epoch: u8,
}

/// What the latest consumer says of its epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Memory {
    pub(super) epoch: u8,
    pub(super) base: u8,
    pub(super) incarnation: u8,
}

/// What PostgreSQL holds, as far as its standby may lack some of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Database {
    row: Stored,
    highest: u8,
    epoch: u8,
    base: u8,
    fenced: u8,
    purged: u8,
    mark: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Broken {
    Lost,
    NeverDelivered,
    Order,
    TwoValues,
    Update,
}

impl Broken {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lost => "an acknowledged write is lost",
            Self::NeverDelivered => "an acknowledged write is never delivered",
            Self::Order => "a later write has a lower version",
            Self::TwoValues => "one version has two values",
            Self::Update => "an update past the queue is lost",
        }
    }
}

/// A state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) last: u8,
    /// The key's message.
    pub(super) message: Stored,
    pub(super) floor: u8,
    pub(super) incarnation: u8,
    /// The older copy of the store: last sequence, message, and what its consumer says.
    pub(super) copy: Option<(u8, Stored, Memory)>,
    pub(super) memory: Memory,
    pub(super) row: Stored,
    /// The highest version that was ever in PostgreSQL.
    pub(super) highest: u8,
    pub(super) epoch: u8,
    /// What the epoch adds to a sequence to make a version.
    pub(super) base: u8,
    /// The incarnation that the fence names.
    pub(super) fenced: u8,
    pub(super) purged: u8,
    /// The worker ignores versions up to here.
    pub(super) mark: u8,
    pub(super) pods: [Pod; 2],
    pub(super) numbers: u8,
    pub(super) worker: Worker,
    pub(super) observation: Option<Observation>,
    /// Restores that are left.
    pub(super) left: u8,
    /// Restarts that are left.
    pub(super) restarts: u8,
    /// Failovers that are left.
    pub(super) failovers: u8,
    pub(super) standby: Database,
    pub(super) mode: Mode,
    /// Versions that PostgreSQL has given in this epoch.
    pub(super) given: u8,
    /// Switches that are left.
    pub(super) switches: u8,
    /// Conditional writes past the queue that are left.
    pub(super) conditional: u8,
    pub(super) told: Stored,
    /// Acknowledged, and gone with the store: nobody could have kept it, but its version is taken.
    pub(super) gone: Stored,
    pub(super) broken: Option<Broken>,
}

impl State {
    pub(super) fn start(setting: &Setting) -> Self {
        let pod = |writes| Pod {
            connected: true,
            leased: true,
            writes,
            ..Pod::default()
        };
        let nothing = Stored::default();
        Self {
            last: 0,
            message: nothing,
            floor: 0,
            incarnation: 0,
            copy: None,
            memory: Memory::default(),
            row: nothing,
            highest: 0,
            epoch: 0,
            base: 0,
            fenced: 0,
            purged: 0,
            mark: 0,
            pods: setting.writes.map(pod),
            numbers: 0,
            worker: Worker::default(),
            observation: None,
            left: setting.restores,
            restarts: setting.restarts,
            failovers: setting.failovers,
            standby: Database::default(),
            mode: Mode::Queue,
            given: 0,
            switches: setting.switches,
            conditional: setting.conditional,
            told: nothing,
            gone: nothing,
            broken: None,
        }
    }

    pub(super) fn database(&self) -> Database {
        Database {
            row: self.row,
            highest: self.highest,
            epoch: self.epoch,
            base: self.base,
            fenced: self.fenced,
            purged: self.purged,
            mark: self.mark,
        }
    }

    pub(super) fn with_database(self, of: Database) -> Self {
        Self {
            row: of.row,
            highest: of.highest,
            epoch: of.epoch,
            base: of.base,
            fenced: of.fenced,
            purged: of.purged,
            mark: of.mark,
            ..self
        }
    }

    /// What only the replaced store held cannot be asked for any more, nor what a write there had overwritten: the mark
    /// may have passed that, so it is ignored when an older copy of the store brings it back.
    pub(super) fn forgive(&mut self) {
        let kept = if self.message.version > self.mark {
            self.message
        } else {
            Stored::default()
        };
        if self.told.version > self.row.version && kept.version < self.told.version {
            self.gone = self.told;
            self.told = if self.row.version > kept.version {
                self.row
            } else {
                kept
            };
        }
    }

    /// The client is told that this is written; `low` is what had been acknowledged to anybody before the write began.
    pub(super) fn tell(&mut self, written: Stored, low: u8) {
        if written.version <= low {
            self.broken = Some(Broken::Order);
        }
        if written.version > self.told.version {
            self.told = written;
        }
    }

    /// What must hold of every state.
    pub(super) fn judge(&mut self) {
        if self.broken.is_none() {
            self.broken = self.violation();
        }
    }

    fn violation(&self) -> Option<Broken> {
        let Self {
            told,
            gone,
            message,
            row,
            ..
        } = *self;
        if told.exists() && row.version < told.version {
            if !message.exists() || message.version < told.version {
                return Some(Broken::Lost);
            }
            if message.sequence <= self.floor {
                return Some(Broken::NeverDelivered);
            }
        }
        let two = [told, gone].into_iter().any(|known| {
            row.has_the_version_but_not_the_value_of(known)
                || message.has_the_version_but_not_the_value_of(known)
        });
        two.then_some(Broken::TwoValues)
    }
}
