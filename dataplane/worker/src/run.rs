//! Wires the stores to the loops and runs them until the shutdown.

use std::{io, net::SocketAddr, time::Duration};

use async_nats::{
    Client, ServerAddr,
    jetstream::{Context, context::ContextBuilder},
};
use birbnest_core::{
    Partition, StreamNames,
    config::{Config, Secrets},
};
use birbnest_service::{Health, Shutdown, probes_router, serve};
use birbnest_stores::{
    BackendError, Backends, Connectivity,
    jetstream::{DeadLetters, addresses, connect},
    redis::Cache,
};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    breaker::Breaker,
    drain::Drain,
    janitor::Janitor,
    metrics::Metrics,
    persist::{Backoff, Persister},
    poison::Quarantine,
    prime::{Lead, Loader, PrimeMetrics, Primer},
    refresh::Refresher,
    room::Room,
    source_health::SourceHealth,
};

/// A loop that has not come round for so long is stuck. While PostgreSQL is away each attempt counts.
const LONGEST_SILENCE: Duration = Duration::from_mins(2);
/// Batches that wait for Redis, per partition. Their values are gone from memory already.
const HELD_BATCHES: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why the worker could not start or go on. Backends that are away are no reason: it waits for them.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address is taken, or not of this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The address of a backend cannot be used.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A loop ended that should not have: a defect, and a restart is the way to go on.
    #[error("a loop of the worker ended: {0}")]
    Broken(#[from] JoinError),
    /// Not everything in hand was done when the grace period ended. It comes again.
    #[error("the grace period ended before everything in hand was done")]
    GraceEnded,
}

/// Opens the port for probes and metrics.
///
/// # Errors
/// When the address is taken, or not of this machine.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Listen { address, source })
}

/// Drains every partition until the shutdown begins, then finishes and acknowledges what is in hand.
///
/// # Errors
/// When an address cannot be used, a loop broke, or what was in hand could not be finished within the grace period.
pub async fn run(
    listener: TcpListener,
    config: Config,
    secrets: Secrets,
    shutdown: Shutdown,
) -> Result<(), RunError> {
    let grace = config.worker.shutdown_grace.get();
    let health = Health::new("birbnest-worker", shutdown.clone());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, config.worker.batch.size);
    let prime_metrics = PrimeMetrics::register(&mut registry);
    let worker = Worker::new(
        config,
        &secrets,
        health.clone(),
        shutdown.clone(),
        metrics,
        prime_metrics,
    )?;
    let servers = addresses(&secrets.nats_url).map_err(BackendError::from)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        "draining the persist streams"
    );

    let router = probes_router(health, registry);
    let ending = shutdown.clone();
    let probes = tokio::spawn(async move { serve(listener, router, &ending, grace).await });
    if let Some(client) = Box::pin(shutdown.or(worker.connected(&servers))).await {
        worker.drain(client, grace).await?;
    }
    // Answers to probes are short; nothing is waited for that would matter.
    probes.abort();
    Ok(())
}

/// The stores and what else the loops share.
struct Worker {
    config: Config,
    backends: Backends,
    cache: Cache,
    breaker: Breaker,
    health: Health,
    nats: SourceHealth,
    shutdown: Shutdown,
    metrics: Metrics,
    prime_metrics: PrimeMetrics,
}

impl Worker {
    fn new(
        config: Config,
        secrets: &Secrets,
        health: Health,
        shutdown: Shutdown,
        metrics: Metrics,
        prime_metrics: PrimeMetrics,
    ) -> Result<Self, RunError> {
        let backends = Backends::start(&config, secrets, "birbnest-worker")?;
        let cache = backends.cache()?;
        let breaker = Breaker::new(metrics.clone());
        breaker.report(health.check("database"), backends.fences.status());
        health
            .check("redis")
            .follow(cache.status(), Connectivity::trouble);
        let nats = SourceHealth::new(health.check("nats"));
        Ok(Self {
            config,
            backends,
            cache,
            breaker,
            health,
            nats,
            shutdown,
            metrics,
            prime_metrics,
        })
    }

    /// A connection to NATS, which from then on reconnects by itself.
    async fn connected(&self, servers: &[ServerAddr]) -> Client {
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            match connect(servers, "birbnest-worker").await {
                Ok(client) => return client,
                Err(error) => self.nats.all_failing(&format!("nats does not answer: {error}")),
            }
            sleep(pause.next()).await;
        }
    }

    /// Runs every loop; after the shutdown began they have `grace` to end.
    async fn drain(self, client: Client, grace: Duration) -> Result<(), RunError> {
        let mut loops = JoinSet::new();
        let letters = self.dead_letters(&client);
        let (lead, follow) = watch::channel(None);
        let janitor = Janitor::new(
            client.clone(),
            letters.clone(),
            self.backends.clone(),
            self.config.stream.clone(),
            self.health.heartbeat("janitor", LONGEST_SILENCE),
            self.metrics.clone(),
            lead,
        );
        loops.spawn(janitor.run(self.shutdown.clone()));
        loops.spawn(self.primer(&client, follow).run());
        loops.spawn(self.breaker.clone().run(
            self.backends.postgres.clone(),
            self.config.worker.retry.backoff.get(),
            self.health.heartbeat("breaker", LONGEST_SILENCE),
            self.shutdown.clone(),
        ));

        let supervised = self.supervise(&client, &letters, &mut loops);
        if let Some(broken) = self.shutdown.or(supervised).await {
            return Err(broken.into());
        }
        let Ok(ended) = timeout(grace, until_all_ended(&mut loops)).await else {
            return Err(RunError::GraceEnded);
        };
        ended?;
        if let Err(error) = client.flush().await {
            tracing::warn!(%error, "the last acknowledgements may not have arrived: the messages will come again");
        }
        self.backends.postgres.close().await;
        Ok(())
    }

    /// Starts the loops of the partitions that there are, now and whenever there are others; those of earlier ones end by
    /// themselves. Returns when a loop broke.
    async fn supervise(&self, client: &Client, letters: &DeadLetters, loops: &mut JoinSet<()>) -> JoinError {
        let mut layouts = self.backends.fences.layouts();
        let mut drained = None;
        loop {
            let layout = self.backends.fences.layout();
            if let Some(layout) = layout.filter(|_| layout != drained) {
                self.nats.expect(layout);
                self.metrics.forget_all_but(layout);
                let room = Room::new(&self.config, layout);
                for partition in layout.partitions() {
                    self.spawn_partition(partition, client, letters, &room, loops);
                }
                drained = Some(layout);
            }
            tokio::select! {
                ended = loops.join_next(), if !loops.is_empty() => if let Some(Err(broken)) = ended {
                    return broken;
                },
                // An error would say that nobody reads the layout any more, but this very watch keeps that task alive.
                _changed = layouts.changed() => {}
            }
        }
    }

    fn context(&self, client: &Client) -> Context {
        ContextBuilder::new()
            .timeout(self.config.stream.ack_timeout.get())
            .build(client.clone())
    }

    fn dead_letters(&self, client: &Client) -> DeadLetters {
        let names = StreamNames::new(&self.config.stream.prefix);
        DeadLetters::new(self.context(client), names.into())
    }

    fn primer(&self, client: &Client, lead: Lead) -> Primer {
        let (postgres, cache) = (self.backends.postgres.clone(), self.cache.clone());
        Primer {
            config: self.config.cache.prime.clone(),
            loader: Loader::new(
                self.context(client),
                &self.config.stream,
                self.backends.fences.clone(),
                postgres.clone(),
                cache.clone(),
            ),
            postgres,
            cache,
            lead,
            heartbeat: self.health.heartbeat("prime", LONGEST_SILENCE),
            shutdown: self.shutdown.clone(),
            metrics: self.prime_metrics.clone(),
        }
    }

    fn spawn_partition(
        &self,
        partition: Partition,
        client: &Client,
        letters: &DeadLetters,
        room: &Room,
        loops: &mut JoinSet<()>,
    ) {
        let (committed, inbox) = mpsc::channel(HELD_BATCHES);
        let refresher = Refresher {
            partition,
            cache: self.cache.clone(),
            postgres: self.backends.postgres.clone(),
            shutdown: self.shutdown.clone(),
            metrics: self.metrics.clone(),
        };
        loops.spawn(refresher.run(inbox));
        let names = StreamNames::new(&self.config.stream.prefix);
        for _ in 0..self.config.worker.concurrency {
            let persister = Persister {
                partition,
                postgres: self.backends.postgres.clone(),
                breaker: self.breaker.clone(),
                shutdown: self.shutdown.clone(),
                heartbeat: self.health.heartbeat("drain", LONGEST_SILENCE),
                metrics: self.metrics.clone(),
            };
            let poison = Quarantine {
                partition,
                letters: letters.clone(),
                postgres: self.backends.postgres.clone(),
                retry: self.config.worker.retry.clone(),
                metrics: self.metrics.clone(),
            };
            let drain = Drain {
                partition,
                stream: names.stream(partition),
                client: client.clone(),
                fences: self.backends.fences.clone(),
                health: self.nats.clone(),
                persister,
                poison,
                committed: committed.clone(),
                config: self.config.worker.clone(),
                room: room.clone(),
                shutdown: self.shutdown.clone(),
                metrics: self.metrics.clone(),
            };
            loops.spawn(drain.run());
        }
    }
}

async fn until_all_ended(loops: &mut JoinSet<()>) -> Result<(), JoinError> {
    while let Some(ended) = loops.join_next().await {
        ended?;
    }
    Ok(())
}
