//! Spreads the keys over another number of partitions, while reads and writes go on.
//!
//! PostgreSQL's layout row is the truth about which partitions there are. JetStream's seal keeps the promise: whoever has
//! not heard of the change cannot write to a partition that is about to go.
//!
//! ```text
//! new streams ─► queue is short ─► announce ─► drained ─► seal ─► drained ─► begin ─► a horizon ─► old streams go
//!                                  '--------- writes wait in the API ---------'
//! ```
//!
//! | a crash | leaves |
//! |---|---|
//! | before the announcement | empty streams, which the next change uses |
//! | after it | writes that wait for some seconds, and then go on as before; the next run begins again |
//! | after the first seal | writes that are refused; the next run seals the rest and goes on |
//! | after the beginning | sealed streams, which the next change removes |
//!
//! A failover of PostgreSQL that loses the beginning brings the announcement back, and may have lost what the workers had
//! persisted. That is why the sealed streams stay for a horizon, and why they are drained and the step is made once more if
//! it is found undone. Drained means: by the consumers of the terms in which the fences still are when the step is made.

use std::time::{Duration, Instant};

use birbnest_core::{Layout, config::StreamConfig};
use birbnest_stores::{
    fence::WATCH_INTERVAL,
    postgres::{Fence, KnownLayout, Leader, Postgres, PostgresError},
};
use tokio::time::sleep;

use crate::{
    MigrateError,
    queue::{Queue, told},
};

/// A queue that is drained in a moment.
const SHORT: u64 = 2_000;
/// After so long everybody who watches the layout holds writes back.
const SEEN: Duration = WATCH_INTERVAL.saturating_add(Duration::from_millis(500));
/// For so long writes are held back for what is left in the queue: a request has five seconds for everything.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// For so long a short queue is waited for: below the deadline of the Job, so that its last words say what was in the way.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// Before it is tried again.
const PAUSE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
/// How often it is looked whether the change stands.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is logged what is waited for.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Makes the layout of a new nest, or brings another one to as many partitions as are configured.
pub(crate) async fn settle(
    postgres: &Postgres,
    queue: &Queue,
    config: &StreamConfig,
) -> Result<Layout, MigrateError> {
    let _leader = lead(postgres).await?;
    let known = match postgres.layout().await? {
        Some(known) => known,
        None => first(postgres, queue, config.partitions).await?,
    };
    let sealed = known.changing && queue.is_sealed(known.layout).await?;
    if known.layout.count() != config.partitions || sealed {
        let change = Change {
            postgres,
            queue,
            config,
        };
        return change.run(known.layout).await;
    }
    if known.changing {
        postgres.announce_change(known.layout, false).await?;
    }
    Ok(known.layout)
}

/// One run at a time.
async fn lead(postgres: &Postgres) -> Result<Leader, MigrateError> {
    let mut told = None;
    loop {
        if let Some(leader) = postgres.try_lead("layout").await? {
            return Ok(leader);
        }
        tell(&mut told, || {
            tracing::info!("waiting for another run that changes the partitions");
        });
        sleep(POLL).await;
    }
}

/// A schema without a layout is new, or of a release that had none. The streams may be older than a new one.
async fn first(postgres: &Postgres, queue: &Queue, wanted: u16) -> Result<KnownLayout, MigrateError> {
    let fences = postgres.fence_count().await?;
    let layout = match (fences, queue.layout().await?) {
        (0, Some(layout)) => layout,
        (0, None) => Layout::of_new_nest(wanted),
        (fences, _) => Layout::of_new_nest(fences),
    };
    Ok(postgres.create_layout_if_absent(layout).await?)
}

/// From one layout to the next.
struct Change<'a> {
    postgres: &'a Postgres,
    queue: &'a Queue,
    config: &'a StreamConfig,
}

impl Change<'_> {
    async fn run(&self, from: Layout) -> Result<Layout, MigrateError> {
        let to = from
            .next(self.config.partitions)
            .ok_or(MigrateError::NoPartitionsLeft)?;
        tracing::info!(
            from = told(from),
            to = told(to),
            "the keys are to be spread over other partitions"
        );
        let began = Instant::now();
        self.queue.provide(to).await?;
        if !self.queue.is_sealed(from).await? {
            self.until_quiet(from, began + LONGEST_WAIT).await?;
        }
        self.queue.seal(from).await?;
        loop {
            // What came after the last look, from somebody who had not heard of it; and after a failover all of it again.
            if let Some(fences) = self.until_drained(from, None).await? {
                self.begin(from, to, &fences).await?;
            }
            if self.stands(to).await? {
                break;
            }
        }
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            partitions = to.count(),
            duration_ms,
            "the keys are spread over other partitions"
        );
        self.queue.retire_before(to).await?;
        Ok(to)
    }

    /// Whether the layout is still there after a horizon: a failover of PostgreSQL may have forgotten it.
    async fn stands(&self, to: Layout) -> Result<bool, MigrateError> {
        let since = Instant::now();
        while since.elapsed() < self.config.horizon.get() {
            // While PostgreSQL is away nobody knows.
            if self
                .postgres
                .layout()
                .await
                .is_ok_and(|known| known.is_some_and(|known| known.layout != to))
            {
                return Ok(false);
            }
            sleep(LOOK).await;
        }
        Ok(self
            .postgres
            .layout()
            .await?
            .is_some_and(|known| known.layout == to))
    }

    /// Returns when writes are held back and the workers have persisted all that came before.
    async fn until_quiet(&self, from: Layout, deadline: Instant) -> Result<(), MigrateError> {
        loop {
            self.until_short(from, deadline).await?;
            self.postgres.announce_change(from, true).await?;
            sleep(SEEN).await;
            if self.until_drained(from, Some(PATIENCE)).await?.is_some() {
                return Ok(());
            }
            self.postgres.announce_change(from, false).await?;
            let waiting = self.queue.backlog(from).await?;
            tracing::warn!(
                waiting,
                "the queue could not be drained while writes waited, it is tried again: see that workers run and that no \
                 row is rejected"
            );
            sleep(PAUSE).await;
        }
    }

    async fn until_short(&self, from: Layout, deadline: Instant) -> Result<(), MigrateError> {
        let mut told = None;
        loop {
            let waiting = self.queue.backlog(from).await?;
            if Instant::now() > deadline {
                return Err(MigrateError::Busy(waiting));
            }
            if waiting <= SHORT {
                return Ok(());
            }
            tell(&mut told, || tracing::info!(waiting, "waiting for a short queue"));
            sleep(POLL).await;
        }
    }

    /// The fences in whose terms the queue was found drained; `None` when it was not in time. When another layout has begun
    /// meanwhile there is nothing left to drain, as [`Change::begin`] will find.
    async fn until_drained(
        &self,
        from: Layout,
        patience: Option<Duration>,
    ) -> Result<Option<Vec<Fence>>, MigrateError> {
        let (began, mut told) = (Instant::now(), None);
        loop {
            // Before the consumers are asked: they must be those of the terms that are there in the end.
            let fences = self.postgres.fences().await?;
            let waiting = self.queue.backlog_of_terms(from, &fences).await?;
            if waiting == 0 {
                return Ok(Some(fences));
            }
            if patience.is_some_and(|patience| began.elapsed() > patience) {
                return Ok(None);
            }
            tell(&mut told, || {
                tracing::info!(waiting, "waiting for the workers to drain what is left");
            });
            sleep(POLL).await;
        }
    }

    /// A failover that came since is no error: it is drained again, and tried again.
    async fn begin(&self, from: Layout, to: Layout, fences: &[Fence]) -> Result<(), MigrateError> {
        let step = self.queue.step(from, fences, to).await?;
        match self.postgres.begin_layout(&step).await {
            Ok(true) => Ok(()),
            Err(PostgresError::NotDrained(partition)) => {
                tracing::warn!(%partition, "the queue is to be drained once more");
                Ok(())
            }
            Ok(false) => match self.postgres.layout().await? {
                Some(known) if known.layout == to => Ok(()),
                _ => Err(MigrateError::Overtaken),
            },
            Err(error) => Err(error.into()),
        }
    }
}

fn tell(last: &mut Option<Instant>, log: impl FnOnce()) {
    if last.is_none_or(|last| last.elapsed() > TELL_EVERY) {
        *last = Some(Instant::now());
        log();
    }
}
