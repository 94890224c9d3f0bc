//! The rules of one key in Redis, as the scripts of `dataplane/stores/src/redis/scripts.rs` have them. A story drives
//! both through the same actions and compares.

/// What Redis holds under one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Nothing.
    #[default]
    Absent,
    /// A copy of an entry or tombstone.
    Copy {
        /// Its version.
        version: u8,
        /// The cache generation it belongs to.
        generation: u8,
    },
    /// The knowledge that there is nothing.
    Nothing {
        /// The cache generation it belongs to.
        generation: u8,
    },
    /// A reader's right to fill.
    Lease {
        /// Whose.
        token: u8,
        /// The cache generation it belongs to.
        generation: u8,
    },
}

impl Slot {
    /// What a reader of this generation finds: a version, 0 for nothing, `None` for a miss.
    #[must_use]
    pub fn hit(self, now: u8) -> Option<u8> {
        match self {
            Self::Copy { version, generation } if generation == now => Some(version),
            Self::Nothing { generation } if generation == now => Some(0),
            _ => None,
        }
    }

    /// A write replaces an older copy, leaves a newer one, and deletes what else is there.
    #[must_use]
    pub fn write(self, new: u8, now: u8) -> Self {
        match self {
            Self::Copy { version, generation } if generation == now && version >= new => self,
            Self::Copy { generation, .. } if generation == now => Self::Copy {
                version: new,
                generation,
            },
            _ => Self::Absent,
        }
    }

    /// A reader's miss takes a lease, unless something of this generation is there.
    #[must_use]
    pub fn lease(self, token: u8, now: u8) -> Option<Self> {
        match self {
            Self::Copy { generation, .. } | Self::Nothing { generation } | Self::Lease { generation, .. }
                if generation == now =>
            {
                None
            }
            _ => Some(Self::Lease {
                token,
                generation: now,
            }),
        }
    }

    /// A fill stores over its own lease and nothing else. Version 0: there is nothing.
    #[must_use]
    pub fn fill(self, mine: u8, version: u8) -> Self {
        match self {
            Self::Lease { token, generation } if token == mine => Self::filled(version, generation),
            _ => self,
        }
    }

    /// What a fill leaves.
    pub(super) fn filled(version: u8, generation: u8) -> Self {
        if version == 0 {
            Self::Nothing { generation }
        } else {
            Self::Copy { version, generation }
        }
    }

    /// After a commit the worker leaves only a copy of at least that version.
    #[must_use]
    pub fn invalidate(self, persisted: u8, now: u8) -> Self {
        match self {
            Self::Copy { version, generation } if generation == now && version >= persisted => self,
            _ => Self::Absent,
        }
    }
}
