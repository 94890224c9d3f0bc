//! The order of writes: a version is the epoch's base plus the message's sequence in its stream. No clock takes part.

use std::{fmt, num::NonZeroU64};

/// Versions stay below 2^53, the integers that a JSON client's double holds exactly.
const LIMIT: u64 = 1 << 53;
/// Distance between the bases of two epochs: far above what can be published unseen.
const EPOCH_SPACING: u64 = 1 << 32;

/// The version of an entry. Higher is newer; comparable only within one partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Version(u64);

/// A version or base of 2^53 or more, which no JSON client would keep exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the version {0} is not below 2^53")]
pub struct VersionOverflow(pub u64);

impl Version {
    /// Below every version: nothing was written, nothing is purged.
    pub const ZERO: Self = Self(0);

    /// Above every version that is given.
    pub const MAX: Self = Self(LIMIT - 1);

    /// The version that follows.
    ///
    /// # Errors
    /// When it is not below 2^53.
    pub fn next(self) -> Result<Self, VersionOverflow> {
        Self::new(self.0 + 1)
    }

    /// A version as stored.
    ///
    /// # Errors
    /// When it is not below 2^53.
    pub fn new(version: u64) -> Result<Self, VersionOverflow> {
        if version < LIMIT {
            Ok(Self(version))
        } else {
            Err(VersionOverflow(version))
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next lower version, at least [`Version::ZERO`].
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The number in the type of a PostgreSQL `bigint`.
    pub const fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an epoch adds to a stream sequence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Base(u64);

impl Base {
    /// The base of the first epoch.
    pub const ZERO: Self = Self(0);

    /// A base as stored.
    ///
    /// # Errors
    /// When it is not below 2^53.
    pub fn new(base: u64) -> Result<Self, VersionOverflow> {
        Version::new(base).map(|version| Self(version.0))
    }

    /// The base of the epoch after one in which `highest` was seen. What was published and not seen has less than 2^32
    /// sequences above it, so every older version lies below.
    ///
    /// # Errors
    /// When it is not below 2^53: after two million raises.
    pub fn above(highest: Version) -> Result<Self, VersionOverflow> {
        Self::new(highest.0 + EPOCH_SPACING)
    }

    /// The version of the message with this sequence, counted from 1 as JetStream does.
    ///
    /// # Errors
    /// When it is not below 2^53.
    pub fn version(self, sequence: NonZeroU64) -> Result<Version, VersionOverflow> {
        Version::new(self.0.saturating_add(sequence.get()))
    }

    /// The last sequence at or below this version, 0 when the version is of an older epoch.
    pub fn sequence_at(self, version: Version) -> u64 {
        version.0.saturating_sub(self.0)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_epoch_lies_above_everything_of_the_old_one() {
        let old = Base::ZERO;
        let seen = old.version(NonZeroU64::new(7).unwrap()).unwrap();
        let unseen = old.version(NonZeroU64::new(1_000_007).unwrap()).unwrap();
        let new = Base::above(seen).unwrap();
        assert!(new.version(NonZeroU64::MIN).unwrap() > unseen);
    }

    #[test]
    fn a_version_that_json_cannot_hold_is_refused() {
        assert!(Version::new(LIMIT - 1).is_ok());
        assert_eq!(Version::new(LIMIT), Err(VersionOverflow(LIMIT)));
        assert!(Base::new(LIMIT - 1).unwrap().version(NonZeroU64::MIN).is_err());
    }
}
