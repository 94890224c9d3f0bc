//! Loads entries into Redis before anybody asks for them: on request, and when Redis is found empty.
//!
//! Requests wait in PostgreSQL. The worker that leads takes them one after the other and begins again with one that it did
//! not finish: a crash leaves entries in Redis that are passed over the next time. Every entry is loaded as a reader's
//! miss would load it, so nothing that is queued or acknowledged meanwhile can be hidden by it.

mod load;
mod metrics;

use std::time::Duration;

use birbnest_core::{
    EntryId, InstanceName,
    config::{PrimeConfig, PrimeOrder},
};
use birbnest_service::{Heartbeat, Shutdown};
use birbnest_stores::{
    postgres::{Postgres, PostgresError, PrimeOrders, PrimeRequest},
    redis::{Cache, CacheError},
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

pub(crate) use load::Loader;
pub(crate) use metrics::PrimeMetrics;

/// How often the one that leads looks for requests, and whether Redis was emptied.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Keys that are loaded together. Their values are in memory at the same time.
const BATCH: u32 = 50;
/// With more writes in the queue, nothing is loaded.
const DEEP_QUEUE: u64 = 1_000;
/// Between two automatic requests: a Redis that is smaller than what is loaded evicts the sign that it was.
const AUTOMATIC_EVERY: Duration = Duration::from_secs(10);
/// Attempts of a batch, and the pause between them: a minute without one of the backends, and the request is given up.
const ATTEMPTS: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);

/// Whether this process leads, and if so how many writes waited when it looked last.
pub(crate) type Lead = watch::Receiver<Option<u64>>;

/// Does the loading of this process, while it leads.
pub(crate) struct Primer {
    pub(crate) config: PrimeConfig,
    pub(crate) postgres: Postgres,
    pub(crate) cache: Cache,
    pub(crate) loader: Loader,
    pub(crate) lead: Lead,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: PrimeMetrics,
}

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    /// Somebody goes on with it later.
    #[error("this worker ends or leads no longer")]
    Interrupted,
    #[error("{0}")]
    Failed(String),
}

/// How far a request is.
#[derive(Default)]
struct Tally {
    examined: u32,
    filled: u32,
}

impl Primer {
    /// Goes on until the shutdown.
    pub(crate) async fn run(self) {
        let mut turn = interval(LOOK_EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut automatic = None;
        while self.shutdown.or(turn.tick()).await.is_some() {
            self.heartbeat.beat();
            if self.lead.borrow().is_none() {
                continue;
            }
            if let Err(error) = self.notice_an_empty_cache(&mut automatic).await {
                tracing::debug!(%error, "cannot see whether redis was primed");
            }
            if let Err(error) = self.serve().await {
                tracing::debug!(%error, "requests to prime the cache wait");
            }
        }
    }

    /// The sign in Redis says that everything was loaded, or is being loaded, into this very Redis. First the request,
    /// then the sign: a crash in between makes no second request, since the first one waits.
    async fn notice_an_empty_cache(&self, last: &mut Option<Instant>) -> Result<(), NoticeError> {
        let too_soon = last.is_some_and(|last: Instant| last.elapsed() < AUTOMATIC_EVERY);
        if !self.config.on_start || too_soon || self.cache.is_primed().await? {
            return Ok(());
        }
        let orders = PrimeOrders {
            instance: InstanceName::global(),
            prefix: self.config.prefix.clone(),
            limit: self.config.limit,
            order: self.config.order,
        };
        let made = self.postgres.request_prime(&orders, true).await?;
        self.cache.note_primed().await?;
        *last = Some(Instant::now());
        tracing::info!(
            request = made,
            "redis holds nothing of this generation: it is primed"
        );
        Ok(())
    }

    /// Does every request that waits.
    async fn serve(&self) -> Result<(), PostgresError> {
        let mut after = 0;
        while let Some(request) = self.postgres.next_prime_request(after).await? {
            after = request.id;
            let failure = match self.fulfil(&request).await {
                Ok(()) => None,
                Err(Stopped::Interrupted) => return Ok(()),
                Err(Stopped::Failed(reason)) => Some(reason),
            };
            self.metrics.ended(failure.is_some());
            match &failure {
                None => tracing::info!(request = request.id, "the cache is primed"),
                Some(reason) => tracing::warn!(request = request.id, reason, "priming was given up"),
            }
            self.postgres.finish_prime(request.id, failure.as_deref()).await?;
        }
        Ok(())
    }

    async fn fulfil(&self, request: &PrimeRequest) -> Result<(), Stopped> {
        let orders = &request.orders;
        let mut tally = Tally::default();
        match orders.order {
            PrimeOrder::Newest => {
                let keys = self.patiently(|| self.postgres.newest_keys(orders)).await?;
                for batch in keys.chunks(BATCH as usize) {
                    self.load(request.id, batch, &mut tally).await?;
                }
            }
            PrimeOrder::Key => {
                let mut after = String::new();
                while tally.examined < orders.limit {
                    let size = BATCH.min(orders.limit - tally.examined);
                    let batch = self
                        .patiently(|| self.postgres.keys_after(orders, &after, size))
                        .await?;
                    let Some(last) = batch.last() else { break };
                    after = last.key.to_string();
                    self.load(request.id, &batch, &mut tally).await?;
                }
            }
        }
        Ok(())
    }

    /// Loads a batch, and then rests for as long as that took: writes come first.
    async fn load(&self, request: i64, batch: &[EntryId], tally: &mut Tally) -> Result<(), Stopped> {
        self.until_the_queue_is_short().await?;
        let began = Instant::now();
        let filled = self.patiently(|| self.loader.load(batch)).await?;
        let count = |keys: usize| u32::try_from(keys).unwrap_or(u32::MAX);
        tally.examined += count(batch.len());
        tally.filled += count(filled);
        self.metrics.loaded(count(filled), count(batch.len() - filled));
        if let Err(error) = self
            .postgres
            .note_prime(request, tally.examined, tally.filled)
            .await
        {
            tracing::debug!(%error, request, "how far it is was not noted");
        }
        self.shutdown
            .or(sleep(began.elapsed()))
            .await
            .ok_or(Stopped::Interrupted)
    }

    async fn until_the_queue_is_short(&self) -> Result<(), Stopped> {
        loop {
            self.heartbeat.beat();
            let depth = *self.lead.borrow();
            let depth = depth.ok_or(Stopped::Interrupted)?;
            self.metrics.paused(depth > DEEP_QUEUE);
            if depth <= DEEP_QUEUE {
                return Ok(());
            }
            self.rest().await?;
        }
    }

    /// Tries again while a backend is away, for a minute.
    async fn patiently<T, E, F>(&self, work: impl Fn() -> F) -> Result<T, Stopped>
    where
        E: std::fmt::Display,
        F: Future<Output = Result<T, E>>,
    {
        let mut attempt = 1;
        loop {
            self.heartbeat.beat();
            match work().await {
                Ok(done) => return Ok(done),
                Err(error) if attempt == ATTEMPTS => return Err(Stopped::Failed(error.to_string())),
                Err(error) => tracing::debug!(%error, attempt, "priming waits"),
            }
            attempt += 1;
            self.rest().await?;
        }
    }

    async fn rest(&self) -> Result<(), Stopped> {
        let rested = self.shutdown.or(sleep(PAUSE)).await;
        rested
            .filter(|()| self.lead.borrow().is_some())
            .ok_or(Stopped::Interrupted)
    }
}

/// Why nobody knows whether Redis was primed.
#[derive(Debug, thiserror::Error)]
enum NoticeError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}
