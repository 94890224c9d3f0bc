//! A real NATS server with JetStream on disk.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    process::Command,
};

use async_nats::jetstream;
use futures::future::join_all;
use tokio::sync::OnceCell;

use super::{
    Disk,
    disk::SmallDisk,
    place::{free_port, fresh_directory, program, unique},
    process::{Process, Recipe},
};
use crate::wait::{eventually, seen};

/// A NATS server. Its store survives a restart and a kill -9.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    address: SocketAddrV4,
    /// Where it says how it is: with every member of a cluster.
    monitor: Option<SocketAddrV4>,
    store: PathBuf,
    copy: PathBuf,
    /// Unmounted after the server's end.
    disk: Option<SmallDisk>,
}

impl NatsServer {
    /// The one that the tests of this binary share, each with its own stream prefix. Nobody stops it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<NatsServer> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::start_new(Disk::Trusted)).await
    }

    /// One of the caller's own, on loopback.
    pub async fn start_new(disk: Disk) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST, disk).await
    }

    /// One of the caller's own, on this address of the machine.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_on(host: Ipv4Addr, disk: Disk) -> Self {
        let address = SocketAddrV4::new(host, free_port());
        let server = Self::new(address, disk, None, "");
        server.start().await;
        server
    }

    /// Three on loopback that keep streams together; returns when they have a leader.
    ///
    /// # Panics
    /// When they do not come up.
    pub async fn start_cluster() -> Vec<Self> {
        let routes: Vec<_> = (0..3)
            .map(|_| SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port()))
            .collect();
        let list = routes
            .iter()
            .map(|route| format!("\"nats://{route}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let member = |route: &SocketAddrV4| {
            let [address, monitor] = [(); 2].map(|()| SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port()));
            let cluster = format!(
                "http: \"{monitor}\"\ncluster {{ name: e2e, listen: \"{route}\", routes: [{list}] }}\n"
            );
            Self::new(address, Disk::Trusted, Some(monitor), &cluster)
        };
        let members: Vec<_> = routes.iter().map(member).collect();
        // None of them answers before there are two.
        for member in &members {
            member.process.start();
        }
        join_all(members.iter().map(Self::until_ready)).await;
        members
    }

    fn new(address: SocketAddrV4, disk: Disk, monitor: Option<SocketAddrV4>, cluster: &str) -> Self {
        let directory = fresh_directory("nats");
        let place = directory.join("disk");
        let small = (disk == Disk::Small).then(|| SmallDisk::mount(&place));
        let store = place.join("store");
        let settings = settings(address, &store, disk) + cluster;
        let process = Process::new("nats", recipe(&settings, &directory), &directory);
        Self {
            process,
            address,
            monitor,
            store,
            copy: directory.join("copy"),
            disk: small,
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// What it calls itself among the members of its cluster.
    pub fn name(&self) -> String {
        format!("e2e_{}", self.address.port())
    }

    /// A stream prefix that nobody else on this server has.
    pub fn unique_prefix() -> String {
        format!("cache_{}", unique())
    }

    /// Starts it again on the same port and store. A member of a cluster is back when it has everything that the others
    /// have: until then the next one must not be taken away, just as Kubernetes waits for `/healthz`.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(&self) {
        self.process.start();
        self.until_ready().await;
    }

    async fn until_ready(&self) {
        eventually("JetStream answers", || async {
            self.process.assert_running();
            let client = self.connect().await.map_err(|error| error.to_string())?;
            jetstream::new(client)
                .query_account()
                .await
                .map_err(|error| error.to_string())
        })
        .await;
        if let Some(monitor) = self.monitor {
            eventually("the member is up to date", || healthy(monitor)).await;
        }
    }

    /// Ends it in order.
    pub async fn stop(&self) {
        self.process.stop().await;
    }

    /// Kills it; the store stays.
    pub fn kill9(&self) {
        self.process.kill9();
    }

    /// Keeps a copy of the store, to come back to it. The server must not be running.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn copy_store(&self) {
        replace(&self.store, &self.copy);
    }

    /// Puts the copy in the place of the store. The server must not be running.
    ///
    /// # Panics
    /// When there is no copy.
    pub fn restore_store(&self) {
        replace(&self.copy, &self.store);
    }

    /// Leaves no room on its disk, which must be [`Disk::Small`].
    ///
    /// # Panics
    /// When it is not.
    pub fn fill_disk(&self) {
        self.small_disk().fill();
    }

    /// Gives it room again. A stream whose write has failed stays silent until the server is started again.
    ///
    /// # Panics
    /// When its disk was not filled.
    pub fn clear_disk(&self) {
        self.small_disk().clear();
    }

    fn small_disk(&self) -> &SmallDisk {
        self.disk
            .as_ref()
            .unwrap_or_else(|| panic!("this NATS has no disk of its own"))
    }

    /// The process, to be frozen.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A connection for looking into it.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn connect(&self) -> Result<async_nats::Client, async_nats::ConnectError> {
        async_nats::connect(self.url()).await
    }

    /// `JetStream`, over a connection of its own.
    ///
    /// # Panics
    /// When it cannot be reached.
    pub async fn jetstream(&self) -> jetstream::Context {
        match self.connect().await {
            Ok(client) => jetstream::new(client),
            Err(error) => panic!("NATS: {error}"),
        }
    }
}

async fn healthy(monitor: SocketAddrV4) -> Result<(), String> {
    let asked = reqwest::get(format!("http://{monitor}/healthz")).await;
    let answer = asked.map_err(|error| error.to_string())?;
    let (status, text) = (answer.status(), answer.text().await);
    seen((status, text), |(status, _)| status.is_success()).map(drop)
}

/// Makes `to` a copy of the directory `from`.
fn replace(from: &Path, to: &Path) {
    // It is not there the first time.
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    let done = copied.is_ok_and(|status| status.success());
    assert!(done, "cannot copy {} to {}", from.display(), to.display());
}

fn recipe(settings: &str, directory: &Path) -> Recipe {
    let configuration = directory.join("nats.conf");
    if let Err(error) = fs::write(&configuration, settings) {
        panic!("cannot write {}: {error}", configuration.display());
    }
    let program = program("nats-server", "BIRBNEST_NATS_SERVER", &[]);
    Recipe {
        program,
        arguments: vec!["-c".into(), configuration.into()],
        ..Recipe::default()
    }
}

/// Pings as BirbNest asks for; room on paper for the limits of many streams, of which each reserves its own.
fn settings(address: SocketAddrV4, store: &Path, disk: Disk) -> String {
    let store = store.display();
    let sync_interval = match disk {
        Disk::Synced => "always",
        Disk::Trusted | Disk::Small => "2m",
    };
    format!(
        "listen: \"{address}\"\nserver_name: e2e_{}\nping_interval: \"2s\"\nping_max: 2\n\
         jetstream {{ store_dir: \"{store}\", max_file_store: 10TB, max_memory_store: 1GB, \
         sync_interval: \"{sync_interval}\" }}\n",
        address.port()
    )
}
