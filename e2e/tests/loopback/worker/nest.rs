//! A nest without an API, and a worker in this process.

use async_nats::jetstream::{
    self,
    consumer::{self, Consumer},
};
use birbnest_core::{
    Content, EntryId, Partition, Record, StreamNames, Timestamp, Version,
    config::{Config, Period, Secrets, StreamConfig},
};
use birbnest_e2e::{
    servers::{Disk, NatsServer, PostgresServer, RedisServer},
    wait::{eventually, seen},
};
use birbnest_migrate::Tasks;
use birbnest_service::Shutdown;
use birbnest_stores::{fence::FenceWatch, jetstream::Log, postgres::Postgres};
use birbnest_worker::RunError;
use futures::TryStreamExt;
use serde_json::value::RawValue;
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) const PARTITION: Partition = Partition(0);

/// A nest without an API: the test appends to the log itself.
pub(crate) struct Nest {
    pub(crate) config: Config,
    pub(crate) secrets: Secrets,
    pub(crate) postgres: Postgres,
    log: Log,
    pub(crate) jetstream: jetstream::Context,
}

/// A running worker.
pub(crate) struct Worker {
    pub(crate) shutdown: Shutdown,
    pub(crate) url: String,
    task: JoinHandle<Result<(), RunError>>,
}

impl Nest {
    /// On the shared servers, with a short horizon.
    pub(crate) async fn open() -> Self {
        Self::with(Config::default()).await
    }

    /// On the shared servers, with a changed configuration.
    pub(crate) async fn with(config: Config) -> Self {
        let (redis, nats) = (RedisServer::shared().await, NatsServer::shared().await);
        let database = PostgresServer::shared().await.fresh_database().await;
        Self::at(redis, nats, database, config).await
    }

    /// With a PostgreSQL of its own, for a test that lets it fail.
    pub(crate) async fn apart(config: Config) -> (Self, PostgresServer) {
        let (redis, nats) = (RedisServer::shared().await, NatsServer::shared().await);
        let server = PostgresServer::start_new(Disk::Trusted).await;
        let nest = Self::at(redis, nats, server.fresh_database().await, config).await;
        (nest, server)
    }

    /// Forgets what was acknowledged: what the stream still holds is delivered again.
    pub(crate) async fn make_consumer_anew(&self) {
        let stream = self.stream().await;
        let name = self.consumer().await;
        let settings = stream.consumer_info(&name).await.unwrap().config;
        stream.delete_consumer(&name).await.unwrap();
        let made: Consumer<consumer::Config> = stream.create_consumer(settings).await.unwrap();
        assert_eq!(made.cached_info().num_ack_pending, 0);
    }

    pub(crate) async fn at(
        redis: &RedisServer,
        nats: &NatsServer,
        database: String,
        mut config: Config,
    ) -> Self {
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        config.stream.prefix = NatsServer::unique_prefix();
        config.stream.partitions = 1;
        config.redis.key_prefix.clone_from(&config.stream.prefix);
        if config.stream.horizon == StreamConfig::default().horizon {
            config.stream.horizon = Period::from_millis(1_000);
        }
        config.stream.janitor_interval = Period::from_millis(100);
        let secrets = Secrets {
            redis_url: redis.url(),
            nats_url: nats.url(),
            postgres_url: database,
            postgres_owner_url: None,
        };
        birbnest_migrate::run(
            &config,
            &secrets,
            Tasks {
                with_streams: true,
                ..Tasks::default()
            },
        )
        .await
        .unwrap();
        let postgres = Postgres::connect(&secrets.postgres_url, "test", &config.postgres).unwrap();
        let fences = FenceWatch::start(postgres.clone());
        let on_outage = config.cache.on_queue_outage;
        let log = Log::start(
            &secrets.nats_url,
            &config.stream,
            postgres.clone(),
            fences,
            on_outage,
        )
        .unwrap();
        Self {
            config,
            secrets,
            postgres,
            log,
            jetstream: nats.jetstream().await,
        }
    }

    pub(crate) async fn worker(&self) -> Worker {
        let (config, secrets, shutdown) = (self.config.clone(), self.secrets.clone(), Shutdown::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let told = shutdown.clone();
        let task = tokio::spawn(async move { birbnest_worker::run(listener, config, secrets, told).await });
        Worker { shutdown, url, task }
    }

    /// Appends a write as an API would, and returns its version.
    pub(crate) async fn put(&self, key: &str, value: &str) -> Version {
        let value = RawValue::from_string(value.to_owned()).unwrap();
        self.append(
            key,
            Content::Value {
                value,
                metadata: None,
            },
        )
        .await
    }

    pub(crate) async fn append(&self, key: &str, content: Content) -> Version {
        let now = Timestamp::now();
        let record = Record {
            id: id(key),
            content,
            created_at: now,
            updated_at: now,
            expires_at: None,
            operation_ids: vec![],
        };
        eventually("the log takes the write", || async {
            self.log
                .append(PARTITION, record.id.hash(), &record, ())
                .await
                .map_err(|error| error.to_string())
        })
        .await
    }

    pub(crate) async fn text(&self, key: &str) -> Result<Option<String>, String> {
        let stored = self
            .postgres
            .read(PARTITION, &id(key))
            .await
            .map_err(|error| error.to_string())?;
        Ok(stored.entry.map(|entry| match entry.record.content {
            Content::Value { value, .. } => value.get().to_owned(),
            Content::Tombstone => "(tombstone)".to_owned(),
        }))
    }

    pub(crate) async fn until_text(&self, key: &str, text: &str) {
        eventually(&format!("{key} is {text} in PostgreSQL"), || async {
            seen(self.text(key).await?, |found| found.as_deref() == Some(text))
        })
        .await;
    }

    pub(crate) async fn stream(&self) -> jetstream::stream::Stream {
        let name = StreamNames::new(&self.config.stream.prefix).stream(PARTITION);
        self.jetstream.get_stream(name).await.unwrap()
    }

    /// The consumer of the newest epoch, once somebody has passed the fence. `JetStream` is asked, for PostgreSQL may be
    /// away.
    pub(crate) async fn consumer(&self) -> String {
        eventually("the stream has a consumer", || async {
            let stream = self.stream().await;
            let names: Result<Vec<String>, _> = stream.consumer_names().try_collect().await;
            let names = names.map_err(|error| error.to_string())?;
            let epoch = |name: &String| {
                name.rsplit('_')
                    .next()
                    .and_then(|epoch| epoch.parse::<i64>().ok())
            };
            names.into_iter().max_by_key(epoch).ok_or("none yet".to_owned())
        })
        .await
    }

    /// Waits until the consumer's figures are as they should be.
    pub(crate) async fn until_consumer(
        &self,
        what: &str,
        condition: impl Fn(&consumer::Info) -> bool,
    ) -> consumer::Info {
        // Boxed: the futures of the tests hold many of these.
        let found = eventually(what, || async {
            let info = self
                .stream()
                .await
                .consumer_info(self.consumer().await)
                .await
                .map_err(|error| error.to_string())?;
            seen(info, |info| condition(info))
        });
        Box::pin(found).await
    }

    pub(crate) async fn until_all_acknowledged(&self) {
        self.until_consumer("everything is acknowledged", |info| {
            info.num_pending == 0 && info.num_ack_pending == 0
        })
        .await;
    }
}

impl Worker {
    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        self.task.await.unwrap().unwrap();
    }

    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = reqwest::get(format!("{}/metrics", self.url))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let values = text
            .lines()
            .filter(|line| line.starts_with(name) && !line.starts_with('#'));
        values
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The state of a check in `/health`.
    pub(crate) async fn check(&self, name: &str) -> Result<String, String> {
        let answer = reqwest::get(format!("{}/health", self.url))
            .await
            .map_err(|error| error.to_string())?;
        let health: serde_json::Value = answer.json().await.map_err(|error| error.to_string())?;
        Ok(health["checks"][name].as_str().unwrap_or_default().to_owned())
    }
}

pub(crate) fn id(key: &str) -> EntryId {
    EntryId::global(key.parse().unwrap())
}
