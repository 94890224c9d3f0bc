//! Redis, NATS and PostgreSQL outside the cluster, as they are for most users.

use std::{env, net::Ipv4Addr};

use serde_json::{Value, json};

use crate::{
    servers::{Disk, NatsServer, PostgresServer, RedisServer},
    table::Table,
};

/// Servers on this machine that the pods of the cluster reach and that a story can stop.
#[derive(Debug)]
pub struct Backends {
    /// Redis.
    pub redis: RedisServer,
    /// NATS.
    pub nats: NatsServer,
    /// PostgreSQL.
    pub postgres: PostgresServer,
}

/// Name of the Secret that holds the addresses.
pub(super) const SECRET: &str = "backends";

impl Backends {
    /// This machine, as pods see it.
    ///
    /// # Panics
    /// When the environment names something else than an address.
    pub fn host() -> Ipv4Addr {
        const OWN_CLUSTER: &str = "10.98.0.1"; // e2e/cluster/lib/settings.sh
        let host = env::var("BIRBNEST_E2E_HOST").unwrap_or_else(|_| OWN_CLUSTER.to_owned());
        let address = host.parse();
        address.unwrap_or_else(|_| panic!("BIRBNEST_E2E_HOST={host} is no IPv4 address"))
    }

    /// Starts all three on the address at which pods reach this machine.
    ///
    /// # Panics
    /// When the machine does not have that address.
    pub async fn start() -> Self {
        let host = Self::host();
        Self {
            redis: RedisServer::start_on(host).await,
            nats: NatsServer::start_on(host, Disk::Trusted).await,
            postgres: PostgresServer::start_on(host, Disk::Trusted).await,
        }
    }

    /// The Secret with their addresses.
    pub fn secret(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": SECRET },
            "stringData": {
                "redis-url": self.redis.url(),
                "nats-url": self.nats.url(),
                "postgres-url": self.postgres.url(),
            },
        })
    }

    /// The part of a nest's spec that names them; the caller adds the rest.
    pub fn spec() -> Value {
        let from = |key: &str| json!({ "urlFrom": { "secretKeyRef": { "name": SECRET, "key": key } } });
        json!({ "redis": from("redis-url"), "nats": from("nats-url"), "postgres": from("postgres-url") })
    }

    /// The table of entries of a nest that uses the default schema.
    pub fn table(&self) -> Table {
        Table::new(&self.postgres.url(), "birbnest")
    }
}
