//! One connection's view of a partition: what is decided by a read is appended over the same connection, which ends when
//! the epoch does.

use std::sync::Arc;

use async_nats::jetstream::{
    Context,
    message::{PublishMessage, StreamMessage},
    stream::{DirectGetErrorKind, LastRawMessageErrorKind, Stream},
};
use birbnest_core::{BASE_HEADER, Entry, KeyHash, Partition, Record, StreamNames, Version};
use bytes::Bytes;

use super::{
    Progress,
    error::{AppendError, ReadError, refused},
    session::{Gate, Session},
    stored::{entry_of_stored, version_of},
};
use crate::fence::Fence;

const NO_LEASE: &str = "postgresql did not say in time that the queue is open";

/// What must be the last message of the key for an append to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    Anything,
    /// The one with this sequence; 0: the stream holds none.
    LastSequence(u64),
}

/// The last message of a key that the stream still holds.
#[derive(Clone, Debug)]
pub struct Last {
    /// Its sequence, also of a ghost; 0 when there is none.
    pub sequence: u64,
    /// What it says.
    pub entry: Option<Entry>,
}

/// A partition over one connection.
pub struct Turn {
    session: Arc<Session>,
    gate: Arc<Gate>,
    names: Arc<StreamNames>,
    partition: Partition,
}

impl Turn {
    pub(super) fn new(
        session: Arc<Session>,
        gate: Arc<Gate>,
        names: Arc<StreamNames>,
        partition: Partition,
    ) -> Self {
        Self {
            session,
            gate,
            names,
            partition,
        }
    }

    /// Appends a record and waits for JetStream's acknowledgement. When this returns a version, the write is queued
    /// for good and nothing older can win against it.
    ///
    /// # Errors
    /// Says whether nothing was stored or the outcome is unknown.
    pub async fn append(
        &self,
        hash: KeyHash,
        record: &Record,
        expected: Expected,
    ) -> Result<Version, AppendError> {
        self.publish(hash, birbnest_core::encode(record)?.into(), expected)
            .await
    }

    /// As [`append`](Self::append), of an encoded record. Nothing is sent to a stream that was full a moment ago, nor to
    /// a server that answers nobody: an early no is cheaper than a late one, and leaves nothing unknown.
    pub(super) async fn publish(
        &self,
        hash: KeyHash,
        payload: Bytes,
        expected: Expected,
    ) -> Result<Version, AppendError> {
        if self.gate.fullness.lasts() {
            return Err(AppendError::Full);
        }
        if !self.gate.may_publish() {
            return Err(AppendError::Down(NO_LEASE.to_owned()));
        }
        let question = self
            .session
            .pulse
            .ask()
            .map_err(|silent| AppendError::Down(silent.to_string()))?;
        let outcome = self.send(hash, payload, expected).await;
        question.settled(&outcome);
        if matches!(outcome, Err(AppendError::Full)) {
            self.gate.fullness.note();
        }
        // PostgreSQL may have taken a write by now that this one would come before, although its client is told later.
        if outcome.is_ok() && !self.gate.may_publish() {
            return Err(AppendError::OutcomeUnknown(NO_LEASE.to_owned()));
        }
        outcome
    }

    async fn send(&self, hash: KeyHash, payload: Bytes, expected: Expected) -> Result<Version, AppendError> {
        let mut message = PublishMessage::build()
            .header(BASE_HEADER, self.gate.base.get().to_string())
            .payload(payload);
        if let Expected::LastSequence(sequence) = expected {
            message = message.expected_last_subject_sequence(sequence);
        }
        let acked_before = self.gate.highest_acked();
        let sent = self
            .session
            .context
            .send_publish(self.names.subject(self.partition, hash), message)
            .await
            .map_err(|error| refused(&error))?;
        let ack = sent.await.map_err(|error| refused(&error))?;
        // Sequences only grow, so the stream went back: what it acknowledged before is gone.
        if ack.sequence <= acked_before {
            self.session.end("the stream went back to an older state");
            return Err(AppendError::OutcomeUnknown(
                "the stream went back to an older state".to_owned(),
            ));
        }
        self.gate.note_ack(ack.sequence);
        version_of(self.gate.base, ack.sequence).map_err(|error| AppendError::Refused(error.to_string()))
    }

    /// The last message of a key that the stream still holds, from the leader.
    ///
    /// # Errors
    /// When JetStream cannot be asked or holds what this release cannot read.
    pub async fn last(&self, hash: KeyHash) -> Result<Last, ReadError> {
        let question = self
            .session
            .pulse
            .ask()
            .map_err(|silent| ReadError::Failed(silent.to_string()))?;
        let message = self.last_message(self.names.subject(self.partition, hash)).await;
        // Errors of the server itself are rare here, and taking them for silence costs a moment.
        if message.is_ok() {
            question.answered();
        } else {
            question.lost();
        }
        let message = message?;
        Ok(Last {
            sequence: message.as_ref().map_or(0, |message| message.sequence),
            entry: message.as_ref().map(entry_of_stored).transpose()?,
        })
    }

    /// How far the workers are with the partition.
    ///
    /// # Errors
    /// When JetStream cannot be asked, or the fence is not that of the connection.
    pub async fn progress(&self, fence: &Fence) -> Result<Progress, ReadError> {
        if fence.epoch != self.gate.epoch {
            return Err(ReadError::Down(
                "the connection belongs to another epoch".to_owned(),
            ));
        }
        let stream = &self.gate.stream;
        let info = stream.get_info().await;
        let info = info.map_err(|error| ReadError::Failed(error.to_string()))?;
        Progress::of(stream, fence, info.state.last_sequence).await
    }

    async fn last_message(&self, subject: String) -> Result<Option<StreamMessage>, ReadError> {
        let stream = &self.gate.stream;
        if self.gate.one_copy {
            return match stream.direct_get_last_for_subject(subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
                Err(error) => Err(ReadError::Failed(error.to_string())),
            };
        }
        // A direct get may be answered by a follower that lags behind.
        last_from_leader(stream, &subject).await
    }
}

/// What the last message of a subject says, from the stream's leader, over any connection. It is the truth for whoever
/// may only fill a cache: before anything is published to a stream that was replaced, the generation of what was filled is
/// over.
///
/// # Errors
/// When JetStream cannot be asked or holds what this release cannot read.
pub async fn last_entry(context: &Context, stream: &str, subject: &str) -> Result<Option<Entry>, ReadError> {
    let stream = context.get_stream_no_info(stream).await;
    let stream = stream.map_err(|error| ReadError::Failed(error.to_string()))?;
    let message = last_from_leader(&stream, subject).await?;
    Ok(message.as_ref().map(entry_of_stored).transpose()?)
}

/// The last message of a subject, which a follower may not have yet.
pub(super) async fn last_from_leader<I>(
    stream: &Stream<I>,
    subject: &str,
) -> Result<Option<StreamMessage>, ReadError> {
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(ReadError::Failed(error.to_string())),
    }
}
