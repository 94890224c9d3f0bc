//! The ways from some of the house's processes to its servers.

use std::net::SocketAddr;

use crate::servers::Link;

/// The variables that tell where Redis, NATS and PostgreSQL are.
pub(super) fn addresses(urls: [String; 3]) -> Vec<(String, String)> {
    let names = ["BIRBNEST_REDIS_URL", "BIRBNEST_NATS_URL", "BIRBNEST_POSTGRES_URL"];
    names.map(str::to_owned).into_iter().zip(urls).collect()
}

/// Links from the first API and the first worker to the servers. Everybody else goes straight to them.
#[derive(Debug)]
pub struct Links {
    /// To Redis.
    pub redis: Link,
    /// To NATS, or the first of its cluster.
    pub nats: Link,
    /// To PostgreSQL.
    pub postgres: Link,
}

impl Links {
    /// Links to servers at these addresses: Redis, NATS, PostgreSQL.
    pub(super) async fn to([redis, nats, postgres]: [SocketAddr; 3]) -> Self {
        Self {
            redis: Link::to(redis).await,
            nats: Link::to(nats).await,
            postgres: Link::to(postgres).await,
        }
    }

    /// The variables for those who use the links: these URLs, with where a link begins in the place of its server.
    pub(super) fn addresses_for(&self, urls: [String; 3], servers: [SocketAddr; 3]) -> Vec<(String, String)> {
        let mut places = servers.iter().zip([&self.redis, &self.nats, &self.postgres]);
        addresses(urls.map(|url| {
            places.next().map_or(url.clone(), |(server, link)| {
                url.replace(&server.to_string(), &link.address().to_string())
            })
        }))
    }
}
