//! The right to settle one delivered message.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::{Client, Statistics, Subject, connection::State, jetstream::AckKind};

/// The connection over which a message came. What is settled over a later one would be taken for a message of the same
/// sequence in a stream that may have been recreated meanwhile; left alone, the message is simply delivered again.
pub(crate) struct Link {
    client: Client,
    statistics: Arc<Statistics>,
    connects: u64,
}

impl Link {
    /// The connection as it is now. Shared by all that comes over it.
    pub(crate) fn of(client: &Client) -> Arc<Self> {
        let statistics = client.statistics();
        let connects = statistics.connects.load(Ordering::Acquire);
        Arc::new(Self {
            client: client.clone(),
            statistics,
            connects,
        })
    }

    fn still_stands(&self) -> bool {
        self.statistics.connects.load(Ordering::Acquire) == self.connects
            && self.client.connection_state() == State::Connected
    }
}

/// A delivered message that is not settled yet. Dropping it means that it is delivered again after the consumer's
/// `ack_wait`.
pub(crate) struct Receipt {
    /// Where the server expects to be told.
    reply: Subject,
    link: Arc<Link>,
    subject: Subject,
    sequence: u64,
    delivered: u32,
}

impl Receipt {
    pub(crate) fn new(
        reply: Subject,
        link: Arc<Link>,
        subject: Subject,
        sequence: u64,
        delivered: u32,
    ) -> Self {
        Self {
            reply,
            link,
            subject,
            sequence,
            delivered,
        }
    }

    /// The message's subject, for logs: it holds the key's hash and not the key.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// The message's place in its stream.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How often it was delivered, this time included.
    pub(crate) fn delivered(&self) -> u32 {
        self.delivered
    }

    /// The message is done with.
    pub(crate) async fn acknowledge(self) {
        self.send(AckKind::Ack).await;
    }

    /// Not here, not now: it is delivered again, after the delay if one is given.
    pub(crate) async fn hand_back(self, delay: Option<Duration>) {
        self.send(AckKind::Nak(delay)).await;
    }

    /// It is still being worked on: `ack_wait` starts again.
    pub(crate) async fn keep(&self) {
        self.send(AckKind::Progress).await;
    }

    async fn send(&self, kind: AckKind) {
        if !self.link.still_stands() {
            tracing::debug!(
                sequence = self.sequence,
                "came over a connection that is gone, and will come again"
            );
            return;
        }
        let told = self.link.client.publish(self.reply.clone(), kind.into());
        if let Err(error) = told.await {
            tracing::debug!(sequence = self.sequence, %error, "not settled, so it will come again");
        }
    }
}
