//! The payload of a message of the persist stream: JSON, so that an operator can read a queue with any NATS tool.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{Content, EntryId, InvalidInstance, InvalidKey, Record, Timestamp};

/// The header that carries the epoch's base in decimal, so that whoever reads a message knows its version.
pub const BASE_HEADER: &str = "Birb-Base";

/// The layout below. A reader refuses what it does not know instead of guessing.
const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    format: u8,
    #[serde(borrow)]
    instance: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "<[Uuid]>::is_empty")]
    operation_ids: Cow<'a, [Uuid]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Cow<'a, RawValue>>,
    /// Absent for a tombstone; `null` is a value.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    value: Option<Cow<'a, RawValue>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cow<'static, RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(|value| Some(Cow::Owned(value)))
}

/// Why a payload is no message.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMessage {
    /// No JSON of this layout.
    #[error("the payload is no message: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Written by a later release.
    #[error("the payload has format {0}, this release reads format {FORMAT}")]
    UnknownFormat(u8),
    /// The key breaks a rule.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The instance breaks a rule.
    #[error(transparent)]
    Instance(#[from] InvalidInstance),
}

/// The payload that says this record.
///
/// # Errors
/// None in practice: strings, numbers and raw JSON always serialize.
pub fn encode(record: &Record) -> Result<Vec<u8>, serde_json::Error> {
    let (value, metadata) = match &record.content {
        Content::Value { value, metadata } => (Some(value), metadata.as_ref()),
        Content::Tombstone => (None, None),
    };
    serde_json::to_vec(&Wire {
        format: FORMAT,
        instance: Cow::Borrowed(record.id.instance.as_str()),
        key: Cow::Borrowed(record.id.key.as_str()),
        created_at: record.created_at,
        updated_at: record.updated_at,
        expires_at: record.expires_at,
        operation_ids: Cow::Borrowed(&record.operation_ids),
        metadata: metadata.map(|metadata| Cow::Borrowed(&**metadata)),
        value: value.map(|value| Cow::Borrowed(&**value)),
    })
}

/// The record that a payload says.
///
/// # Errors
/// When it is malformed, of a later format, or its names break their rules.
pub fn decode(payload: &[u8]) -> Result<Record, InvalidMessage> {
    let wire: Wire<'_> = serde_json::from_slice(payload)?;
    if wire.format != FORMAT {
        return Err(InvalidMessage::UnknownFormat(wire.format));
    }
    let metadata = wire.metadata.map(Cow::into_owned);
    Ok(Record {
        id: EntryId {
            instance: wire.instance.parse()?,
            key: wire.key.parse()?,
        },
        content: match wire.value {
            Some(value) => Content::Value {
                value: value.into_owned(),
                metadata,
            },
            None => Content::Tombstone,
        },
        created_at: wire.created_at,
        updated_at: wire.updated_at,
        expires_at: wire.expires_at,
        operation_ids: wire.operation_ids.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn record(key: &str, content: Content) -> Record {
        Record {
            id: EntryId::global(key.parse().unwrap()),
            content,
            created_at: Timestamp::from_micros(1),
            updated_at: Timestamp::from_micros(2),
            expires_at: Some(Timestamp::from_micros(3)),
            operation_ids: vec![Uuid::from_u128(4)],
        }
    }

    fn round_trip(record: &Record) -> Record {
        decode(&encode(record).unwrap()).unwrap()
    }

    #[test]
    fn a_null_value_is_no_tombstone() {
        let null = record(
            "a",
            Content::Value {
                value: raw("null"),
                metadata: None,
            },
        );
        assert!(matches!(round_trip(&null).content, Content::Value { value, .. } if value.get() == "null"));
        assert!(matches!(
            round_trip(&record("a", Content::Tombstone)).content,
            Content::Tombstone
        ));
    }

    #[test]
    fn a_later_format_is_refused() {
        let mut payload = String::from_utf8(encode(&record("a", Content::Tombstone)).unwrap()).unwrap();
        payload = payload.replace(r#""format":1"#, r#""format":2"#);
        assert!(matches!(
            decode(payload.as_bytes()),
            Err(InvalidMessage::UnknownFormat(2))
        ));
    }

    proptest! {
        #[test]
        fn every_byte_of_a_value_survives(key in "[^\\p{Cc}]{1,40}", text in any::<String>(), number in any::<f64>()) {
            let number = if number.is_finite() { number } else { 0.0 };
            let text = serde_json::to_string(&text).unwrap();
            let value = format!("{{ \"text\" : {text},\"number\":{number:e} }}");
            let content = Content::Value { value: raw(&value), metadata: Some(raw(r#"{ "a":1 }"#)) };
            let back = round_trip(&record(&key, content));
            prop_assert_eq!(back.id.key.as_str(), key);
            let Content::Value { value: back, metadata } = back.content else { panic!("a tombstone") };
            prop_assert_eq!(back.get(), value);
            prop_assert_eq!(metadata.as_deref().map(RawValue::get), Some(r#"{ "a":1 }"#));
        }
    }
}
