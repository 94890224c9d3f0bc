//! What a write makes of the entry that is there.

use birbnest_core::{Content, Entry, EntryId, Record, Timestamp};
use serde_json::value::RawValue;

use crate::{arithmetic::Increment, patch::Patch, problem::Problem};

/// What a client wants done to a key.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Store this.
    Put(Draft),
    /// Leave nothing.
    Delete,
    /// Change the value that is there.
    Patch(Patch),
    /// Add to the number that is there.
    Increment(Increment),
}

/// An entry to be written.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) value: Box<RawValue>,
    pub(crate) metadata: Option<Box<RawValue>>,
    pub(crate) ttl_seconds: Option<u32>,
}

impl Change {
    /// Whether it says everything, so that nobody has to look what is there.
    pub(crate) fn is_blind(&self) -> bool {
        matches!(self, Self::Put(_) | Self::Delete)
    }

    /// The record that it makes of the live entry that is there.
    ///
    /// # Errors
    /// When it needs an entry and there is none, or does not fit its value.
    pub(crate) fn apply(self, id: EntryId, current: Option<&Entry>) -> Result<Record, Problem> {
        let mut record = match (self, current) {
            (Self::Put(draft), _) => return Ok(draft.into_record(id, current)),
            (Self::Increment(increment), None) => return Ok(increment.first()?.into_record(id, None)),
            (_, None) => return Err(Problem::not_found()),
            (Self::Delete, Some(_)) => return Ok(tombstone(id)),
            (Self::Patch(patch), Some(entry)) => with_value(entry, |value| patch.apply(value))?,
            (Self::Increment(increment), Some(entry)) => with_value(entry, |value| increment.apply(value))?,
        };
        record.updated_at = Timestamp::now();
        Ok(record)
    }
}

impl Draft {
    /// Written now; an entry that it replaces keeps the time at which it came to be.
    pub(crate) fn into_record(self, id: EntryId, current: Option<&Entry>) -> Record {
        let now = Timestamp::now();
        Record {
            id,
            content: Content::Value {
                value: self.value,
                metadata: self.metadata,
            },
            created_at: current.map_or(now, |entry| entry.record.created_at),
            updated_at: now,
            expires_at: self.ttl_seconds.map(|seconds| now.plus_seconds(seconds)),
            operation_ids: Vec::new(),
        }
    }
}

/// A tombstone, written now.
pub(crate) fn tombstone(id: EntryId) -> Record {
    let now = Timestamp::now();
    Record {
        id,
        content: Content::Tombstone,
        created_at: now,
        updated_at: now,
        expires_at: None,
        operation_ids: Vec::new(),
    }
}

/// The entry with another value; metadata, creation and end stay.
fn with_value(
    entry: &Entry,
    change: impl FnOnce(&RawValue) -> Result<Box<RawValue>, Problem>,
) -> Result<Record, Problem> {
    let mut record = entry.record.clone();
    match &mut record.content {
        Content::Value { value, .. } => *value = change(value)?,
        Content::Tombstone => return Err(Problem::not_found()),
    }
    Ok(record)
}
