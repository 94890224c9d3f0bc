//! Wires the operator: client, watches, controller, scaling, leadership, health.

use std::{io, sync::Arc, time::Duration};

use birbnest_service::{Health, Shutdown, probes_router, serve};
use futures::{Stream, StreamExt, TryStreamExt, future::BoxFuture, stream};
use kube::{
    Api, Client, Config,
    client::ClientBuilder,
    runtime::{
        Predicate, PredicateConfig, WatchStreamExt, applier,
        controller::{self, ReconcileRequest},
        predicates,
        reflector::{ObjectRef, Store, store},
        watcher,
    },
};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use tower::util::MapRequestLayer;

use crate::{
    Cli, GuardedNest,
    answers::Answers,
    backoff::Backoff,
    children::{Children, watched},
    cluster::Cluster,
    contests::Contests,
    context::{Context, SharedContext},
    events::Events,
    kinds::Kinds,
    leader::{Candidacy, Gate, LeaderError},
    metrics::Metrics,
    posture::Postures,
    pulse::{PATIENCE, Pulses},
    reconcile::{NestId, failed, reconcile},
    scaling,
    scope::Scope,
    streams::Connections,
};

/// Changes that come in a burst are one reconciliation.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Nests that are reconciled at the same time.
const CONCURRENCY: u16 = 16;
/// How long scrapes in progress may go on after the shutdown began.
const GRACE: Duration = Duration::from_secs(2);

/// Why the operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No cluster was found.
    #[error("cannot find out which cluster to work with: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// No client could be made.
    #[error("cannot make a client for the API server: {0}")]
    Client(#[from] kube::Error),
    /// The port for health and metrics is taken.
    #[error("cannot listen for health and metrics: {0}")]
    Listen(#[from] io::Error),
    /// The leadership was lost.
    #[error(transparent)]
    Leader(#[from] LeaderError),
}

/// Runs the operator until the shutdown.
///
/// # Errors
/// When it cannot start, or when it lost the leadership: it then ends at once and must be started again.
pub async fn run(cli: Cli, shutdown: Shutdown) -> Result<(), RunError> {
    let listener = TcpListener::bind(cli.listen).await?;
    let health = Health::new("birbnest-operator", shutdown.clone());
    let config = Config::infer().await?;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let probes = tokio::spawn({
        let (health, shutdown) = (health.clone(), shutdown.clone());
        async move { serve(listener, probes_router(health, registry), &shutdown, GRACE).await }
    });
    let plain = Client::try_from(config.clone())?;
    let Some(kinds) = shutdown.or(Kinds::discover(&plain)).await else {
        return Ok(());
    };
    let client = client(config.clone(), kinds, &health, metrics.clone())?;
    let (opener, gate) = Gate::new();
    let (scope, selector) = (cli.scope(), cli.selector());
    let (children, child_changes) = Children::watch(&client, &scope, kinds);
    let children = Arc::new(children);
    let (nudges, asked_for) = mpsc::unbounded_channel();
    let ctx = Arc::new(Context {
        cluster: Cluster::new(client.clone(), gate.clone(), Answers::new(Arc::clone(&children))),
        release: cli.release(),
        kinds,
        connections: Connections::default(),
        postures: Postures::default(),
        children,
        contests: Contests::default(),
        targets: scaling::Targets::default(),
        events: Events::new(client.clone(), &cli.identity),
        metrics: metrics.clone(),
        failures: Backoff::default(),
        nudges,
    });
    let (listed, nests_listed) = watch::channel(false);
    let (nests, nest_changes) = watch_nests(&client, &scope, &selector, listed, ctx.nudges.clone());
    let led = on_leadership(gate.clone(), metrics, nests.clone());
    let triggers: [Triggers; 4] = [
        nest_changes.boxed(),
        child_changes.boxed(),
        led.boxed(),
        stream::poll_fn(nudges_of(asked_for)).map(Ok).boxed(),
    ];
    let work = work(ctx.clone(), nests, triggers, shutdown.clone());
    let finished = CancellationToken::new();
    let candidacy = Candidacy {
        lease: cli.lease,
        namespace: cli.lease_namespace,
        identity: cli.identity,
    };
    let leadership = tokio::spawn(candidacy.run(config, opener, finished.clone()));
    let noticing = tokio::spawn(kinds.end_on_change(client.clone(), shutdown.clone()));
    let warming = tokio::spawn(warm(ctx, nests_listed, health));
    let outcome = lead_until_done(leadership, work, finished).await;
    warming.abort();
    noticing.abort();
    shutdown.begin();
    // How the last scrape ended is of no interest.
    let _ended = probes.await;
    outcome
}

type Triggers = stream::BoxStream<'static, Result<ObjectRef<GuardedNest>, watcher::Error>>;

/// A client that does not wait for ever, whose watches are felt for a pulse, and whose requests are counted.
fn client(mut config: Config, kinds: Kinds, health: &Health, metrics: Metrics) -> Result<Client, RunError> {
    config.read_timeout = Some(PATIENCE);
    // A request over a connection that was idle has the whole of it.
    config.reset_reader_on_write = true;
    // Refusals count for the pause of their nest, and do not hold a place in the queue for minutes.
    config.default_retry = false;
    let counted = MapRequestLayer::new(move |request| {
        metrics.asks(&request);
        request
    });
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&Pulses::new(health, &watched(kinds)))
        .with_layer(&counted)
        .build())
}

/// Watches the nests; changes of the status alone, which the operator makes itself, are no reason to reconcile.
///
/// `listed` tells of the first list. The store could tell, too, but wakes only one of those who wait for it, which is the
/// controller.
fn watch_nests(
    client: &Client,
    scope: &Scope,
    selector: &str,
    listed: watch::Sender<bool>,
    gone: mpsc::UnboundedSender<ObjectRef<GuardedNest>>,
) -> (
    Store<GuardedNest>,
    impl Stream<Item = Result<ObjectRef<GuardedNest>, watcher::Error>> + Send + use<>,
) {
    let (reader, writer) = store();
    let api = |namespace: Option<&str>| match namespace {
        Some(namespace) => Api::<GuardedNest>::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let relevant = predicates::generation
        .combine(predicates::annotations)
        .combine(predicates::finalizers);
    let changes = scope
        .watch(api, &watcher::Config::default().labels(selector))
        .reflect(writer)
        .inspect_ok(move |event| match event {
            watcher::Event::InitDone => drop(listed.send_replace(true)),
            // To the predicates it is the nest that it was.
            watcher::Event::Delete(nest) => drop(gone.send(ObjectRef::from_obj(nest))),
            _ => {}
        })
        .touched_objects()
        .predicate_filter(relevant, PredicateConfig::default())
        .map_ok(|nest| ObjectRef::from_obj(&nest));
    (reader, changes)
}

/// Whoever begins to lead looks at every nest.
fn on_leadership(
    gate: Gate,
    metrics: Metrics,
    nests: Store<GuardedNest>,
) -> impl Stream<Item = Result<ObjectRef<GuardedNest>, watcher::Error>> + Send {
    stream::once(async move {
        let mut gate = gate;
        metrics.leads(false);
        gate.opened().await;
        metrics.leads(true);
        let all: Vec<_> = nests
            .state()
            .iter()
            .map(|nest| Ok(ObjectRef::from_obj(nest.as_ref())))
            .collect();
        stream::iter(all)
    })
    .flatten()
}

fn nudges_of(
    mut asked_for: mpsc::UnboundedReceiver<ObjectRef<GuardedNest>>,
) -> impl FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<ObjectRef<GuardedNest>>> + Send {
    move |cx| asked_for.poll_recv(cx)
}

/// Reconciles and scales until the shutdown, and finishes what is in hand.
async fn work(ctx: SharedContext, nests: Store<GuardedNest>, triggers: [Triggers; 4], shutdown: Shutdown) {
    let ended = shutdown.clone();
    let queue = stream::select_all(triggers)
        .map_ok(ReconcileRequest::from)
        .take_until(async move { ended.begun().await });
    let config = controller::Config::default()
        .debounce(DEBOUNCE)
        .concurrency(CONCURRENCY);
    let reconciler = |nest, ctx| -> BoxFuture<'static, _> { Box::pin(reconcile(nest, ctx)) };
    let policy = |nest: Arc<GuardedNest>, error: &_, ctx: SharedContext| failed(&nest, error, &ctx);
    let controller = applier(reconciler, policy, ctx.clone(), nests, queue, config);
    let controller = controller.for_each(async |outcome| match outcome {
        Ok((nest, action)) => tracing::debug!(%nest, ?action, "reconciled"),
        Err(controller::Error::ObjectNotFound(gone)) => {
            let namespace = gone.namespace.unwrap_or_default();
            ctx.forget(&NestId::named(&namespace, &gone.name)).await;
        }
        // It was told where it failed.
        Err(controller::Error::ReconcilerFailed(..)) => {}
        Err(error) => tracing::warn!(%error, "a watch failed and starts again"),
    });
    tokio::join!(controller, scaling::run(ctx.clone(), shutdown));
}

/// Ready means: the caches are warm. A standby is as ready as the leader.
async fn warm(ctx: SharedContext, mut nests_listed: watch::Receiver<bool>, health: Health) {
    let check = health.check("caches");
    check.failing("waiting for the first list of every kind");
    if nests_listed.wait_for(|listed| *listed).await.is_ok() && ctx.children.listed().await.is_ok() {
        tracing::info!("the caches are warm");
        check.healthy();
    }
}

/// Gives the Lease back after the last write; a lost Lease ends the work where it stands.
async fn lead_until_done(
    mut leadership: tokio::task::JoinHandle<Result<(), LeaderError>>,
    work: impl Future<Output = ()>,
    finished: CancellationToken,
) -> Result<(), RunError> {
    let mut outcome = tokio::select! {
        lost = &mut leadership => Some(lost),
        () = work => None,
    };
    finished.cancel();
    if outcome.is_none() {
        outcome = Some(leadership.await);
    }
    match outcome {
        Some(Ok(Err(lost))) => Err(lost.into()),
        Some(Err(panicked)) => Err(LeaderError::Lost(panicked.to_string()).into()),
        Some(Ok(Ok(()))) | None => Ok(()),
    }
}
