//! Connections to the NATS of each nest, kept for as long as its address stays the same.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{self, Context};
use birbnest_stores::jetstream::{InvalidAddress, addresses, connect};
use tokio::{sync::Mutex, time::timeout};

use crate::reconcile::{Digest, NestId};

/// How long JetStream may take to answer. A figure that comes later is no longer fresh.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long a connection may take, with the looking up of names.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// Nobody answers there, or refuses.
    #[error("NATS does not answer: {0}; see that it runs and that the address and its credentials are right")]
    Unreachable(#[from] async_nats::ConnectError),
    /// Not even its name or its silence came back in time.
    #[error("NATS does not answer within {} s; see that it runs and that the address is right", CONNECT_WITHIN.as_secs())]
    TimedOut,
}

/// Connections by nest.
#[derive(Default)]
pub struct Connections(Mutex<HashMap<NestId, Connection>>);

struct Connection {
    address: Digest,
    context: Context,
}

impl Connections {
    /// The nest's connection, made when there is none or its address changed.
    ///
    /// # Errors
    /// When the address is none or nobody answers there.
    pub async fn open(&self, nest: &NestId, address: &str) -> Result<Context, ConnectError> {
        let digest = Digest::of(address.as_bytes());
        if let Some(connection) = self
            .0
            .lock()
            .await
            .get(nest)
            .filter(|open| open.address == digest)
        {
            return Ok(connection.context.clone());
        }
        // Not under the lock: one dead address must not hold up the other nests.
        let servers = addresses(address)?;
        let connecting = connect(&servers, "birbnest-operator");
        let client = timeout(CONNECT_WITHIN, connecting)
            .await
            .map_err(|_| ConnectError::TimedOut)??;
        let context = jetstream::ContextBuilder::new()
            .timeout(ANSWER_WITHIN)
            .build(client);
        let connection = Connection {
            address: digest,
            context: context.clone(),
        };
        self.0.lock().await.insert(nest.clone(), connection);
        Ok(context)
    }

    /// Closes the nest's connection.
    pub async fn close(&self, nest: &NestId) {
        self.0.lock().await.remove(nest);
    }
}
