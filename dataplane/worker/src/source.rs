//! Pulling messages of one partition.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client,
    connection::State,
    jetstream::{
        Message,
        consumer::PullConsumer,
        context::{Context, ContextBuilder},
    },
};
use birbnest_core::{Entry, Version};
use birbnest_stores::{
    fence::Fence,
    jetstream::{entry_of, provision, version_in},
};
use bytes::Bytes;

use crate::{
    pull::Request,
    receipt::{Link, Receipt},
    room::{Part, Room},
};

/// How long a request for the first message waits at the server. Not longer, because it is not interrupted by the
/// shutdown: a message that comes to nobody is delivered again only after `ack_wait`.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// What is granted on top for the answer to arrive. Longer than it takes to find out that a connection is dead: a
/// message that comes after we stopped listening is delivered again only after `ack_wait`.
const MARGIN: Duration = Duration::from_secs(10);
/// For a request of one message, whatever its length.
const NO_BOUND: usize = 0;
/// Requests to the API of `JetStream`.
const API_TIMEOUT: Duration = Duration::from_secs(2);

/// Why nothing can be pulled at the moment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// There is no connection.
    #[error("nats is not connected")]
    NotConnected,
    /// The stream or its consumer is missing, or does not answer.
    #[error("the consumer of the stream {stream} cannot be used: {message}")]
    Consumer {
        /// The stream.
        stream: String,
        /// What the server or the client said.
        message: String,
    },
}

/// The consumer of one persist stream.
pub(crate) struct Source {
    client: Client,
    context: Context,
    stream: String,
    consumer: String,
    keep_every: Duration,
}

/// What was pulled.
#[derive(Default)]
pub(crate) struct Pulled {
    /// Messages that can be read.
    pub(crate) entries: Vec<(Entry, Receipt)>,
    /// Messages that cannot.
    pub(crate) unreadable: Vec<Unreadable>,
    /// How often the server must be told that they are still being worked on, or it delivers them again.
    pub(crate) keep_every: Duration,
    /// How many more were waiting at the server behind the last one.
    pub(crate) waiting: u64,
    /// Bytes of their payloads.
    pub(crate) bytes: usize,
    /// The room that they take.
    pub(crate) part: Option<Part>,
}

/// A message that says nothing this release can read.
pub(crate) struct Unreadable {
    pub(crate) receipt: Receipt,
    /// Its version, if the header that tells it can be read.
    pub(crate) version: Option<Version>,
    pub(crate) payload: Bytes,
    /// What is wrong with it.
    pub(crate) reason: String,
}

impl Pulled {
    /// Messages of either kind.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() + self.unreadable.len()
    }

    /// How many of them had been delivered before.
    pub(crate) fn redelivered(&self) -> usize {
        let receipts = self.entries.iter().map(|(_, receipt)| receipt);
        let all = receipts.chain(self.unreadable.iter().map(|message| &message.receipt));
        all.filter(|receipt| receipt.delivered() > 1).count()
    }
}

impl Source {
    /// Finds the term's consumer, or makes it: whoever began the term may have died before.
    pub(crate) async fn open(client: &Client, stream: &str, fence: &Fence) -> Result<Self, SourceError> {
        let context = ContextBuilder::new().timeout(API_TIMEOUT).build(client.clone());
        let failed = |message: String| {
            if client.connection_state() == State::Connected {
                SourceError::Consumer {
                    stream: stream.to_owned(),
                    message,
                }
            } else {
                SourceError::NotConnected
            }
        };
        let name = provision::ensure_consumer(&context, stream, fence)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let found: Result<PullConsumer, _> = context.get_consumer_from_stream(&name, stream).await;
        let consumer = found.map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            client: client.clone(),
            context,
            stream: stream.to_owned(),
            keep_every: consumer.cached_info().config.ack_wait / 3,
            consumer: name,
        })
    }

    /// The longest payload that the server takes.
    pub(crate) fn largest(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// Pulls up to `limit` messages. With a `part` of the room there is a backlog. Without, waits a moment for the first
    /// one, and then `wait` for the batch to become full. An empty answer means that there was nothing.
    pub(crate) async fn pull(
        &self,
        limit: usize,
        wait: Duration,
        part: Option<Part>,
        room: &Room,
    ) -> Result<Pulled, SourceError> {
        let link = Link::of(&self.client);
        let mut pulled = Pulled {
            keep_every: self.keep_every,
            ..Pulled::default()
        };
        if part.is_none() {
            self.request(1, NO_BOUND, IDLE_WAIT, &link, &mut pulled).await?;
            if pulled.len() == 0 {
                return Ok(pulled);
            }
        }
        // Nobody waits for room with a message in hand: it would be delivered to others meanwhile.
        let Some(mut part) = part.or_else(|| room.part_now(self.largest())) else {
            return Ok(pulled);
        };
        let more = limit.saturating_sub(pulled.len());
        // What has come is not given up because no more came.
        let rest = self.request(more, part.bytes(), wait, &link, &mut pulled).await;
        part.shrink(pulled.bytes);
        pulled.part = Some(part);
        if pulled.len() == 0 {
            rest.map(|()| pulled)
        } else {
            Ok(pulled)
        }
    }

    async fn request(
        &self,
        messages: usize,
        max_bytes: usize,
        wait: Duration,
        link: &Arc<Link>,
        pulled: &mut Pulled,
    ) -> Result<(), SourceError> {
        if messages == 0 {
            return Ok(());
        }
        let before = pulled.len();
        let request = Request {
            batch: messages,
            max_bytes,
            expires: wait,
        };
        let sent = request
            .send(&self.client, &self.stream, &self.consumer, MARGIN)
            .await;
        let mut pull = sent.map_err(|error| self.failed(&error))?;
        loop {
            match pull.next().await {
                Ok(Some(message)) => pulled.take(message, &self.context, link),
                // A consumer that moved, or that was made anew, ends a request by an error.
                Err(error) if pulled.len() == before => return Err(self.failed(&error)),
                Ok(None) | Err(_) => break,
            }
        }
        if pulled.len() == before && self.client.connection_state() != State::Connected {
            return Err(SourceError::NotConnected);
        }
        Ok(())
    }

    fn failed(&self, error: &impl ToString) -> SourceError {
        if self.client.connection_state() == State::Connected {
            SourceError::Consumer {
                stream: self.stream.clone(),
                message: error.to_string(),
            }
        } else {
            SourceError::NotConnected
        }
    }
}

impl Pulled {
    fn take(&mut self, message: async_nats::Message, context: &Context, link: &Arc<Link>) {
        let context = context.clone();
        let message = Message { message, context };
        let (sequence, delivered, waiting) = match message.info() {
            Ok(info) => (
                info.stream_sequence,
                u32::try_from(info.delivered).unwrap_or(u32::MAX),
                info.pending,
            ),
            // Nobody but the server sends to this inbox.
            Err(error) => return tracing::error!(%error, "a message without a place in its stream"),
        };
        self.waiting = waiting;
        self.bytes += message.payload.len();
        let message = message.message;
        let Some(reply) = message.reply else { return };
        let receipt = Receipt::new(reply, Arc::clone(link), message.subject, sequence, delivered);
        match entry_of(message.headers.as_ref(), sequence, &message.payload) {
            Ok(entry) => self.entries.push((entry, receipt)),
            Err(error) => self.unreadable.push(Unreadable {
                receipt,
                version: version_in(message.headers.as_ref(), sequence).ok(),
                payload: message.payload,
                reason: error.to_string(),
            }),
        }
    }
}
