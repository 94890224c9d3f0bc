//! The epoch of a partition as NATS remembers it: PostgreSQL may lose one in a failover, or all with its tables.
//!
//! Whoever passes the fence makes sure that the stream has a consumer of the epoch before the connection is used. So no
//! connection is of a later epoch than the latest consumer.

use birbnest_core::{Base, Incarnation, Version, VersionOverflow};

/// What the latest consumer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// The epoch.
    pub epoch: i64,
    /// What it adds to a sequence to make a version.
    pub base: Base,
    /// The stream that it belongs to.
    pub incarnation: Incarnation,
}

/// How a partition begins of which PostgreSQL knows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beginning {
    /// The epoch.
    pub epoch: i64,
    /// What it adds to a sequence to make a version.
    pub base: Base,
    /// Whether the epoch goes on: its consumer has settled what PostgreSQL does not have any more.
    pub replays: bool,
}

impl Remembered {
    /// Whether connections of the epoch may be alive, since the stream of this incarnation is that of the epoch.
    pub fn lives_in(&self, incarnation: &Incarnation) -> bool {
        self.incarnation == *incarnation
    }

    /// The highest version that may have been given when the stream has come to this sequence.
    ///
    /// # Errors
    /// When versions have come to their end.
    pub fn highest(&self, last_sequence: u64) -> Result<Version, VersionOverflow> {
        Version::new(self.base.get().saturating_add(last_sequence))
    }
}

/// The highest version that may have been given in an epoch that PostgreSQL has lost, if it has lost one.
///
/// # Errors
/// When versions have come to their end.
pub fn given(lost: Option<&Remembered>, last_sequence: u64) -> Result<Version, VersionOverflow> {
    lost.map_or(Ok(Version::ZERO), |lost| lost.highest(last_sequence))
}

impl Beginning {
    /// An epoch of which connections may be alive goes on: the versions that they give must not be below those of others. Else
    /// one begins above it and above `highest`, the highest version that messages of the stream bear.
    ///
    /// # Errors
    /// When versions have come to their end.
    pub fn of(
        remembered: Option<&Remembered>,
        incarnation: &Incarnation,
        highest: Version,
        last_sequence: u64,
    ) -> Result<Self, VersionOverflow> {
        if let Some(known) = remembered.filter(|known| known.lives_in(incarnation)) {
            return Ok(Self {
                epoch: known.epoch,
                base: known.base,
                replays: true,
            });
        }
        let base = match highest.max(given(remembered, last_sequence)?) {
            Version::ZERO => Base::ZERO,
            version => Base::above(version)?,
        };
        Ok(Self {
            epoch: remembered.map_or(0, |known| known.epoch).saturating_add(1),
            base,
            replays: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incarnation(life: &str) -> Incarnation {
        Incarnation::new("stream", life)
    }

    fn remembered() -> Remembered {
        Remembered {
            epoch: 7,
            base: Base::new(7 << 32).unwrap(),
            incarnation: incarnation("one"),
        }
    }

    #[test]
    fn a_partition_that_nobody_knows_begins_above_what_its_messages_bear() {
        let one = incarnation("one");
        let new = Beginning::of(None, &one, Version::ZERO, 0).unwrap();
        assert_eq!((new.epoch, new.base, new.replays), (1, Base::ZERO, false));
        let highest = Version::new(9).unwrap();
        let above = Beginning::of(None, &one, highest, 9).unwrap();
        assert_eq!((above.epoch, above.base), (1, Base::above(highest).unwrap()));
    }

    #[test]
    fn an_epoch_goes_on_in_its_own_stream() {
        let known = remembered();
        let goes_on = Beginning::of(Some(&known), &incarnation("one"), Version::ZERO, 9).unwrap();
        assert_eq!(
            (goes_on.epoch, goes_on.base, goes_on.replays),
            (7, known.base, true)
        );
    }

    #[test]
    fn in_another_stream_the_next_one_begins_above_all_that_may_have_been_given() {
        let known = remembered();
        let next = Beginning::of(Some(&known), &incarnation("two"), Version::ZERO, 9).unwrap();
        let base = Base::above(known.highest(9).unwrap()).unwrap();
        assert_eq!((next.epoch, next.base, next.replays), (8, base, false));
    }
}
