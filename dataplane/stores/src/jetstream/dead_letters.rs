//! The stream of the writes that PostgreSQL rejects and of the messages that nobody can read.
//!
//! A worker sends the letter first and acknowledges the write after the letter's own acknowledgement. Dying in between
//! leaves both: the write comes again, and makes the same letter.

use std::sync::Arc;

use async_nats::jetstream::{
    Context,
    message::{PublishMessage, StreamMessage},
    stream::{RawMessageError, RawMessageErrorKind, Stream},
};
use birbnest_core::StreamNames;

use super::{
    dead_letter::{DeadLetter, Waiting},
    error::{AppendError, ReadError, refused},
};

/// The dead letters of a nest, over one connection. Cheap to clone.
#[derive(Clone)]
pub struct DeadLetters {
    context: Context,
    names: Arc<StreamNames>,
}

impl DeadLetters {
    /// Those of the nest with these names.
    pub fn new(context: Context, names: Arc<StreamNames>) -> Self {
        Self { context, names }
    }

    /// Stores a letter and waits for JetStream's acknowledgement.
    ///
    /// # Errors
    /// When it is not certain that the letter is stored: its write must not be acknowledged then.
    pub async fn put(&self, letter: &DeadLetter) -> Result<(), AppendError> {
        let subject = self.names.dead_subject(&letter.subject).ok_or_else(|| {
            AppendError::Refused(format!("{} is no subject of a persist stream", letter.subject))
        })?;
        // Another stream may listen to these subjects, too: nobody would look for letters there.
        let message = PublishMessage::build()
            .headers(letter.headers())
            .payload(letter.payload.clone())
            .expected_stream(self.names.dead());
        let sent = self.context.send_publish(subject, message).await;
        let acknowledged = sent.map_err(|error| refused(&error))?.await;
        acknowledged.map(drop).map_err(|error| refused(&error))
    }

    /// The first letter after this id, from the leader.
    ///
    /// # Errors
    /// When JetStream cannot be asked.
    pub async fn next(&self, after: u64) -> Result<Option<Waiting>, ReadError> {
        let stream = self.stream().await?;
        let found = stream
            .get_first_raw_message_by_subject(self.names.dead_subjects(), after.saturating_add(1))
            .await;
        waiting(found)
    }

    /// The letter with this id, from the leader.
    ///
    /// # Errors
    /// When JetStream cannot be asked.
    pub async fn get(&self, id: u64) -> Result<Option<Waiting>, ReadError> {
        if id == 0 {
            return Ok(None);
        }
        waiting(self.stream().await?.get_raw_message(id).await)
    }

    /// Removes a letter; one that is gone already counts as removed.
    ///
    /// # Errors
    /// When JetStream cannot be asked or refuses.
    pub async fn remove(&self, id: u64) -> Result<(), ReadError> {
        match self.stream().await?.delete_message(id).await {
            Ok(_) => Ok(()),
            // It refuses what is not there: see whether it is.
            Err(error) => match self.get(id).await? {
                None => Ok(()),
                Some(_) => Err(ReadError::Failed(error.to_string())),
            },
        }
    }

    /// How many letters wait.
    ///
    /// # Errors
    /// When JetStream cannot be asked or the stream does not exist.
    pub async fn count(&self) -> Result<u64, ReadError> {
        let stream = self.context.get_stream(self.names.dead()).await;
        let stream = stream.map_err(|error| ReadError::Failed(error.to_string()))?;
        Ok(stream.cached_info().state.messages)
    }

    async fn stream(&self) -> Result<Stream<()>, ReadError> {
        let stream = self.context.get_stream_no_info(self.names.dead()).await;
        stream.map_err(|error| ReadError::Failed(error.to_string()))
    }
}

fn waiting(found: Result<StreamMessage, RawMessageError>) -> Result<Option<Waiting>, ReadError> {
    match found {
        Ok(message) => Ok(Some(message.into())),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(ReadError::Failed(error.to_string())),
    }
}
