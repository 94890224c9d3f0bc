//! The one server to connect to: the one of the address, or the master that sentinels name.

use std::time::Instant;

use redis::{Client, RedisError};

use super::sentinel::{Reign, Sentinels, Word};

/// A place that is asked anew before every connection.
#[derive(Debug)]
pub(super) enum Server {
    Fixed(Client),
    Watched(Sentinels),
}

/// A server that may be used now.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) client: Client,
    /// Where sentinels name it: as what, and when they were asked.
    pub(super) reign: Option<(Reign, Instant)>,
}

impl Server {
    /// The server to use now.
    pub(super) async fn current(&mut self) -> Result<Current, RedisError> {
        match self {
            Self::Fixed(client) => Ok(Current {
                client: client.clone(),
                reign: None,
            }),
            Self::Watched(sentinels) => sentinels.current().await,
        }
    }

    /// The server to look at, though it may not be time to use it yet.
    pub(super) async fn named(&mut self) -> Result<Client, RedisError> {
        match self {
            Self::Fixed(client) => Ok(client.clone()),
            Self::Watched(sentinels) => sentinels.named().await,
        }
    }

    /// Whether a server that was the current one still is.
    pub(super) async fn word(&mut self, reign: &Reign) -> Word {
        match self {
            Self::Fixed(_) => Word::Good(Instant::now()),
            Self::Watched(sentinels) => sentinels.word(reign).await,
        }
    }
}
