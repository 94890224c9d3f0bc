//! A Redis that fails over: a master, a replica, and three sentinels that watch them.

use std::{fs, net::Ipv4Addr};

use super::{
    RedisServer,
    place::{free_port, fresh_directory, program},
    process::{Process, Recipe},
};
use crate::wait::{eventually, seen};

/// The name under which the master is watched.
const MASTER: &str = "nest";
/// Whom the sentinels log in as. Everybody else needs no password.
const WATCHER: [&str; 7] = ["--user", "watcher", "on", ">secret", "~*", "&*", "+@all"];

/// The sentinels of one master, and its replica.
#[derive(Debug)]
pub struct Sentinels {
    /// The replica, or the master after a failover.
    pub replica: RedisServer,
    ports: Vec<u16>,
    processes: Vec<Process>,
}

impl Sentinels {
    /// Starts a master, a replica of it and three sentinels; returns when these know each other and the replica.
    ///
    /// # Panics
    /// When somebody does not come up.
    pub async fn start() -> (RedisServer, Self) {
        let master = RedisServer::start_with(Ipv4Addr::LOCALHOST, &WATCHER).await;
        let place = [
            master.address().ip().to_string(),
            master.address().port().to_string(),
        ];
        let replica = [
            "--replicaof",
            &place[0],
            &place[1],
            "--repl-diskless-sync-delay",
            "0",
        ];
        let replica =
            RedisServer::start_with(Ipv4Addr::LOCALHOST, &[&WATCHER[..], &replica[..]].concat()).await;
        let (ports, processes) = (0..3).map(|_| sentinel(&place)).unzip();
        let group = Self {
            replica,
            ports,
            processes,
        };
        for process in &group.processes {
            process.start();
        }
        group.until_acquainted().await;
        (master, group)
    }

    /// Their address.
    pub fn url(&self) -> String {
        let places: Vec<_> = self
            .ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        format!("redis-sentinel://{}/0?master={MASTER}", places.join(","))
    }

    /// Lets a server answer the sentinels, and nobody else, with refusals: to them it is away.
    pub async fn lose_sight_of(&self, server: &RedisServer) {
        let refuse = ["ACL", "SETUSER", "watcher", "-@all", "+auth"];
        server.run::<()>(&refuse).await;
    }

    /// Lets it answer them again.
    pub async fn regain_sight_of(&self, server: &RedisServer) {
        server.run::<()>(&["ACL", "SETUSER", "watcher", "+@all"]).await;
    }

    async fn until_acquainted(&self) {
        for port in &self.ports {
            eventually("a sentinel knows the others and the replica", || async {
                let client = redis::Client::open((Ipv4Addr::LOCALHOST.to_string(), *port))?;
                let mut connection = client.get_multiplexed_async_connection().await?;
                let mut ask = redis::cmd("INFO");
                let info: String = ask.arg("sentinel").query_async(&mut connection).await?;
                seen(info, |info| {
                    info.contains("status=ok") && info.contains("slaves=1,sentinels=3")
                })
                .map_err(anyhow::Error::msg)
            })
            .await;
        }
    }
}

fn sentinel(master: &[String; 2]) -> (u16, Process) {
    let (port, directory) = (free_port(), fresh_directory("sentinel"));
    let [host, at] = master;
    let settings = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nprotected-mode no\n\
         sentinel monitor {MASTER} {host} {at} 2\nsentinel down-after-milliseconds {MASTER} 1000\n\
         sentinel failover-timeout {MASTER} 5000\nsentinel auth-user {MASTER} watcher\n\
         sentinel auth-pass {MASTER} secret\n",
        directory.display()
    );
    let file = directory.join("sentinel.conf");
    fs::write(&file, settings).unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
    let recipe = Recipe {
        program: program("redis-server", "BIRBNEST_REDIS_SERVER", &[]),
        arguments: vec![file.into(), "--sentinel".into()],
        ..Recipe::default()
    };
    (port, Process::new("sentinel", recipe, &directory))
}
