//! The cache generation: what makes every copy in Redis void at once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use birbnest_core::Partition;

/// Bytes of a [`Tag`].
pub(super) const GENERATION_LEN: usize = 16;
/// Characters of it that come from the `run_id` of Redis, and those that come from the fence's counter.
const RUN_ID_LEN: usize = 10;
const COUNTER_MASK: u64 = 0xff_ffff;
const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";

/// The generation of a connection: the `run_id` of its Redis process and the fence's counter. It changes when the
/// process is another one or was restored, and when a worker or a new epoch raises the counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag([u8; GENERATION_LEN]);

impl Tag {
    /// From the `run_id` (40 hexadecimal digits) and the counter.
    pub(super) fn new(run_id: &str, counter: u64) -> Self {
        let mut tag = [b'0'; GENERATION_LEN];
        let (process, digits) = tag.split_at_mut(RUN_ID_LEN);
        for (byte, digit) in process.iter_mut().zip(run_id.bytes()) {
            *byte = digit;
        }
        let mut left = counter & COUNTER_MASK;
        for byte in digits.iter_mut().rev() {
            let digit = usize::try_from(left & 0xf).unwrap_or_default();
            *byte = HEXADECIMAL[digit];
            left >>= 4;
        }
        Self(tag)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The fences' generation counters as this process last read them, one per partition.
#[derive(Clone, Debug)]
pub struct Generations(Arc<[AtomicU64]>);

/// The counter before the fence was read once: no copy can be judged.
const NOT_READ_YET: u64 = u64::MAX;

impl Generations {
    /// Counters that have not been read yet.
    pub fn unread(partitions: u16) -> Self {
        Self((0..partitions).map(|_| AtomicU64::new(NOT_READ_YET)).collect())
    }

    /// Takes over the counter of a fence. Counters only grow, so a late reader cannot turn one back.
    pub fn advance(&self, partition: Partition, counter: u64) {
        let Some(slot) = self.0.get(usize::from(partition.0)) else {
            return;
        };
        let _ = slot.fetch_update(Ordering::AcqRel, Ordering::Acquire, |known| {
            (known == NOT_READ_YET || known < counter).then_some(counter)
        });
    }

    /// The counter, once it has been read.
    pub(super) fn get(&self, partition: Partition) -> Option<u64> {
        let counter = self.0.get(usize::from(partition.0))?.load(Ordering::Acquire);
        (counter != NOT_READ_YET).then_some(counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_and_another_counter_are_other_generations() {
        let (one, two) = ("a".repeat(40), "b".repeat(40));
        assert_ne!(Tag::new(&one, 1), Tag::new(&two, 1));
        assert_ne!(Tag::new(&one, 1), Tag::new(&one, 2));
        assert_eq!(Tag::new(&one, 1), Tag::new(&one, 1));
    }

    #[test]
    fn a_tag_is_the_start_of_the_process_and_the_counter_in_hexadecimal() {
        let tag = Tag::new("0123456789abcdef0123456789abcdef01234567", 0x1_23ab_cdef);
        assert_eq!(tag.as_bytes(), b"0123456789abcdef");
    }

    #[test]
    fn a_counter_never_goes_back() {
        let generations = Generations::unread(1);
        assert_eq!(generations.get(Partition(0)), None);
        generations.advance(Partition(0), 5);
        generations.advance(Partition(0), 4);
        assert_eq!(generations.get(Partition(0)), Some(5));
        assert_eq!(generations.get(Partition(1)), None);
    }
}
