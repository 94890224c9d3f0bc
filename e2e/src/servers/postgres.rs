//! A real PostgreSQL.

use std::{
    ffi::{OsStr, OsString},
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
};

use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tokio::sync::OnceCell;

use super::{
    Disk,
    place::{free_port, fresh_directory, program, unique},
    process::{Process, Recipe},
};
use crate::wait::{eventually, seen};

/// Who runs the server when the tests run as root, and who owns the databases.
const OWNER: &str = "postgres";

/// A PostgreSQL server. Its data survive a restart and a kill -9.
#[derive(Debug)]
pub struct PostgresServer {
    process: Process,
    address: SocketAddrV4,
    data: PathBuf,
}

impl PostgresServer {
    /// The one that the tests of this binary share, each with its own database. Nobody stops it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<PostgresServer> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::start_new(Disk::Trusted)).await
    }

    /// One of the caller's own, on loopback.
    pub async fn start_new(disk: Disk) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST, disk).await
    }

    /// One of the caller's own, on this address of the machine, which lets everybody in.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_on(host: Ipv4Addr, disk: Disk) -> Self {
        let directory = fresh_directory("postgres");
        own(&directory);
        let server = Self::new(host, &directory, disk);
        initialise(&server.data).await;
        server.start().await;
        server
    }

    fn new(host: Ipv4Addr, directory: &Path, disk: Disk) -> Self {
        let (address, data) = (SocketAddrV4::new(host, free_port()), directory.join("data"));
        let process = Process::new("postgres", recipe(address, &data, directory, disk), directory);
        Self {
            process,
            address,
            data,
        }
    }

    /// Starts a standby that follows this server, asynchronously.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_standby(&self, disk: Disk) -> Self {
        let directory = fresh_directory("postgres-standby");
        own(&directory);
        let standby = Self::new(*self.address.ip(), &directory, disk);
        standby.follow(self).await;
        standby
    }

    /// Forgets everything and starts as a standby that follows `primary`, asynchronously. It must not be running.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn follow(&self, primary: &Self) {
        // It is not there the first time.
        let _ = fs::remove_dir_all(&self.data);
        let (host, port) = (
            primary.address.ip().to_string(),
            primary.address.port().to_string(),
        );
        let from = ["-h", &host, "-p", &port, "-U", OWNER];
        let how = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-D"];
        let arguments = from.iter().chain(&how).map(Into::into);
        let arguments = arguments.chain([self.data.clone().into()]).collect();
        let directory = fresh_directory("pg_basebackup");
        run_as_owner("pg_basebackup", arguments, &directory).await;
        self.start().await;
    }

    /// Waits until a standby gets everything as it is committed.
    ///
    /// # Panics
    /// When none does in half a minute.
    pub async fn until_followed(&self) {
        eventually("a standby follows", || async {
            let streaming = "SELECT FROM pg_stat_replication WHERE state = 'streaming'";
            let streaming = self.count(streaming).await?;
            anyhow::ensure!(streaming == 1, "{streaming} standbys follow");
            anyhow::Ok(())
        })
        .await;
    }

    /// Makes a primary of this standby.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn promote(&self) {
        self.run("SELECT pg_promote()").await;
    }

    /// Makes this standby stop following, so that it lacks whatever is committed from now on.
    ///
    /// # Panics
    /// When it goes on.
    pub async fn fall_behind(&self) {
        self.run("ALTER SYSTEM SET primary_conninfo = ''").await;
        self.run("SELECT pg_reload_conf()").await;
        eventually("the standby does not follow any more", || async {
            let following = self.count("SELECT FROM pg_stat_wal_receiver").await?;
            anyhow::ensure!(following == 0, "it follows");
            anyhow::Ok(())
        })
        .await;
    }

    /// How many rows a query finds.
    async fn count(&self, query: &'static str) -> sqlx::Result<usize> {
        let mut connection = PgConnection::connect(&self.url()).await?;
        Ok(sqlx::query(query).fetch_all(&mut connection).await?.len())
    }

    /// The address of its maintenance database.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Makes a database that nobody else uses and returns its address.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn fresh_database(&self) -> String {
        let name = format!("test_{}", unique());
        self.run(&format!("CREATE DATABASE {name}")).await;
        self.url_of(&name)
    }

    /// Runs SQL as the superuser in the maintenance database.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn run(&self, sql: &str) {
        let result = async {
            let mut connection = PgConnection::connect(&self.url()).await?;
            connection.execute(sqlx::AssertSqlSafe(sql)).await?;
            connection.close().await
        };
        result
            .await
            .unwrap_or_else(|error| panic!("PostgreSQL: {sql}: {error}"));
    }

    /// Makes a role that may log in without a password and make schemas, with these other options of `CREATE ROLE`; returns
    /// the address by which it gets to the maintenance database.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn create_role(&self, name: &str, options: &str) -> String {
        let create = format!("CREATE ROLE {name} LOGIN {options}");
        let grant = format!("GRANT CREATE ON DATABASE postgres TO {name}");
        self.run(&format!("{create}; {grant}")).await;
        format!("postgres://{name}@{}/postgres", self.address)
    }

    /// How many sessions a role has.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn sessions_of(&self, role: &str) -> usize {
        let counted = async {
            let mut connection = PgConnection::connect(&self.url()).await?;
            sqlx::query_scalar::<_, i64>("SELECT count(*) FROM pg_stat_activity WHERE usename = $1")
                .bind(role)
                .fetch_one(&mut connection)
                .await
        };
        let counted = counted
            .await
            .unwrap_or_else(|error| panic!("PostgreSQL: sessions of {role}: {error}"));
        usize::try_from(counted).unwrap_or_default()
    }

    /// Whether it refuses to write, as a standby would: new sessions do when this returns, and older ones in a moment.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn read_only(&self, on: bool) {
        let setting = if on { "on" } else { "off" };
        self.run(&format!(
            "ALTER SYSTEM SET default_transaction_read_only = {setting}"
        ))
        .await;
        self.run("SELECT pg_reload_conf()").await;
        eventually("the setting is read", || async {
            let mut connection = PgConnection::connect(&self.url()).await?;
            let shown: String = sqlx::query_scalar("SHOW default_transaction_read_only")
                .fetch_one(&mut connection)
                .await?;
            let told = seen(shown, |shown| shown == setting);
            told.map_err(|shown| sqlx::Error::Protocol(format!("it is {shown}")))
        })
        .await;
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://{OWNER}@{}/{database}", self.address)
    }

    /// Starts it again on the same port and data. The sessions of a killed one hold its shared memory for a moment, and
    /// while they do a new one gives up at once: then it is started once more.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(&self) {
        self.process.start();
        eventually("PostgreSQL accepts connections", || async {
            if let Some(status) = self.process.ended() {
                self.process.start();
                anyhow::bail!("it ended with {status}: {}", self.process.log());
            }
            Ok(PgConnection::connect(&self.url()).await?.close().await?)
        })
        .await;
    }

    /// Ends it at once and in order, cutting every connection (SIGINT, its "fast" shutdown).
    pub async fn stop(&self) {
        self.process.signal("INT");
        self.process.until_ended().await;
    }

    /// Kills it (SIGKILL to the postmaster; its children notice and end too).
    pub fn kill9(&self) {
        self.process.kill9();
    }

    /// Takes every connection, those of others too, and returns them: nobody else gets one until they are dropped.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn take_all_connections(&self) -> Vec<PgConnection> {
        const OTHERS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                              WHERE backend_type = 'client backend' AND application_name <> 'occupant'";
        let options =
            PgConnectOptions::from_str(&self.url()).map(|options| options.application_name("occupant"));
        let options = options.unwrap_or_else(|error| panic!("PostgreSQL: {error}"));
        let mut taken = vec![];
        loop {
            while let Ok(connection) = PgConnection::connect_with(&options).await {
                taken.push(connection);
            }
            let Some(first) = taken.first_mut() else {
                panic!("PostgreSQL lets nobody in")
            };
            let ended = sqlx::query(OTHERS).fetch_all(first).await;
            let ended = ended.unwrap_or_else(|error| panic!("PostgreSQL: {OTHERS}: {error}"));
            if ended.is_empty() {
                return taken;
            }
        }
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn recipe(address: SocketAddrV4, data: &Path, sockets: &Path, disk: Disk) -> Recipe {
    let sync = if disk == Disk::Synced {
        "fsync=on"
    } else {
        "fsync=off"
    };
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let sockets = format!("unix_socket_directories={}", sockets.display());
    let text: [&str; 11] = [
        "-p",
        &port,
        "-h",
        &host,
        "-c",
        sync,
        "-c",
        &sockets,
        "-c",
        "max_connections=300",
        "-D",
    ];
    let arguments = text.iter().map(Into::into).chain([data.into()]).collect();
    Recipe {
        program: tool("postgres"),
        arguments,
        user: Some(OWNER),
        ..Recipe::default()
    }
}

/// Makes `data` a copy of a data directory that `initdb` made once for this process.
async fn initialise(data: &Path) {
    static TEMPLATE: OnceCell<PathBuf> = OnceCell::const_new();
    let template = TEMPLATE.get_or_init(template).await;
    run_to_end("cp", [OsStr::new("-a"), template.as_os_str(), data.as_os_str()]).await;
}

async fn template() -> PathBuf {
    let directory = fresh_directory("postgres-template");
    own(&directory);
    let data = directory.join("data");
    let settings = [
        "--no-sync",
        "--no-locale",
        "--encoding=UTF8",
        "--auth=trust",
        "--username",
        OWNER,
        "-D",
    ];
    let arguments = settings.iter().map(Into::into).chain([data.clone().into()]);
    run_as_owner("initdb", arguments.collect(), &directory).await;
    // Nothing but the network around it protects this server, and it holds nothing worth protecting.
    let everybody = fs::write(
        data.join("pg_hba.conf"),
        "local all all trust\nhost all all all trust\nhost replication all all trust\n",
    );
    everybody.unwrap_or_else(|error| panic!("cannot write pg_hba.conf: {error}"));
    data
}

/// Runs one of PostgreSQL's tools to its end.
async fn run_as_owner(name: &str, arguments: Vec<OsString>, directory: &Path) {
    let recipe = Recipe {
        program: tool(name),
        arguments,
        user: Some(OWNER),
        ..Recipe::default()
    };
    let process = Process::new(name, recipe, directory);
    process.start();
    let status = process.until_ended().await;
    assert!(status.success(), "{name} ended with {status}:\n{}", process.log());
}

/// Gives the directory to the server's user; nothing to do when the tests are not root.
fn own(directory: &Path) {
    let id = |flag: &str| {
        let output = Command::new("id")
            .args([flag, OWNER])
            .stderr(Stdio::null())
            .output()
            .ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse::<u32>().ok()
    };
    let changed = chown(directory, id("-u"), id("-g"));
    drop(changed); // Without the right to do it we run the server as ourselves, and own the directory already.
}

fn tool(name: &str) -> PathBuf {
    let variable = format!("BIRBNEST_{}", name.to_uppercase());
    program(name, &variable, &["/usr/lib/postgresql/15/bin"])
}

async fn run_to_end<const N: usize>(program: &str, arguments: [&OsStr; N]) {
    let status = tokio::process::Command::new(program)
        .args(arguments)
        .status()
        .await;
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{program} ended with {status:?}"
    );
}
