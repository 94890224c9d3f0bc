//! Wires the stores to the routes and serves until the shutdown.

use std::{io, sync::Arc};

use birbnest_core::{
    Budget, OnQueueOutage,
    config::{Config, Secrets},
};
use birbnest_service::{Answers, Bounds, Cores, Health, MountError, Shutdown, Tls, listen, probes_router};
use birbnest_stores::{BackendError, Backends, Connectivity, jetstream::Log, redis::Cache};
use prometheus_client::registry::Registry;
use tokio::task::JoinError;

use crate::{
    app::{App, Paths},
    dead_letters::Letters,
    decide::Decider,
    durable::Durable,
    flight::Flights,
    front::Front,
    keys::Keys,
    limits::Limits,
    metrics::Metrics,
    prime::Priming,
    read::{ReadPath, SharedFlights},
    replay::Replay,
    routes::router,
    sources::{Sources, turns},
    through::Through,
    watermarks::Watermarks,
    write::WritePath,
};

/// Why the service could not start or go on. Backends that are away are no reason: it waits for them.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address is taken, or not of this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system refused a thread.
    #[error("cannot start the threads that serve: {0}")]
    Threads(#[from] io::Error),
    /// The certificate or the API keys cannot be used.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The address of a backend cannot be used.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A thread that serves ended that should not have: a defect, and a restart is the way to go on.
    #[error("a thread that serves HTTP ended: {0}")]
    Broken(#[from] JoinError),
}

/// Serves until the shutdown begins, then ends the requests in progress.
///
/// # Errors
/// When an address cannot be used, or a thread broke.
pub async fn run(mut config: Config, secrets: Secrets, shutdown: Shutdown) -> Result<(), RunError> {
    let address = config.api.listen;
    let listener = match listen(address) {
        Ok(listener) => listener,
        Err(source) => return Err(RunError::Listen { address, source }),
    };
    // So that a hit, which has no clock of its own, is within the request's time, too.
    config.redis.command_timeout = config.redis.command_timeout.min(config.api.request_timeout);
    let tls = config
        .api
        .tls
        .as_deref()
        .map(|folder| Tls::follow(folder, &shutdown));
    let tls = tls.transpose()?;
    let keys = Keys::follow(config.api.api_keys.as_deref(), &shutdown)?;
    let backends = Backends::start(&config, &secrets, "birbnest-api")?;
    let cores = Cores::start()?;
    let connections: Vec<Connections> = cores
        .each(|| Connections::start(&backends, &config, &secrets))
        .into_iter()
        .collect::<Result<_, _>>()?;
    let health = health(&backends, &connections, &shutdown);
    let budget = Budget::new(usize::try_from(config.api.max_bytes_in_progress).unwrap_or(usize::MAX));
    let services = services(&config, &backends, connections, health, &budget, &keys);
    let bounds = Bounds {
        connections: usize::try_from(config.api.max_connections).unwrap_or(usize::MAX),
        tight: Arc::new(move || budget.is_tight()),
        tls,
    };
    let grace = config.api.shutdown_grace.get();
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), cores = services.len(), "serving the cache");
    cores.serve(listener, services, &bounds, &shutdown, grace).await?;
    Ok(())
}

/// What a core has of its own: nobody on another core is woken when it asks or is answered, and what its requests ask in
/// one turn is sent together.
struct Connections {
    cache: Cache,
    log: Log,
}

impl Connections {
    fn start(backends: &Backends, config: &Config, secrets: &Secrets) -> Result<Self, BackendError> {
        let (postgres, fences) = (backends.postgres.clone(), backends.fences.clone());
        Ok(Self {
            cache: backends.cache()?,
            log: Log::start(
                &secrets.nats_url,
                &config.stream,
                postgres,
                fences,
                config.cache.on_queue_outage,
            )?,
        })
    }
}

fn health(backends: &Backends, connections: &[Connections], shutdown: &Shutdown) -> Health {
    let health = Health::new("birbnest-api", shutdown.clone());
    let redis = Connectivity::of_all(connections.iter().map(|own| own.cache.status()).collect());
    let nats = Connectivity::of_all(connections.iter().map(|own| own.log.status()).collect());
    for (name, status) in [("database", backends.fences.status()), ("redis", redis)] {
        health.check(name).follow(status, Connectivity::trouble);
    }
    let fences = backends.fences.clone();
    health.check("nats").follow(nats, move |status| {
        let trouble = status.trouble()?;
        if fences.is_written_through() {
            Some(format!("{trouble} (postgresql takes the writes)"))
        } else {
            Some(trouble)
        }
    });
    health
}

/// What each core answers with, around its own connections.
fn services(
    config: &Config,
    backends: &Backends,
    connections: Vec<Connections>,
    health: Health,
    budget: &Budget,
    keys: &Keys,
) -> Vec<impl Answers + use<>> {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, budget, &backends.fences);
    let probes = probes_router(health, registry);
    // A client is told what came of its write before the whole request runs out of time.
    let patience = config.api.request_timeout.get() / 2;
    let (postgres, fences) = (&backends.postgres, &backends.fences);
    let max_value_bytes = usize::try_from(config.cache.max_value_bytes).unwrap_or(usize::MAX);
    let turns = turns(budget, max_value_bytes);
    // A decision must be over before anything is purged that it could rest on; a publish may be held for as long again.
    let deadline = patience.min(config.stream.horizon.get() / 2);
    let durable = Durable::start(postgres, fences.clone(), patience);
    let through = (config.cache.on_queue_outage == OnQueueOutage::WriteThrough)
        .then(|| Through::start(postgres, fences.clone(), patience, &metrics));
    let flights: SharedFlights = Arc::new(Flights::new());
    let front = |Connections { cache, log }| {
        let letters = Letters::new(log.clone(), postgres.clone());
        let watermarks = Watermarks {
            log: log.clone(),
            postgres: postgres.clone(),
            fences: fences.clone(),
        };
        let sources = Sources::new(log.clone(), postgres.clone(), fences.clone(), Arc::clone(&turns));
        let write = Arc::new(WritePath::new(
            log,
            cache.clone(),
            Decider::new(sources.clone(), deadline),
            durable.clone(),
            through.clone(),
            &config.cache,
        ));
        let app = App::new(Paths {
            replay: Replay {
                letters: letters.clone(),
                sources: sources.clone(),
                postgres: postgres.clone(),
                write: Arc::clone(&write),
                deadline,
            },
            letters,
            watermarks,
            priming: Priming {
                postgres: postgres.clone(),
            },
            write,
            read: ReadPath::new(
                cache,
                sources,
                metrics.clone(),
                fences.clone(),
                Arc::clone(&flights),
            ),
            metrics: metrics.clone(),
            max_value_bytes,
            budget: budget.clone(),
            // The rest of the request's time is for what the body asks for.
            body_timeout: config.api.request_timeout.get().mul_f64(0.8),
        });
        Front {
            entries: router(app.clone()),
            app,
            limits: Limits::new(&config.api, metrics.clone()),
            keys: keys.clone(),
            probes: probes.clone(),
        }
    };
    let fronts = connections.into_iter().map(front);
    fronts.map(Front::into_service).collect()
}
