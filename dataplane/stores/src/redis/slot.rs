//! What is stored under a Redis key: a header of fixed length, which the scripts compare without parsing, and for an
//! entry the very JSON object that clients get, so that a hit costs no serialization.
//!
//! ```text
//! kind(1) generation(16) version or token(16) body
//! ```

use birbnest_core::{CREATED_AT_OFFSET, Entry, TIMESTAMP_LEN, Version};
use bytes::Bytes;

use super::generation::{GENERATION_LEN, Tag};

/// Bytes before the body.
pub(super) const HEADER_LEN: usize = 1 + GENERATION_LEN + NUMBER_LEN;
/// Where the script finds `created_at` in the slot of an entry, and where it ends.
pub(super) const CREATED_AT: std::ops::Range<usize> =
    HEADER_LEN + CREATED_AT_OFFSET..HEADER_LEN + CREATED_AT_OFFSET + TIMESTAMP_LEN;
/// Digits of a version (below 2^53) and of a lease's token.
const NUMBER_LEN: usize = 16;

pub(super) const ENTRY: u8 = b'E';
pub(super) const TOMBSTONE: u8 = b'T';
pub(super) const NEGATIVE: u8 = b'N';
pub(super) const LEASE: u8 = b'L';

/// What the cache knows of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cached {
    /// An entry: its version and the JSON object for the client.
    Entry {
        /// Its version.
        version: Version,
        /// The envelope, shared with the buffer that Redis filled.
        envelope: Bytes,
    },
    /// There is no entry: it was deleted at this version, or both sources had none up to it.
    Absent {
        /// Nothing up to this version.
        version: Version,
    },
    /// Nothing, or nothing of this generation: the sources must be asked.
    #[default]
    Unknown,
}

/// Reads a slot; whatever carries another generation is unknown.
pub(super) fn parse(slot: &Bytes, tag: Tag) -> Cached {
    let Some((header, _)) = slot.split_at_checked(HEADER_LEN) else {
        return Cached::Unknown;
    };
    let (kind, rest) = (header[0], &header[1..]);
    let (generation, number) = rest.split_at(GENERATION_LEN);
    if generation != tag.as_bytes() {
        return Cached::Unknown;
    }
    let Some(version) = parse_version(number) else {
        return Cached::Unknown;
    };
    match kind {
        ENTRY => Cached::Entry {
            version,
            envelope: slot.slice(HEADER_LEN..),
        },
        TOMBSTONE | NEGATIVE => Cached::Absent { version },
        _ => Cached::Unknown,
    }
}

fn parse_version(digits: &[u8]) -> Option<Version> {
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Version::new(number).ok()
}

/// The version as the scripts compare it: as text of one length.
pub(super) fn version_digits(version: Version) -> String {
    format!("{:0NUMBER_LEN$}", version.get())
}

/// The slot of an entry or of its tombstone.
pub(super) fn of_entry(entry: &Entry, tag: Tag) -> Vec<u8> {
    match entry.envelope() {
        Some(envelope) => with_header(ENTRY, tag, entry.version, &envelope),
        None => with_header(TOMBSTONE, tag, entry.version, &[]),
    }
}

/// The slot that says: both sources had nothing up to `mark`.
pub(super) fn of_negative(mark: Version, tag: Tag) -> Vec<u8> {
    with_header(NEGATIVE, tag, mark, &[])
}

/// The slot of a reader that is on its way to the sources.
pub(super) fn of_lease(token: u64, tag: Tag) -> Vec<u8> {
    let mut slot = Vec::with_capacity(HEADER_LEN);
    slot.push(LEASE);
    slot.extend_from_slice(tag.as_bytes());
    slot.extend_from_slice(format!("{token:0NUMBER_LEN$x}").as_bytes());
    slot
}

fn with_header(kind: u8, tag: Tag, version: Version, body: &[u8]) -> Vec<u8> {
    let mut slot = Vec::with_capacity(HEADER_LEN + body.len());
    slot.push(kind);
    slot.extend_from_slice(tag.as_bytes());
    slot.extend_from_slice(version_digits(version).as_bytes());
    slot.extend_from_slice(body);
    slot
}

#[cfg(test)]
mod tests {
    use super::{super::generation::Life, *};

    fn tag(generation: u64) -> Tag {
        Tag::new(
            Life::new("0123456789abcdef0123456789abcdef01234567", ""),
            generation,
        )
    }

    fn version(number: u64) -> Version {
        Version::new(number).unwrap()
    }

    #[test]
    fn a_slot_of_another_generation_is_unknown() {
        let slot = Bytes::from(with_header(ENTRY, tag(1), version(7), b"{}"));
        assert_eq!(
            parse(&slot, tag(1)),
            Cached::Entry {
                version: version(7),
                envelope: Bytes::from_static(b"{}")
            }
        );
        assert_eq!(parse(&slot, tag(2)), Cached::Unknown);
    }

    #[test]
    fn a_lease_and_a_torn_slot_are_unknown() {
        assert_eq!(
            parse(&Bytes::from(of_lease(u64::MAX, tag(1))), tag(1)),
            Cached::Unknown
        );
        assert_eq!(parse(&Bytes::from_static(b"E0123"), tag(1)), Cached::Unknown);
        assert_eq!(of_lease(1, tag(1)).len(), HEADER_LEN);
    }

    #[test]
    fn versions_compare_as_text_as_they_do_as_numbers() {
        assert!(version_digits(version(9)) < version_digits(version(10)));
        assert_eq!(version_digits(version((1 << 53) - 1)).len(), NUMBER_LEN);
    }
}
