//! What a message of the dead-letter stream says: the payload is that of the write, the headers say why it is there.

use async_nats::{HeaderMap, Subject, header::NATS_MESSAGE_ID, jetstream::message::StreamMessage};
use birbnest_core::{Entry, InvalidMessage, Partition, Timestamp, Version};
use bytes::Bytes;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Why the write is here.
const REASON: &str = "Birb-Dead-Reason";
const SQLSTATE: &str = "Birb-Dead-Sqlstate";
const PARTITION: &str = "Birb-Dead-Partition";
const SEQUENCE: &str = "Birb-Dead-Sequence";
const VERSION: &str = "Birb-Dead-Version";
const ATTEMPTS: &str = "Birb-Dead-Attempts";
const TIME: &str = "Birb-Dead-Time";
/// Longest reason, in characters: a letter must not exceed what its write has left of NATS' `max_payload`.
const LONGEST_REASON: usize = 500;

/// A write that PostgreSQL rejects, or a message that nobody can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The subject under which it was queued.
    pub subject: String,
    /// The partition through whose stream it came.
    pub partition: Partition,
    /// Its place in that stream.
    pub sequence: u64,
    /// Its version, if its epoch's base could be read.
    pub version: Option<Version>,
    /// What PostgreSQL said, or why it cannot be read.
    pub reason: String,
    /// PostgreSQL's code for that.
    pub sqlstate: Option<String>,
    /// How often it was delivered.
    pub attempts: u32,
    /// When it was given up.
    pub time: Timestamp,
    /// The message's payload.
    pub payload: Bytes,
}

/// A dead letter in its stream.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its sequence in the stream of the dead letters.
    pub id: u64,
    /// The letter; its subject is the one that it has there.
    pub letter: DeadLetter,
}

impl DeadLetter {
    /// The write, or `None` when its version is not known.
    ///
    /// # Errors
    /// When the payload says nothing that this release can read.
    pub fn entry(&self) -> Result<Option<Entry>, InvalidMessage> {
        let record = birbnest_core::decode(&self.payload)?;
        Ok(self.version.map(|version| Entry { version, record }))
    }

    /// The headers that say it. The same write makes the same message id, so that a letter which is sent again (its
    /// worker died before it could acknowledge the write) is stored once.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, self.message_id().as_str());
        headers.insert(REASON, one_line(&self.reason).as_str());
        if let Some(sqlstate) = &self.sqlstate {
            headers.insert(SQLSTATE, one_line(sqlstate).as_str());
        }
        headers.insert(PARTITION, self.partition.to_string());
        headers.insert(SEQUENCE, self.sequence.to_string());
        if let Some(version) = self.version {
            headers.insert(VERSION, version.to_string());
        }
        headers.insert(ATTEMPTS, self.attempts.to_string());
        headers.insert(TIME, self.time.to_string());
        headers
    }

    /// Sequences of a recreated stream repeat and versions may be unknown, so what it says counts, too: only the very
    /// same message may be taken for one that is stored already.
    fn message_id(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.subject.as_bytes());
        hasher.update(&self.sequence.to_be_bytes());
        hasher.update(&self.version.map_or(0, Version::get).to_be_bytes());
        hasher.update(&self.payload);
        hasher.finalize().to_hex().to_string()
    }
}

impl From<StreamMessage> for Waiting {
    /// What is missing or malformed in the headers is left out: a letter must be seen in any case.
    fn from(message: StreamMessage) -> Self {
        let text = |name| message.headers.get(name).map(|value| value.as_str().to_owned());
        let number = |name| text(name).and_then(|text| text.parse::<u64>().ok());
        let written = text(TIME).and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok());
        let letter = DeadLetter {
            partition: Partition(narrow(number(PARTITION))),
            sequence: number(SEQUENCE).unwrap_or_default(),
            version: number(VERSION).and_then(|version| Version::new(version).ok()),
            reason: text(REASON).unwrap_or_default(),
            sqlstate: text(SQLSTATE),
            attempts: narrow(number(ATTEMPTS)),
            time: written.unwrap_or(message.time).into(),
            subject: Subject::to_string(&message.subject),
            payload: message.payload,
        };
        Self {
            id: message.sequence,
            letter,
        }
    }
}

fn narrow<T: TryFrom<u64> + Default>(number: Option<u64>) -> T {
    number
        .and_then(|number| T::try_from(number).ok())
        .unwrap_or_default()
}

/// A header holds one line.
fn one_line(text: &str) -> String {
    let printable = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char });
    printable.take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> DeadLetter {
        DeadLetter {
            subject: "cache.persist.3.05c7".to_owned(),
            partition: Partition(3),
            sequence: 7,
            version: Some(Version::new(7).unwrap()),
            reason: "no\r\nBirb-Dead-Version: 9".to_owned(),
            sqlstate: Some("23514".to_owned()),
            attempts: 3,
            time: Timestamp::from_micros(1_763_700_000_000_000),
            payload: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn what_is_sent_is_what_is_read_and_a_reason_makes_no_headers() {
        let read = Waiting::from(StreamMessage {
            subject: "cache.dead.3.05c7".into(),
            sequence: 41,
            headers: letter().headers(),
            payload: letter().payload,
            time: OffsetDateTime::UNIX_EPOCH,
        });
        let expected = DeadLetter {
            subject: "cache.dead.3.05c7".to_owned(),
            reason: "no  Birb-Dead-Version: 9".to_owned(),
            ..letter()
        };
        assert_eq!((read.id, read.letter), (41, expected));
    }

    #[test]
    fn only_the_very_same_message_has_the_same_id() {
        let again = DeadLetter {
            attempts: 4,
            time: Timestamp::now(),
            ..letter()
        };
        assert_eq!(again.message_id(), letter().message_id());
        let other = DeadLetter {
            payload: Bytes::from_static(b"{ }"),
            ..letter()
        };
        assert_ne!(other.message_id(), letter().message_id());
    }
}
