//! A whole BirbNest on loopback: its own servers, migrated, with APIs and workers as the real binaries.

mod binaries;
mod leaders;
mod links;
mod member;
mod partitions;
mod plan;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use birbnest_core::{EntryId, StreamNames, config::Config};
use serde_json::Value;

pub use binaries::{Binary, built, migrate};
pub use links::Links;
pub use member::{Member, sum_of};
pub use plan::Plan;

use partitions::Runner;

use crate::{
    client::{Answer, ApiClient},
    ledger::Ledger,
    servers::{NatsServer, PostgresServer, RedisCluster, RedisServer, Sentinels},
    table::{Row, Table},
    wait::{eventually, eventually_within, seen},
};

/// A BirbNest on loopback. When its test fails, the logs of everybody in it are printed.
#[derive(Debug)]
pub struct House {
    /// Its Redis.
    pub redis: RedisServer,
    /// The replica and the sentinels of its Redis, if they were planned.
    pub sentinels: Option<Sentinels>,
    /// The other nodes of the cluster of which its Redis is the first master, if one was planned.
    pub redis_cluster: Option<RedisCluster>,
    links: Option<Links>,
    /// Its NATS, or the first of its cluster.
    pub nats: NatsServer,
    /// The other members of the cluster.
    pub nats_peers: Vec<NatsServer>,
    /// Its PostgreSQL.
    pub postgres: PostgresServer,
    /// The standby of its PostgreSQL, if it was planned.
    pub standby: Option<PostgresServer>,
    /// Its API processes.
    pub apis: Vec<Member>,
    /// Its workers.
    pub workers: Vec<Member>,
    /// What its processes are told, apart from where to listen.
    pub config: Config,
    /// Its table of entries.
    pub table: Table,
    runner: Runner,
}

impl House {
    /// One API and one worker with a short horizon, everything ready.
    pub async fn open() -> Self {
        Box::pin(Self::plan().open()).await
    }

    /// A house to be changed before it is opened.
    pub fn plan() -> Plan {
        Plan::default()
    }

    /// The first API.
    ///
    /// # Panics
    /// When the house has none.
    pub fn api(&self) -> &Member {
        self.apis
            .first()
            .unwrap_or_else(|| panic!("this house has no API"))
    }

    /// The first worker.
    ///
    /// # Panics
    /// When the house has none.
    pub fn worker(&self) -> &Member {
        self.workers
            .first()
            .unwrap_or_else(|| panic!("this house has no worker"))
    }

    /// A client of each API.
    pub fn clients(&self) -> Vec<ApiClient> {
        self.apis.iter().map(|api| api.client.clone()).collect()
    }

    /// The ways of the first API and the first worker to the servers.
    ///
    /// # Panics
    /// When the house has none.
    pub fn links(&self) -> &Links {
        self.links
            .as_ref()
            .unwrap_or_else(|| panic!("this house has no links"))
    }

    /// The standby, which may be a primary by now.
    ///
    /// # Panics
    /// When the house has none.
    pub fn standby(&self) -> &PostgresServer {
        self.standby
            .as_ref()
            .unwrap_or_else(|| panic!("this house has no standby"))
    }

    /// Writes a value through the first API.
    pub async fn put(&self, key: &str, value: Value) -> Answer {
        self.api().client.put(key, value).await
    }

    /// Reads an entry through the first API.
    pub async fn get(&self, key: &str) -> Answer {
        self.api().client.get(key).await
    }

    /// Deletes an entry through the first API.
    pub async fn delete(&self, key: &str) -> Answer {
        self.api().client.delete(key).await
    }

    /// Waits until PostgreSQL has a row of the key for which the condition holds.
    pub async fn until_row(&self, key: &str, condition: impl Fn(&Row) -> bool) -> Row {
        self.table.until_row(key, condition).await
    }

    /// Waits until writes are acknowledged in every partition and by whatever connection they come, and returns how long
    /// that took.
    pub async fn until_writable(&self) -> Duration {
        let (began, mut reached, mut number) = (Instant::now(), HashSet::new(), 0);
        while reached.len() < usize::from(self.layout().count()) {
            let key = format!("probe-{number}");
            number += 1;
            let id = EntryId::global(key.parse().unwrap_or_else(|error| panic!("{key}: {error}")));
            if reached.insert(self.layout().partition(id.hash())) {
                eventually("writes are acknowledged again", || async {
                    seen(self.put(&key, 1.into()).await, |answer| answer.status == 201)
                })
                .await;
            }
        }
        for api in &self.apis {
            for backend in ["nats", "redis"] {
                eventually("every core has its connection again", || api.reaches(backend)).await;
            }
        }
        began.elapsed()
    }

    /// Messages that the persist streams hold, persisted or not.
    ///
    /// # Errors
    /// When NATS does not answer or a stream is missing.
    pub async fn queued(&self) -> Result<u64, String> {
        let jetstream = self.nats.jetstream().await;
        let names = StreamNames::new(&self.config.stream.prefix);
        let mut messages = 0;
        for partition in self.layout().partitions() {
            let stream = jetstream.get_stream(names.stream(partition)).await;
            messages += stream
                .map_err(|error| error.to_string())?
                .cached_info()
                .state
                .messages;
        }
        Ok(messages)
    }

    /// Waits until everything is in PostgreSQL and nothing is left in the streams, so that only Redis and PostgreSQL can
    /// answer.
    pub async fn until_purged(&self) {
        // What a worker had in hand that was killed comes again after `ack_wait`.
        eventually_within(Duration::from_mins(1), "the streams are purged", || async {
            seen(self.queued().await?, |left| *left == 0)
        })
        .await;
    }

    /// Waits until PostgreSQL holds everything that was promised.
    pub async fn until_kept(&self, ledger: &Ledger) {
        eventually_within(
            Duration::from_mins(1),
            "every acknowledged write is in PostgreSQL",
            || async { ledger.check(&self.table.rows().await) },
        )
        .await;
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let servers = [self.redis.process(), self.nats.process(), self.postgres.process()];
            let members = self.apis.iter().chain(&self.workers).map(Member::process);
            let standby = self.standby.iter().map(PostgresServer::process);
            let peers = self.nats_peers.iter().map(NatsServer::process);
            let nodes = self.redis_cluster.iter().flat_map(RedisCluster::nodes);
            let nodes = nodes.map(RedisServer::process);
            for process in members.chain(servers).chain(standby).chain(peers).chain(nodes) {
                process.print_log();
            }
        }
    }
}
