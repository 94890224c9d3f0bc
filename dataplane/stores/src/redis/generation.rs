//! The cache generation: what makes every copy in Redis void at once.

use std::{
    fmt,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use birbnest_core::{Layout, Partition};

/// Bytes of a [`Tag`].
pub(super) const GENERATION_LEN: usize = 16;
/// Bits of it that come from the life of the Redis, and those that come from the fence's counter.
const LIFE_BITS: u32 = 40;
const COUNTER_BITS: u32 = 24;

/// One life of a Redis: it ends with the process, and when the process becomes the master again after others were.
/// Meanwhile these may have replaced copies without its knowledge. It may not have heard of them itself; the sentinels have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Life(u64);

impl Life {
    /// From `run_id`, which is new with every start, and `master_replid`, which is new with every promotion (40
    /// hexadecimal digits each). A server that does not tell one is known by the other.
    pub(super) fn new(run_id: &str, master_replid: &str) -> Self {
        Self(start_of(run_id) ^ start_of(master_replid))
    }

    /// The part of it in which it is the master by this failover.
    pub(super) fn in_reign(self, epoch: u64) -> Self {
        // An odd factor gives each number bits of its own.
        Self(self.0 ^ epoch.wrapping_mul(0x9E_3779_B97F) & ((1 << LIFE_BITS) - 1))
    }

    /// What ends when either ends.
    pub(super) fn together(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010x}", self.0)
    }
}

fn start_of(id: &str) -> u64 {
    let digits = id.get(..LIFE_BITS as usize / 4);
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .unwrap_or_default()
}

/// The generation of a connection: the life of its Redis and the fence's counter. It changes when the process is another
/// one or was restored or promoted, and when a worker or a new epoch raises the counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag([u8; GENERATION_LEN]);

impl Tag {
    pub(super) fn new(life: Life, counter: u64) -> Self {
        let bits = life.0 << COUNTER_BITS | counter & ((1 << COUNTER_BITS) - 1);
        let mut tag = [0; GENERATION_LEN];
        // Sixteen digits fill it.
        let _ = write!(&mut tag[..], "{bits:016x}");
        Self(tag)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The fences' generation counters as this process last read them, one for each partition of the layout.
#[derive(Clone, Debug, Default)]
pub struct Generations(Arc<ArcSwapOption<Counters>>);

#[derive(Debug)]
struct Counters {
    layout: Layout,
    counters: Box<[AtomicU64]>,
}

/// The counter before the fence was read once: no copy can be judged.
const NOT_READ_YET: u64 = u64::MAX;

impl Generations {
    /// Counters of a layout, none of which has been read.
    pub fn unread(layout: Layout) -> Self {
        let generations = Self::default();
        generations.begin(layout);
        generations
    }

    /// Another layout has begun, or the first one is known: none of its counters has been read.
    pub fn begin(&self, layout: Layout) {
        if self.layout() != Some(layout) {
            let counters = layout
                .partitions()
                .map(|_| AtomicU64::new(NOT_READ_YET))
                .collect();
            self.0.store(Some(Arc::new(Counters { layout, counters })));
        }
    }

    /// The partitions that there are, once they are known.
    pub fn layout(&self) -> Option<Layout> {
        self.0.load().as_ref().map(|known| known.layout)
    }

    /// Takes over the counter of a fence. Counters only grow, so a late reader cannot turn one back.
    pub fn advance(&self, partition: Partition, counter: u64) {
        let known = self.0.load();
        let Some(slot) = known.as_ref().and_then(|known| known.counter(partition)) else {
            return;
        };
        let _ = slot.fetch_update(Ordering::AcqRel, Ordering::Acquire, |known| {
            (known == NOT_READ_YET || known < counter).then_some(counter)
        });
    }

    /// The counter, once it has been read.
    pub(super) fn get(&self, partition: Partition) -> Option<u64> {
        let known = self.0.load();
        let counter = known.as_ref()?.counter(partition)?.load(Ordering::Acquire);
        (counter != NOT_READ_YET).then_some(counter)
    }
}

impl Counters {
    fn counter(&self, partition: Partition) -> Option<&AtomicU64> {
        self.counters.get(self.layout.place(partition)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_another_reign_and_another_counter_are_other_generations() {
        let (one, two) = ("a".repeat(40), "b".repeat(40));
        let life = Life::new(&one, &two);
        let tag = Tag::new(life, 1);
        assert_eq!(tag, Tag::new(Life::new(&one, &two), 1));
        assert_ne!(tag, Tag::new(Life::new(&two, &two), 1));
        assert_ne!(tag, Tag::new(Life::new(&one, &one), 1));
        assert_ne!(tag, Tag::new(life, 2));
        assert_ne!(tag, Tag::new(life.in_reign(1), 1));
        assert_ne!(life.in_reign(1), life.in_reign(2));
    }

    #[test]
    fn a_tag_is_the_life_and_the_counter_in_hexadecimal() {
        let life = Life::new("0123456789abcdef0123456789abcdef01234567", "");
        assert_eq!(life.to_string(), "0123456789");
        assert_eq!(Tag::new(life, 0x1_23ab_cdef).as_bytes(), b"0123456789abcdef");
    }

    #[test]
    fn a_counter_never_goes_back() {
        let generations = Generations::unread(Layout::of_new_nest(1));
        assert_eq!(generations.get(Partition(0)), None);
        generations.advance(Partition(0), 5);
        generations.advance(Partition(0), 4);
        assert_eq!(generations.get(Partition(0)), Some(5));
        assert_eq!(generations.get(Partition(1)), None);
    }

    #[test]
    fn the_counters_of_another_layout_are_not_known_before_they_are_read() {
        let layout = Layout::of_new_nest(1);
        let generations = Generations::unread(layout);
        generations.advance(Partition(0), 5);
        generations.begin(layout);
        assert_eq!(generations.get(Partition(0)), Some(5));
        generations.begin(layout.next(2).unwrap());
        for partition in 0..4 {
            assert_eq!(generations.get(Partition(partition)), None);
        }
        generations.advance(Partition(2), 6);
        assert_eq!(generations.get(Partition(2)), Some(6));
    }
}
