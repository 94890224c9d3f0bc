//! Why a queue did not do what it was asked for.

use async_nats::jetstream::{
    ErrorCode,
    context::{PublishError, PublishErrorKind},
};

use super::stored::UnreadableMessage;

/// Why a write was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing was sent: there is no connection that has passed the fence.
    #[error("the queue is not reachable: {0}")]
    Down(String),
    /// JetStream refused: the stream holds as much as it may.
    #[error("the queue is full")]
    Full,
    /// JetStream refused for another reason.
    #[error("the queue refused the write: {0}")]
    Refused(String),
    /// The last message of the key is another one than was expected: nothing was stored.
    #[error("another write of the key came first")]
    Conflict,
    /// The message was sent and no acknowledgement came: it may or may not be stored.
    #[error("the queue did not acknowledge the write in time: {0}")]
    OutcomeUnknown(String),
    /// The record cannot be said as a message.
    #[error("the record cannot be encoded: {0}")]
    Unencodable(#[from] serde_json::Error),
}

/// Why the last message of a key could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no connection that has passed the fence.
    #[error("the queue is not reachable: {0}")]
    Down(String),
    /// JetStream did not answer, or not as it should.
    #[error("the queue could not be read: {0}")]
    Failed(String),
    /// What it holds is no message of this protocol.
    #[error("the queue holds what this release cannot read: {0}")]
    Unreadable(#[from] UnreadableMessage),
}

/// What an error of the client means for the write.
pub(super) fn refused(error: &PublishError) -> AppendError {
    match error.kind() {
        PublishErrorKind::StreamNotFound => AppendError::Down("the stream does not exist".to_owned()),
        // Refused by the client itself, before anything was sent.
        PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::MaxAckPending => {
            AppendError::Refused(error.to_string())
        }
        PublishErrorKind::WrongLastSequence => AppendError::Conflict,
        PublishErrorKind::Other => match api_error(error) {
            // Over the limit of messages, bytes, or bytes of the account or server.
            Some(ErrorCode::STREAM_STORE_FAILED | ErrorCode::INSUFFICIENT_RESOURCES) => AppendError::Full,
            // With replicas, while an append of the same key is on its way.
            Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => AppendError::Conflict,
            Some(_) => AppendError::Refused(error.to_string()),
            None => AppendError::OutcomeUnknown(error.to_string()),
        },
        _ => AppendError::OutcomeUnknown(error.to_string()),
    }
}

/// The code with which JetStream itself answered, if it did.
fn api_error(error: &PublishError) -> Option<ErrorCode> {
    let source = std::error::Error::source(error)?;
    source
        .downcast_ref::<async_nats::jetstream::Error>()
        .map(async_nats::jetstream::Error::error_code)
}
