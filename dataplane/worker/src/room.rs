//! How many bytes of messages this process may have in hand, over all partitions.
//!
//! A loop takes its part before it pulls, and gives back what the messages did not need. The first message after a pause
//! is not counted: nobody knows how long it is, and each loop has only one.

use std::sync::Arc;

use birbnest_core::{Layout, config::Config};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted, in bytes: a semaphore has fewer permits than there may be bytes.
const UNIT: usize = 1 << 10;
/// More does not make a batch faster.
const MOST_PART: usize = 32 << 20;
/// What a message has beside its payload: subjects and headers.
const BESIDE_PAYLOAD: usize = 64 << 10;

/// The room of all loops. Clones share it.
#[derive(Clone)]
pub(crate) struct Room {
    units: Arc<Semaphore>,
    all: usize,
    part: usize,
}

/// What a batch may take of it. It is given back when this is dropped.
pub(crate) struct Part {
    permit: OwnedSemaphorePermit,
    bytes: usize,
}

impl Room {
    /// For the loops of these partitions.
    pub(crate) fn new(config: &Config, layout: Layout) -> Self {
        let bytes = usize::try_from(config.worker.max_bytes_in_progress).unwrap_or(usize::MAX);
        let loops = usize::from(layout.count()) * usize::from(config.worker.concurrency);
        let all = (bytes / UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(all)),
            all,
            part: (bytes / loops.max(1)).min(MOST_PART),
        }
    }

    /// Bytes to ask for, where a message may have a payload of `largest`: a message that is longer than what was asked
    /// for would never come.
    fn bytes(&self, largest: usize) -> usize {
        self.part.max(largest + BESIDE_PAYLOAD)
    }

    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).min(self.all)).unwrap_or(u32::MAX)
    }

    /// A part for a batch, as soon as there is room.
    pub(crate) async fn part(&self, largest: usize) -> Option<Part> {
        let bytes = self.bytes(largest);
        let permit = Arc::clone(&self.units)
            .acquire_many_owned(self.units(bytes))
            .await
            .ok()?;
        Some(Part { permit, bytes })
    }

    /// A part for a batch, if there is room.
    pub(crate) fn part_now(&self, largest: usize) -> Option<Part> {
        let bytes = self.bytes(largest);
        let permit = Arc::clone(&self.units)
            .try_acquire_many_owned(self.units(bytes))
            .ok()?;
        Some(Part { permit, bytes })
    }
}

impl Part {
    /// Bytes that may be asked for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back all but what these bytes need.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let needed = bytes.div_ceil(UNIT);
        let spare = self.permit.num_permits().saturating_sub(needed);
        drop(self.permit.split(spare));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(partitions: u16) -> Room {
        let mut config = Config::default();
        config.worker.max_bytes_in_progress = 64 << 20;
        Room::new(&config, Layout::of_new_nest(partitions))
    }

    #[tokio::test]
    async fn all_loops_together_have_no_more_than_the_room() {
        let room = room(4);
        let mut parts = Vec::new();
        while let Some(part) = room.part_now(1 << 20) {
            parts.push(part);
        }
        assert_eq!(parts.iter().map(Part::bytes).sum::<usize>(), 64 << 20);
        parts[0].shrink(100);
        assert!(room.part_now(1 << 20).is_none());
        parts[1].shrink(0);
        assert!(room.part_now(1 << 20).is_some());
    }

    #[tokio::test]
    async fn the_largest_message_can_always_be_asked_for() {
        let room = room(64);
        let part = room.part_now(8 << 20).unwrap();
        assert!(part.bytes() > 8 << 20);
        drop(part);
        let all = room.part(128 << 20).await.unwrap();
        assert!(all.bytes() > 128 << 20 && room.part_now(1).is_none());
    }
}
