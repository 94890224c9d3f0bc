//! Appending to the persist streams, and reading the last message of a key.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_nats::{
    HeaderMap,
    jetstream::{
        ErrorCode,
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
        stream::{DirectGetErrorKind, LastRawMessageErrorKind},
    },
};
use birbnest_core::{
    BASE_HEADER, Entry, KeyHash, Partition, Record, StreamNames, Version, config::StreamConfig,
};
use tokio::sync::watch;

use super::{
    connection::{InvalidAddress, addresses},
    session::{self, Gate, Session},
    stored::{UnreadableMessage, entry_of_stored, version_of},
};
use crate::{Connectivity, fence::FenceWatch, postgres::Postgres};

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

/// A handle to the persist streams, cheap to clone.
#[derive(Clone)]
pub struct Log {
    session: Arc<ArcSwapOption<Session>>,
    names: Arc<StreamNames>,
    status: watch::Receiver<Connectivity>,
}

impl Log {
    /// Starts connecting and passing the fence in the background.
    ///
    /// # Errors
    /// When the address is not one of NATS.
    pub fn start(
        url: &str,
        config: &StreamConfig,
        postgres: Postgres,
        fences: FenceWatch,
    ) -> Result<Self, InvalidAddress> {
        let session = Arc::new(ArcSwapOption::empty());
        let (sender, status) = watch::channel(Connectivity::default());
        let connector = session::Connector {
            servers: addresses(url)?,
            config: config.clone(),
            postgres,
            fences,
            status: sender,
        };
        tokio::spawn(session::keep_connected(connector, Arc::downgrade(&session)));
        let names = Arc::new(StreamNames::new(&config.prefix));
        Ok(Self {
            session,
            names,
            status,
        })
    }

    /// Whether writes can be queued, and if not, why.
    pub fn status(&self) -> watch::Receiver<Connectivity> {
        self.status.clone()
    }

    /// Appends a record and waits for JetStream's acknowledgement. When this returns a version, the write is queued
    /// for good and nothing older can win against it.
    ///
    /// # Errors
    /// Says whether nothing was stored or the outcome is unknown.
    pub async fn append(
        &self,
        partition: Partition,
        hash: KeyHash,
        record: &Record,
    ) -> Result<Version, AppendError> {
        let (session, gate) = self.gate(partition).map_err(AppendError::Down)?;
        let payload = birbnest_core::encode(record)?;
        let mut headers = HeaderMap::new();
        headers.insert(BASE_HEADER, gate.base.get().to_string());
        let message = PublishMessage::build().payload(payload.into()).headers(headers);
        let acked_before = gate.highest_acked();
        let subject = self.names.subject(partition, hash);
        let sent = session
            .context
            .send_publish(subject, message)
            .await
            .map_err(|error| refused(&error))?;
        let ack = sent.await.map_err(|error| refused(&error))?;
        // Sequences only grow, so the stream went back: what it acknowledged before is gone.
        if ack.sequence <= acked_before {
            session.end("the stream went back to an older state");
            return Err(AppendError::OutcomeUnknown(
                "the stream went back to an older state".to_owned(),
            ));
        }
        gate.note_ack(ack.sequence);
        version_of(gate.base, ack.sequence).map_err(|error| AppendError::Refused(error.to_string()))
    }

    /// The last message of a key that the stream still holds, from the leader.
    ///
    /// # Errors
    /// When JetStream cannot be asked or holds what this release cannot read.
    pub async fn last(&self, partition: Partition, hash: KeyHash) -> Result<Option<Entry>, ReadError> {
        let (_session, gate) = self.gate(partition).map_err(ReadError::Down)?;
        let subject = self.names.subject(partition, hash);
        let message = if gate.one_copy {
            match gate.stream.direct_get_last_for_subject(subject).await {
                Ok(message) => message,
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(ReadError::Failed(error.to_string())),
            }
        } else {
            // A direct get may be answered by a follower that lags behind.
            match gate.stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => message,
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
                Err(error) => return Err(ReadError::Failed(error.to_string())),
            }
        };
        Ok(Some(entry_of_stored(&message)?))
    }

    fn gate(&self, partition: Partition) -> Result<(Arc<Session>, Arc<Gate>), String> {
        let Some(session) = self.session.load_full() else {
            let reason = match &*self.status.borrow() {
                Connectivity::Lost(reason) => reason.clone(),
                Connectivity::Connected => "the connection is being replaced".to_owned(),
            };
            return Err(reason);
        };
        match session.gates.get(usize::from(partition.0)) {
            Some(gate) if !session.has_ended() => Ok((Arc::clone(&session), Arc::clone(gate))),
            _ => Err("the connection was lost".to_owned()),
        }
    }
}

/// What an error of the client means for the write.
fn refused(error: &PublishError) -> AppendError {
    match error.kind() {
        PublishErrorKind::StreamNotFound => AppendError::Down("the stream does not exist".to_owned()),
        // Refused by the client itself, before anything was sent.
        PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::MaxAckPending => {
            AppendError::Refused(error.to_string())
        }
        PublishErrorKind::Other => match api_error(error) {
            // Over the limit of messages, bytes, or bytes of the account or server.
            Some(ErrorCode::STREAM_STORE_FAILED | ErrorCode::INSUFFICIENT_RESOURCES) => AppendError::Full,
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
