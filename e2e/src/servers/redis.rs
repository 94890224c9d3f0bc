//! A real Redis.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    time::Duration,
};

use redis::AsyncConnectionConfig;
use tokio::sync::OnceCell;

use super::{
    place::{free_port, fresh_directory, program},
    process::{Process, Recipe},
};
use crate::wait::{eventually, eventually_within, seen};

/// How long sentinels may take to agree on a master and a replica: one that did not run for two seconds, on a busy machine,
/// watches for half a minute before it acts again.
pub const FAILOVER: Duration = Duration::from_mins(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A Redis server that keeps nothing over a restart, unless a snapshot was asked for.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    address: SocketAddrV4,
}

impl RedisServer {
    /// The one that the tests of this binary share, each with its own key prefix. Nobody stops or flushes it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<RedisServer> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::start_on(Ipv4Addr::LOCALHOST)).await
    }

    /// One of the caller's own, on loopback.
    pub async fn start_new() -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST).await
    }

    /// One of the caller's own, on this address of the machine.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_on(host: Ipv4Addr) -> Self {
        Self::start_with(host, &[]).await
    }

    /// The same with further settings.
    pub(super) async fn start_with(host: Ipv4Addr, settings: &[&str]) -> Self {
        let address = SocketAddrV4::new(host, free_port());
        let directory = fresh_directory("redis");
        let process = Process::new("redis", recipe(address, &directory, settings), &directory);
        let server = Self { process, address };
        server.start().await;
        server
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Sends it a command.
    ///
    /// # Panics
    /// When it refuses or does not answer.
    pub async fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let answer = self.ask(command).await;
        answer.unwrap_or_else(|error| panic!("Redis: {command:?}: {error}"))
    }

    /// The same for a server that may be away.
    ///
    /// # Errors
    /// When it refuses or does not answer.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let mut connection = self.connect().await?;
        let (name, arguments) = command.split_first().unwrap_or((&"PING", &[]));
        redis::cmd(name).arg(arguments).query_async(&mut connection).await
    }

    /// Whether it answers, and takes writes.
    pub async fn is_master(&self) -> bool {
        let info = self.ask::<String>(&["INFO", "replication"]).await;
        info.is_ok_and(|info| info.contains("role:master"))
    }

    /// Waits until it takes writes. A promotion ends the connections of clients, also of the one that asks.
    ///
    /// # Panics
    /// When it does not for [`FAILOVER`].
    pub async fn until_master(&self) {
        eventually_within(FAILOVER, "the replica is the master", || async {
            seen(self.is_master().await, |master| *master)
        })
        .await;
    }

    /// Whether it gets everything that `master` has.
    ///
    /// # Errors
    /// With what it says of itself, if it does not.
    pub async fn follows(&self, master: &Self) -> Result<(), String> {
        let port = format!("master_port:{}\r", master.address.port());
        let info = self.ask::<String>(&["INFO", "replication"]).await;
        let following = |info: &String| info.contains(&port) && info.contains("master_link_status:up");
        seen(info.map_err(|error| error.to_string())?, following).map(drop)
    }

    /// Starts it again, empty, on the same port.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(&self) {
        self.process.start();
        eventually("Redis answers a PING", || async {
            self.process.assert_running();
            self.ask::<String>(&["PING"]).await
        })
        .await;
    }

    /// Ends it, as a restart would.
    pub async fn stop(&self) {
        self.process.stop().await;
    }

    /// Writes a snapshot, with which it starts from now on, however old that is by then.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn save(&self) {
        self.run::<()>(&["SAVE"]).await;
    }

    /// Forgets everything (`FLUSHALL`).
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn flush(&self) {
        self.run::<()>(&["FLUSHALL"]).await;
    }

    /// The process, to be killed or frozen.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A connection for looking into it.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        // A snapshot takes its time on a busy disk.
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_WITHIN));
        redis::Client::open(self.url())?
            .get_multiplexed_async_connection_with_config(&patient)
            .await
    }
}

fn recipe(address: SocketAddrV4, directory: &Path, settings: &[&str]) -> Recipe {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    // Nothing but the network around it protects this server, and it holds nothing worth protecting.
    let open = ["--protected-mode", "no"];
    let arguments = [
        "--port",
        &port,
        "--bind",
        &host,
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
    ];
    let arguments = open
        .iter()
        .chain(settings)
        .chain(&arguments)
        .map(Into::into)
        .chain([directory.into()])
        .collect();
    let program = program("redis-server", "BIRBNEST_REDIS_SERVER", &[]);
    Recipe {
        program,
        arguments,
        ..Recipe::default()
    }
}
