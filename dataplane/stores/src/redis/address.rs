//! Where Redis is: one server, the master that sentinels name, or a cluster.

use std::{sync::Weak, time::Duration};

use redis::{Client, ErrorKind, RedisError};
use tokio::sync::watch;

use super::{
    cluster::{self, Cluster},
    connection,
    masters::Shared,
    sentinel::Sentinels,
    server::Server,
};
use crate::Connectivity;

/// What an address says.
#[derive(Debug)]
pub(super) enum Address {
    Server(Server),
    Cluster(Cluster),
}

impl Address {
    /// Reads `redis[s]://[user][:password]@host[:port][/db]`, `redis[s]-sentinel://[user][:password]@host[:port],...
    /// [/db]?master=NAME[&sentinelPassword=PASSWORD]` or `redis[s]-cluster://[user][:password]@host[:port],...`.
    ///
    /// # Errors
    /// When it is none of them; the message shows no password.
    pub(super) fn parse(url: &str) -> Result<Self, RedisError> {
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        let read = if let Some(scheme) = scheme.strip_suffix("-sentinel") {
            Sentinels::parse(scheme, rest).map(|sentinels| Self::Server(Server::Watched(sentinels)))
        } else if let Some(scheme) = scheme.strip_suffix("-cluster") {
            Cluster::parse(scheme, rest).map(Self::Cluster)
        } else {
            return Ok(Self::Server(Server::Fixed(Client::open(url)?)));
        };
        read.map_err(|reason| RedisError::from((ErrorKind::InvalidClientConfig, reason)))
    }

    /// Keeps the connections until the last user of `shared` is gone.
    pub(super) async fn keep_connected(
        self,
        response_timeout: Duration,
        shared: Weak<Shared>,
        status: watch::Sender<Connectivity>,
    ) {
        match self {
            Self::Server(server) => {
                connection::keep_connected(server, response_timeout, shared, status).await;
            }
            Self::Cluster(cluster) => {
                cluster::keep_connected(cluster, response_timeout, shared, status).await;
            }
        }
    }
}
