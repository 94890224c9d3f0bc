//! What stream and table together say of a key.

use crate::{Content, Entry, Timestamp, Version};

/// The higher version of the two. A message at or below the mark is a ghost: a restarted server may bring back messages
/// that were overwritten, and everything up to the mark is in PostgreSQL.
pub fn newest(queued: Option<Entry>, stored: Option<Entry>, mark: Version, now: Timestamp) -> Option<Entry> {
    let queued = queued.filter(|queued| queued.version > mark);
    match (queued, stored) {
        (Some(mut queued), Some(stored)) if queued.version > stored.version => {
            // The worker will keep it so.
            let overwrites = matches!(queued.record.content, Content::Value { .. });
            if overwrites && stored.record.is_live(now) {
                queued.record.created_at = stored.record.created_at;
            }
            Some(queued)
        }
        (queued, stored) => stored.or(queued),
    }
}
