//! What is written under a key.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{EntryId, Timestamp, Version};

/// A write: what a message of the persist stream says, before the stream has given it a version.
#[derive(Clone, Debug)]
pub struct Record {
    /// Whose it is.
    pub id: EntryId,
    /// What is there now.
    pub content: Content,
    /// When the key came to have an entry, as far as the writer knew.
    pub created_at: Timestamp,
    /// When this was written.
    pub updated_at: Timestamp,
    /// From when on the entry counts as absent.
    pub expires_at: Option<Timestamp>,
    /// The operations that led here, newest first.
    pub operation_ids: Vec<Uuid>,
}

/// A value, or the fact that there is none.
#[derive(Clone, Debug)]
pub enum Content {
    /// A JSON value, byte for byte as it was sent, and what the client noted beside it.
    Value {
        /// The value.
        value: Box<RawValue>,
        /// A JSON object.
        metadata: Option<Box<RawValue>>,
    },
    /// The entry was deleted.
    Tombstone,
}

/// A record with its place in the order of writes.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its version, which is its `ETag`.
    pub version: Version,
    /// What was written.
    pub record: Record,
}

/// Where the text of `created_at` starts in [`Entry::envelope`]: a cached copy takes it over from the entry it
/// replaces without being parsed.
pub const CREATED_AT_OFFSET: usize = r#"{"created_at":""#.len();

#[derive(Serialize)]
struct Envelope<'a> {
    // First, and of fixed length: see `CREATED_AT_OFFSET`.
    created_at: String,
    updated_at: String,
    version: u64,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    value: &'a RawValue,
}

impl Record {
    /// Whether a reader at `now` finds a value here.
    pub fn is_live(&self, now: Timestamp) -> bool {
        matches!(self.content, Content::Value { .. }) && self.expires_at.is_none_or(|end| now < end)
    }
}

impl Entry {
    /// The JSON object that clients get, `None` for a tombstone.
    pub fn envelope(&self) -> Option<Vec<u8>> {
        let Content::Value { value, metadata } = &self.record.content else {
            return None;
        };
        let envelope = Envelope {
            created_at: self.record.created_at.to_string(),
            updated_at: self.record.updated_at.to_string(),
            version: self.version.get(),
            key: self.record.id.key.as_str(),
            ttl: self
                .record
                .expires_at
                .map(|end| end.millis_since(self.record.updated_at).div_ceil(1000)),
            metadata: metadata.as_deref(),
            value,
        };
        // Strings, numbers and raw JSON cannot fail to serialize.
        serde_json::to_vec(&envelope).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TIMESTAMP_LEN;

    #[test]
    fn the_envelope_keeps_the_values_bytes_and_has_created_at_where_the_cache_expects_it() {
        let value = RawValue::from_string(r#"{"b": 1.50, "a":[ ]}"#.to_owned()).unwrap();
        let now = Timestamp::from_micros(1_763_700_000_000_000);
        let record = Record {
            id: EntryId::global("a \"b\"".parse().unwrap()),
            content: Content::Value {
                value,
                metadata: None,
            },
            created_at: now,
            updated_at: now,
            expires_at: Some(now.plus_seconds(60)),
            operation_ids: vec![],
        };
        let text = Entry {
            version: Version::new(7).unwrap(),
            record,
        }
        .envelope()
        .unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text[CREATED_AT_OFFSET..][..TIMESTAMP_LEN], now.to_string());
        assert!(
            text.ends_with(r#""version":7,"key":"a \"b\"","ttl":60,"value":{"b": 1.50, "a":[ ]}}"#),
            "{text}"
        );
    }

    #[test]
    fn an_expired_record_and_a_tombstone_are_not_live() {
        let now = Timestamp::from_micros(1_000_000);
        let mut record = Record {
            id: EntryId::global("a".parse().unwrap()),
            content: Content::Value {
                value: RawValue::from_string("1".to_owned()).unwrap(),
                metadata: None,
            },
            created_at: now,
            updated_at: now,
            expires_at: Some(now.plus_seconds(1)),
            operation_ids: vec![],
        };
        assert!(record.is_live(now));
        assert!(!record.is_live(now.plus_seconds(1)));
        record.content = Content::Tombstone;
        assert!(!record.is_live(now));
    }
}
