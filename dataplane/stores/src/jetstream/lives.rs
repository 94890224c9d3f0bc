//! Which life of a stream this is. A life ends when the servers may have lost what they had acknowledged, or may have been
//! given older copies of their stores; the stream itself cannot tell, for its creation time and sequences are in the store.
//!
//! - A single server's id is new with every process.
//! - With replicas a member that starts again is brought up to date by the others. Something may be lost only when most of
//!   them are down at once, and just then a stream in memory with as many copies, the *witness*, is found empty. Whoever
//!   finds it so puts a new token into it.
//! - A single copy somewhere in a cluster has only its creation time.

use async_nats::{
    Client,
    jetstream::{
        Context,
        context::{GetStreamError, PublishErrorKind},
        message::PublishMessage,
        stream::Info,
    },
};
use birbnest_core::{Incarnation, StreamNames, config::StreamConfig};
use uuid::Uuid;

use super::turn::last_from_leader;

/// How often others may put a token into the witness and lose it again meanwhile.
const MAX_TURNS: usize = 4;

/// Why it is not known which life this is.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// The witness is not there, or nobody answers for it.
    #[error("the stream {stream} cannot be used: {source}")]
    Stream {
        /// The witness.
        stream: String,
        /// What JetStream said.
        source: GetStreamError,
    },
    /// It can neither be read nor written.
    #[error("the stream {stream} does not tell its token: {message}")]
    Token {
        /// The witness.
        stream: String,
        /// What JetStream said.
        message: String,
    },
}

/// Tells the lives of a nest's streams apart, over one connection.
#[derive(Clone, Debug)]
pub struct Lives {
    client: Client,
    context: Context,
    names: StreamNames,
    has_witness: bool,
}

impl Lives {
    /// `context` is one over `client`.
    pub fn new(client: Client, context: Context, config: &StreamConfig) -> Self {
        Self {
            client,
            context,
            names: StreamNames::new(&config.prefix),
            has_witness: config.has_witness(),
        }
    }

    /// The incarnation of the stream that has just said this of itself.
    ///
    /// # Errors
    /// When the witness is missing or does not answer.
    pub async fn incarnation(&self, info: &Info) -> Result<Incarnation, LifeError> {
        let life = if self.has_witness {
            self.token().await?
        } else if !is_clustered(info) {
            self.client.server_info().server_id
        } else {
            // It lies on one member of a cluster, and another one may be answering.
            String::new()
        };
        Ok(Incarnation::new(&info.created.to_string(), &life))
    }

    async fn token(&self) -> Result<String, LifeError> {
        let (name, subject) = (self.names.witness(), self.names.witness_subject());
        let failed = |message: String| LifeError::Token {
            stream: name.clone(),
            message,
        };
        let witness = match self.context.get_stream_no_info(&name).await {
            Ok(witness) => witness,
            Err(source) => return Err(LifeError::Stream { stream: name, source }),
        };
        for _ in 0..MAX_TURNS {
            let last = last_from_leader(&witness, &subject).await;
            if let Some(message) = last.map_err(|error| failed(error.to_string()))? {
                return Ok(String::from_utf8_lossy(&message.payload).into_owned());
            }
            self.renew(&subject).await.map_err(failed)?;
        }
        Err(failed("it lost every token that it was given".to_owned()))
    }

    /// Puts a token into an empty witness; who comes second reads what the first one put there.
    async fn renew(&self, subject: &str) -> Result<(), String> {
        let token = Uuid::new_v4().simple().to_string();
        let only_if_empty = PublishMessage::build()
            .expected_last_subject_sequence(0)
            .payload(token.into());
        let sent = self.context.send_publish(subject.to_owned(), only_if_empty).await;
        let outcome = match sent {
            Ok(ack) => ack.await.map(drop),
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) if error.kind() != PublishErrorKind::WrongLastSequence => Err(error.to_string()),
            _ => Ok(()),
        }
    }
}

/// Whether the stream lies on a member of a cluster. A server of its own names a leader, too: itself, of a cluster
/// without a name.
fn is_clustered(info: &Info) -> bool {
    let cluster = info.cluster.as_ref().and_then(|cluster| cluster.name.as_deref());
    cluster.is_some_and(|name| !name.is_empty())
}
