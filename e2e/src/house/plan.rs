//! How many live in a house, and what they are told.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use birbnest_core::config::{ApiConfig, Config, Period};

use super::{
    Binary, House, Member,
    links::{Links, addresses},
    migrate,
    partitions::Runner,
};
use crate::{
    client::ApiClient,
    servers::{
        Disk, NatsServer, PostgresServer, RedisCluster, RedisServer, Sentinels, free_port, fresh_directory,
    },
    table::Table,
};

/// A house that is not open yet.
#[derive(Clone, Debug)]
pub struct Plan {
    apis: usize,
    workers: usize,
    links: bool,
    redis: RedisPlan,
    nats: Disk,
    postgres: Disk,
    standby: bool,
    config: Config,
}

#[derive(Clone, Copy, Debug)]
enum RedisPlan {
    Alone,
    Sentinels,
    Cluster,
}

impl Default for Plan {
    /// One API, one worker. Short periods, so that the purge, the sweep and what follows from them happen within a story.
    fn default() -> Self {
        let mut config = Config::default();
        config.stream.horizon = Period::from_secs(2);
        config.stream.janitor_interval = Period::from_millis(500);
        Self {
            apis: 1,
            workers: 1,
            links: false,
            redis: RedisPlan::Alone,
            nats: Disk::Trusted,
            postgres: Disk::Trusted,
            standby: false,
            config,
        }
    }
}

impl Plan {
    /// With so many API processes.
    #[must_use]
    pub fn apis(self, apis: usize) -> Self {
        Self { apis, ..self }
    }

    /// With so many workers.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// With a NATS that waits for the disk or not.
    #[must_use]
    pub fn nats(self, nats: Disk) -> Self {
        Self { nats, ..self }
    }

    /// With a cluster of three NATS servers, which keep every message three times.
    #[must_use]
    pub fn nats_cluster(mut self) -> Self {
        self.config.stream.replicas = 3;
        self
    }

    /// With links that can be cut between the servers and the first of the APIs and workers; the others go straight there.
    #[must_use]
    pub fn links(self) -> Self {
        Self { links: true, ..self }
    }

    /// With a Redis that has a replica, and three sentinels, which everybody asks for the master.
    #[must_use]
    pub fn redis_sentinels(self) -> Self {
        Self {
            redis: RedisPlan::Sentinels,
            ..self
        }
    }

    /// With a Redis Cluster of three masters and three replicas.
    #[must_use]
    pub fn redis_cluster(self) -> Self {
        Self {
            redis: RedisPlan::Cluster,
            ..self
        }
    }

    /// With a PostgreSQL that waits for the disk or not.
    #[must_use]
    pub fn postgres(self, postgres: Disk) -> Self {
        Self { postgres, ..self }
    }

    /// With a standby of PostgreSQL; the address names it first.
    #[must_use]
    pub fn standby(self) -> Self {
        Self {
            standby: true,
            ..self
        }
    }

    /// With a changed configuration.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Starts everything; returns when everybody is ready.
    ///
    /// # Panics
    /// When somebody does not come up.
    pub async fn open(self) -> House {
        Box::pin(self.start()).await
    }

    async fn start(self) -> House {
        let directory = fresh_directory("house");
        let ((redis, redis_url, sentinels, redis_cluster), mut nats) =
            tokio::join!(self.redis_servers(), self.nats_servers());
        let postgres = PostgresServer::start_new(self.postgres).await;
        let standby = if self.standby {
            Some(postgres.start_standby(self.postgres).await)
        } else {
            None
        };
        let nats_urls = nats.iter().map(NatsServer::url).collect::<Vec<_>>().join(",");
        let owner = postgres_url(&postgres, standby.as_ref());
        // The migration makes this role: everybody in the house reads and writes rows and can do nothing else.
        let app = owner.replacen("postgres@", "birbnest_app@", 1);
        let urls = [redis_url, nats_urls, app];
        let mut addresses = addresses(urls.clone());
        addresses.push(("BIRBNEST_POSTGRES_OWNER_URL".to_owned(), owner));
        migrate(&self.config, &addresses, &directory).await;
        let places = [redis.address(), nats[0].address(), postgres.address()].map(SocketAddr::from);
        let links = if self.links {
            Some(Links::to(places).await)
        } else {
            None
        };
        let linked = links
            .as_ref()
            .map_or_else(|| addresses.clone(), |links| links.addresses_for(urls, places));
        let addresses_of = |number| if number == 0 { &linked } else { &addresses };
        let apis = (0..self.apis)
            .map(|i| self.api(i, addresses_of(i), &directory))
            .collect();
        let workers = (0..self.workers)
            .map(|i| self.worker(i, addresses_of(i), &directory))
            .collect();
        let table = Table::new(&postgres.url(), &self.config.postgres.schema);
        let house = House {
            redis,
            sentinels,
            redis_cluster,
            links,
            nats: nats.remove(0),
            nats_peers: nats,
            postgres,
            standby,
            apis,
            workers,
            runner: Runner::new(&self.config, addresses, directory),
            config: self.config,
            table,
        };
        for member in house.apis.iter().chain(&house.workers) {
            member.process().start();
        }
        for member in house.apis.iter().chain(&house.workers) {
            member.until_ready().await;
        }
        house
    }

    async fn redis_servers(&self) -> (RedisServer, String, Option<Sentinels>, Option<RedisCluster>) {
        match self.redis {
            RedisPlan::Alone => {
                let server = RedisServer::start_new().await;
                let url = server.url();
                (server, url, None, None)
            }
            RedisPlan::Sentinels => {
                let (master, sentinels) = Sentinels::start().await;
                (master, sentinels.url(), Some(sentinels), None)
            }
            RedisPlan::Cluster => {
                let (master, cluster) = RedisCluster::start().await;
                (master, cluster.url().to_owned(), None, Some(cluster))
            }
        }
    }

    async fn nats_servers(&self) -> Vec<NatsServer> {
        match self.config.stream.replicas {
            1 => vec![NatsServer::start_new(self.nats).await],
            _ => NatsServer::start_cluster().await,
        }
    }

    fn api(&self, number: usize, addresses: &[(String, String)], directory: &Path) -> Member {
        let (mut config, port) = (self.config.clone(), free_port());
        config.api.listen = (Ipv4Addr::LOCALHOST, port).into();
        let binary = Binary::new("birbnest-api", &config, addresses);
        Member::new(
            binary.process(&format!("api-{number}"), directory),
            client_of(&config.api),
        )
    }

    fn worker(&self, number: usize, addresses: &[(String, String)], directory: &Path) -> Member {
        let (mut config, port) = (self.config.clone(), free_port());
        config.worker.listen = (Ipv4Addr::LOCALHOST, port).into();
        let binary = Binary::new("birbnest-worker", &config, addresses);
        let client = ApiClient::new(&format!("http://{}", config.worker.listen));
        Member::new(binary.process(&format!("worker-{number}"), directory), client)
    }
}

fn client_of(api: &ApiConfig) -> ApiClient {
    let Some(folder) = &api.tls else {
        return ApiClient::new(&format!("http://{}", api.listen));
    };
    let certificate = std::fs::read_to_string(folder.join("tls.crt"));
    let certificate = certificate.unwrap_or_else(|error| panic!("no certificate: {error}"));
    ApiClient::trusting(&certificate, "localhost", api.listen)
}

fn postgres_url(primary: &PostgresServer, standby: Option<&PostgresServer>) -> String {
    let url = primary.url();
    match standby {
        Some(standby) => {
            url.replace('@', &format!("@{},", standby.address())) + "?target_session_attrs=read-write"
        }
        None => url,
    }
}
