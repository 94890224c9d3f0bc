//! Where Redis is: one server, or the master that sentinels name.

use redis::{Client, ErrorKind, RedisError};

use super::sentinel::{Doubt, Sentinels};

/// A place that is asked anew before every connection.
#[derive(Debug)]
pub(super) enum Address {
    Server(Client),
    Sentinels(Sentinels),
}

impl Address {
    /// Reads `redis[s]://[user][:password]@host[:port][/db]` or `redis[s]-sentinel://[user][:password]@host[:port],...
    /// [/db]?master=NAME[&sentinelPassword=PASSWORD]`.
    ///
    /// # Errors
    /// When it is neither; the message shows no password.
    pub(super) fn parse(url: &str) -> Result<Self, RedisError> {
        match url.split_once("-sentinel://") {
            Some((scheme, rest)) => Sentinels::parse(scheme, rest)
                .map(Self::Sentinels)
                .map_err(|reason| RedisError::from((ErrorKind::InvalidClientConfig, reason))),
            None => Client::open(url).map(Self::Server),
        }
    }

    /// The server to connect to now.
    pub(super) async fn server(&mut self) -> Result<Client, RedisError> {
        match self {
            Self::Server(client) => Ok(client.clone()),
            Self::Sentinels(sentinels) => sentinels.master().await,
        }
    }

    /// Whether a connection to `server` leads to the place where others are, too.
    pub(super) async fn doubt(&mut self, server: &Client) -> Option<Doubt> {
        match self {
            Self::Server(_) => None,
            Self::Sentinels(sentinels) => sentinels.doubt(server).await,
        }
    }
}
