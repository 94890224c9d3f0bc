//! Which partitions the keys are spread over.

use std::fmt;

use crate::{KeyHash, Partition};

/// The most partitions that a nest can have at a time.
pub const MAX_PARTITIONS: u16 = 64;

/// The partitions of a nest: so many, counted from the first one. Another number of partitions is another layout with
/// other partitions, and none is ever used again: what belongs to an earlier layout cannot be taken for something of
/// this one, be it a stream, a fence or a mark.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Layout {
    first: u16,
    partitions: u16,
}

impl Layout {
    /// So many partitions (1 to [`MAX_PARTITIONS`]) from this one on; `None` when there are no such.
    pub fn new(first: Partition, partitions: u16) -> Option<Self> {
        let last = first.0.checked_add(partitions)?;
        let known = (1..=MAX_PARTITIONS).contains(&partitions) && last <= i16::MAX.cast_unsigned();
        known.then_some(Self {
            first: first.0,
            partitions,
        })
    }

    /// That of a new nest.
    pub fn of_new_nest(partitions: u16) -> Self {
        Self {
            first: 0,
            partitions: partitions.clamp(1, MAX_PARTITIONS),
        }
    }

    /// The one that follows, with so many partitions; `None` when there are none left.
    pub fn next(self, partitions: u16) -> Option<Self> {
        Self::new(Partition(self.first + self.partitions), partitions)
    }

    /// The first partition.
    pub fn first(self) -> Partition {
        Partition(self.first)
    }

    /// How many there are.
    pub fn count(self) -> u16 {
        self.partitions
    }

    /// Each of them.
    pub fn partitions(self) -> impl DoubleEndedIterator<Item = Partition> + ExactSizeIterator {
        (self.first..self.first + self.partitions).map(Partition)
    }

    /// The place of a partition among them, counted from 0; `None` for one of another layout.
    pub fn place(self, partition: Partition) -> Option<usize> {
        let place = partition.0.checked_sub(self.first)?;
        (place < self.partitions).then_some(usize::from(place))
    }

    /// The partition that a key's writes go through.
    pub fn partition(self, hash: KeyHash) -> Partition {
        Partition(self.first + hash.part(self.partitions))
    }
}

/// As streams carry it in their metadata: `FIRST+COUNT`.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.first, self.partitions)
    }
}

impl Layout {
    /// Reads what [`Display`](fmt::Display) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, partitions) = text.split_once('+')?;
        Self::new(Partition(first.parse().ok()?), partitions.parse().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::EntryId;

    #[test]
    fn layouts_follow_each_other_and_share_no_partition() {
        let first = Layout::of_new_nest(4);
        let second = first.next(2).unwrap();
        let all: Vec<u16> = first
            .partitions()
            .chain(second.partitions())
            .map(|p| p.0)
            .collect();
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
        assert_eq!(second.place(Partition(5)), Some(1));
        for other in [3, 6] {
            assert_eq!(second.place(Partition(other)), None);
        }
    }

    #[test]
    fn there_are_1_to_64_partitions_and_no_number_above_what_postgresql_stores() {
        assert_eq!(Layout::new(Partition(0), 0), None);
        assert_eq!(Layout::new(Partition(0), 65), None);
        assert_eq!(Layout::new(Partition(32_760), 8), None);
        assert!(Layout::new(Partition(32_760), 7).is_some());
    }

    #[test]
    fn a_layout_is_read_as_it_was_written() {
        let layout = Layout::new(Partition(4), 8).unwrap();
        assert_eq!(layout.to_string(), "4+8");
        assert_eq!(Layout::parse("4+8"), Some(layout));
        for bad in ["", "4", "4+", "4+65", "-1+2", "a+b"] {
            assert_eq!(Layout::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_key_has_a_partition(key in "[a-z]{1,20}", first in 0u16..1000, partitions in 1u16..=64) {
            let layout = Layout::new(Partition(first), partitions).unwrap();
            let hash = EntryId::global(key.parse().unwrap()).hash();
            prop_assert!(layout.place(layout.partition(hash)).is_some());
        }
    }
}
