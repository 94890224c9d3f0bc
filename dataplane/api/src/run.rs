//! Wires the stores to the routes and serves until the shutdown.

use std::io;

use birbnest_core::config::{Config, Secrets};
use birbnest_service::{Health, Shutdown, probes_router, serve};
use birbnest_stores::{BackendError, Backends, Connectivity, jetstream::Log};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::{
    app::App, dead_letters::Letters, decide::Decider, durable::Durable, limits::Limits, metrics::Metrics,
    read::ReadPath, replay::Replay, routes::router, sources::Sources, write::WritePath,
};

/// Why the service could not start. Backends that are away are no reason: it waits for them.
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
    /// The address of a backend cannot be used.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// Serves until the shutdown begins, then ends the requests in progress.
///
/// # Errors
/// When an address cannot be used.
pub async fn run(config: Config, secrets: Secrets, shutdown: Shutdown) -> Result<(), RunError> {
    let address = config.api.listen;
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(source) => return Err(RunError::Listen { address, source }),
    };
    let Backends {
        postgres,
        fences,
        cache,
    } = Backends::start(&config, &secrets, "birbnest-api")?;
    let log = Log::start(
        &secrets.nats_url,
        &config.stream,
        postgres.clone(),
        fences.clone(),
    )
    .map_err(BackendError::from)?;

    let health = Health::new("birbnest-api", shutdown.clone());
    health
        .check("database")
        .follow(fences.status(), Connectivity::trouble);
    health
        .check("redis")
        .follow(cache.status(), Connectivity::trouble);
    health.check("nats").follow(log.status(), Connectivity::trouble);

    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let partitions = config.stream.partitions;
    let sources = Sources::new(log.clone(), postgres.clone(), fences.clone());
    // A client is told what came of its write before the whole request runs out of time.
    let patience = config.api.request_timeout.get() / 2;
    // A decision must be over before anything is purged that it could rest on; a publish may be held for as long again.
    let deadline = patience.min(config.stream.horizon.get() / 2);
    let decider = Decider::new(sources.clone(), deadline);
    let durable = Durable::start(&postgres, fences, partitions, patience);
    let letters = Letters::new(log.clone(), postgres.clone());
    let write = WritePath::new(log, cache.clone(), decider, durable, partitions, &config.cache);
    let app = App {
        replay: Replay {
            letters: letters.clone(),
            sources: sources.clone(),
            postgres,
            write: write.clone(),
            deadline,
            partitions,
        },
        letters,
        write,
        read: ReadPath::new(cache, sources, metrics.clone(), partitions),
        max_value_bytes: usize::try_from(config.cache.max_value_bytes).unwrap_or(usize::MAX),
    };
    let limits = Limits::new(&config.api, metrics);
    let router = router(app, limits).merge(probes_router(health, registry));
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving the cache");
    serve(listener, router, &shutdown, config.api.shutdown_grace.get()).await;
    Ok(())
}
