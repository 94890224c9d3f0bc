//! What a stored message says.

use std::{fmt::Display, num::NonZeroU64};

use async_nats::{
    HeaderMap,
    jetstream::{
        message::StreamMessage,
        stream::{LastRawMessageErrorKind, Stream},
    },
};
use birbnest_core::{BASE_HEADER, Base, Entry, InvalidMessage, Version, VersionOverflow};

use super::error::ReadError;

/// Why a stored message says nothing.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableMessage {
    /// The payload.
    #[error(transparent)]
    Payload(#[from] InvalidMessage),
    /// The header with the epoch's base.
    #[error("the header {BASE_HEADER} is missing or no number")]
    NoBase,
    /// The version that follows from base and sequence.
    #[error(transparent)]
    Version(#[from] VersionOverflow),
}

/// The entry that a message with these headers and this sequence says.
///
/// # Errors
/// When a part of it is missing or of a later release.
pub fn entry_of(
    headers: Option<&HeaderMap>,
    sequence: u64,
    payload: &[u8],
) -> Result<Entry, UnreadableMessage> {
    Ok(Entry {
        version: version_in(headers, sequence)?,
        record: birbnest_core::decode(payload)?,
    })
}

/// The version of a message with these headers and this sequence, whatever its payload says.
///
/// # Errors
/// When the base is missing or no base.
pub fn version_in(headers: Option<&HeaderMap>, sequence: u64) -> Result<Version, UnreadableMessage> {
    let base = headers.and_then(|headers| headers.get(BASE_HEADER));
    let base: u64 = base
        .and_then(|text| text.as_str().parse().ok())
        .ok_or(UnreadableMessage::NoBase)?;
    Ok(version_of(Base::new(base)?, sequence)?)
}

pub(super) fn entry_of_stored(message: &StreamMessage) -> Result<Entry, UnreadableMessage> {
    entry_of(Some(&message.headers), message.sequence, &message.payload)
}

pub(super) fn version_of(base: Base, sequence: u64) -> Result<Version, VersionOverflow> {
    base.version(NonZeroU64::new(sequence).ok_or(VersionOverflow(0))?)
}

/// Messages of somebody else at the end of a stream that are passed over. Each costs a round trip.
const MOST_STRAYS: u64 = 1_000;

/// The highest version that the messages of a stream bear whose last sequence is this: in an epoch versions follow the
/// sequences, and each epoch is above those before.
///
/// # Errors
/// When JetStream cannot be asked or holds what this release cannot read.
pub async fn highest_version<I>(stream: &Stream<I>, last_sequence: u64) -> Result<Version, ReadError> {
    let failed = |error: &dyn Display| ReadError::Failed(error.to_string());
    let lowest = last_sequence.saturating_sub(MOST_STRAYS).max(1);
    for sequence in (lowest..=last_sequence).rev() {
        let message = match stream.get_raw_message(sequence).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                if sequence < last_sequence {
                    // What was purged below a stray had a version, and nobody knows its base.
                    return Err(UnreadableMessage::NoBase.into());
                }
                return Version::new(last_sequence).map_err(|error| failed(&error));
            }
            Err(error) => return Err(failed(&error)),
        };
        match version_in(Some(&message.headers), sequence) {
            // Somebody else's: it has no version, and the one before it may have.
            Err(UnreadableMessage::NoBase) => {}
            version => return Ok(version?),
        }
    }
    if lowest > 1 {
        return Err(UnreadableMessage::NoBase.into());
    }
    Ok(Version::ZERO)
}
