//! The one server to connect to: the one of the address, or the master that sentinels name.

use redis::{Client, RedisError};

use super::sentinel::{Doubt, Sentinels};

/// A place that is asked anew before every connection.
#[derive(Debug)]
pub(super) enum Server {
    Fixed(Client),
    Watched(Sentinels),
}

impl Server {
    /// The server to connect to now.
    pub(super) async fn current(&mut self) -> Result<Client, RedisError> {
        match self {
            Self::Fixed(client) => Ok(client.clone()),
            Self::Watched(sentinels) => sentinels.master().await,
        }
    }

    /// Whether a connection to `server` leads to the place where others are, too.
    pub(super) async fn doubt(&mut self, server: &Client) -> Option<Doubt> {
        match self {
            Self::Fixed(_) => None,
            Self::Watched(sentinels) => sentinels.doubt(server).await,
        }
    }
}
