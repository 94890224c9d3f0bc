//! A connection that has passed the fence of every partition, and the task that keeps one.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use async_nats::{
    ConnectError, ServerAddr,
    jetstream::{
        Context,
        context::{ContextBuilder, GetStreamError},
        stream::{InfoError, Stream},
    },
};
use backon::{BackoffBuilder, ExponentialBuilder};
use birbnest_core::{
    Base, Layout, OnQueueOutage, Partition, StreamNames, Version, VersionOverflow, config::StreamConfig,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    connection::connect_once,
    error::ReadError,
    lives::{LifeError, Lives},
    provision::{self, ProvisionError},
    pulse::{Fullness, Pulse},
    reach::Reach,
    stored::highest_version,
};
use crate::{
    Connectivity,
    epoch::Beginning,
    fence::{Fence, FenceWatch, Judgement, Mode, WATCH_INTERVAL, judge},
    lease::Leases,
    postgres::{Postgres, PostgresError, Raised},
};

/// How often pods that pass the fence at once may get in each other's way before one gives up and starts again.
const MAX_TURNS: usize = 8;
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection whose publishes carry the base of the current epoch.
pub(super) struct Session {
    pub(super) context: Context,
    pub(super) layout: Layout,
    gates: Vec<Arc<Gate>>,
    pub(super) pulse: Pulse,
    ended: CancellationToken,
}

/// What passing the fence of a partition yields.
pub(super) struct Gate {
    pub(super) stream: Stream,
    pub(super) base: Base,
    /// Whether the stream has no followers, so that a direct get is answered by the leader.
    pub(super) one_copy: bool,
    pub(super) fullness: Fullness,
    pub(super) epoch: i64,
    highest_acked: AtomicU64,
    lease: Option<Lease>,
}

/// What a publish needs where PostgreSQL may take the writes instead.
struct Lease {
    leases: Leases,
    partition: Partition,
}

impl Session {
    /// Ends the session: the next one passes the fence again.
    pub(super) fn end(&self, reason: &str) {
        tracing::warn!(reason, "giving up the connection to nats");
        self.ended.cancel();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// What passing the fence of a partition yielded, `None` for one of another layout.
    pub(super) fn gate(&self, partition: Partition) -> Option<&Arc<Gate>> {
        self.gates.get(self.layout.place(partition)?)
    }

    /// Whether a later epoch has begun in a partition.
    fn is_over(&self, fences: &[Fence]) -> bool {
        let mut known = fences.iter();
        known.any(|fence| {
            self.gate(fence.partition)
                .is_some_and(|gate| gate.epoch < fence.epoch)
        })
    }

    /// Whether these fences do not know the epoch of a partition: PostgreSQL has gone back, or the tables are new. Whoever
    /// passes next goes on with it.
    fn is_lost(&self, fences: &[Fence]) -> bool {
        let mut parts = self.layout.partitions().zip(&self.gates);
        parts.any(|(partition, gate)| {
            let fence = fences.iter().find(|fence| fence.partition == partition);
            let is_known = |fence: &Fence| {
                fence.epoch > gate.epoch || (fence.epoch, fence.base) == (gate.epoch, gate.base)
            };
            !fence.is_some_and(is_known)
        })
    }
}

impl Gate {
    /// The highest sequence acknowledged over this connection, or that the stream had when it passed the fence.
    pub(super) fn highest_acked(&self) -> u64 {
        self.highest_acked.load(Ordering::Acquire)
    }

    /// Whether a write may be published, or answered, now: PostgreSQL takes no writes yet.
    pub(super) fn may_publish(&self) -> bool {
        self.lease
            .as_ref()
            .is_none_or(|lease| lease.leases.holds(lease.partition, self.epoch))
    }

    pub(super) fn note_ack(&self, sequence: u64) {
        self.highest_acked.fetch_max(sequence, Ordering::AcqRel);
    }
}

/// Why no session could be had. The next attempt may succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("nats does not answer: {0}")]
    Connect(#[from] ConnectError),
    #[error("the stream {stream} cannot be used: {source}")]
    Stream { stream: String, source: GetStreamError },
    #[error("the stream {stream} did not say its state: {source}")]
    Info { stream: String, source: InfoError },
    #[error(transparent)]
    Life(#[from] LifeError),
    #[error("the consumer cannot be used: {0}")]
    Consumer(#[from] ProvisionError),
    #[error("the last message of the stream {stream} cannot be read: {source}")]
    History { stream: String, source: ReadError },
    #[error("the fence cannot be read: {0}")]
    Fence(#[from] PostgresError),
    #[error(
        "the schema belongs to the stream {theirs}, not to {ours}: give this nest a schema of its own (postgres.schema)"
    )]
    Foreign { theirs: String, ours: String },
    #[error(transparent)]
    Versions(#[from] VersionOverflow),
    #[error("other pods kept changing the fence")]
    Contended,
    #[error("which partitions there are is not known yet: the database has not answered")]
    NoLayout,
    #[error("the queue is closed, and open again soon after nats is back")]
    Closed,
}

impl SessionError {
    /// Whether NATS answered, and something else was in the way.
    pub(super) fn is_answered(&self) -> bool {
        matches!(
            self,
            Self::Fence(_)
                | Self::Foreign { .. }
                | Self::Versions(_)
                | Self::Contended
                | Self::Closed
                | Self::NoLayout
        )
    }
}

/// What a session is made from.
pub(super) struct Connector {
    pub(super) servers: Vec<ServerAddr>,
    pub(super) config: StreamConfig,
    pub(super) postgres: Postgres,
    pub(super) fences: FenceWatch,
    pub(super) status: watch::Sender<Connectivity>,
    pub(super) reach: Reach,
    pub(super) on_outage: OnQueueOutage,
    /// This process, among those that cannot reach NATS.
    pub(super) holder: Uuid,
}

/// Connects, passes the fence, watches and starts again until the last user of `current` is gone.
pub(super) async fn keep_connected(connector: Connector, current: Weak<ArcSwapOption<Session>>) {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times();
    let mut pause = pauses.build();
    while current.strong_count() > 0 {
        let session = match connector.open().await {
            Ok(session) => Arc::new(session),
            Err(error) => {
                tracing::debug!(%error, "writes cannot be queued yet");
                connector.status.send_replace(Connectivity::lost(&error));
                connector.note(&error).await;
                tokio::time::sleep(pause.next().unwrap_or(LONGEST_PAUSE)).await;
                continue;
            }
        };
        pause = pauses.build();
        connector.reach.reached();
        let Some(slot) = current.upgrade() else { return };
        slot.store(Some(Arc::clone(&session)));
        connector.status.send_replace(Connectivity::Connected);
        tracing::info!(
            partitions = session.gates.len(),
            "passed the fence, writes can be queued"
        );
        drop(slot);
        connector.watch(&session, &current).await;
        let Some(slot) = current.upgrade() else { return };
        slot.store(None);
        connector
            .status
            .send_replace(Connectivity::lost(&"the connection was lost"));
    }
}

impl Connector {
    async fn open(&self) -> Result<Session, SessionError> {
        let layout = self.fences.layout().ok_or(SessionError::NoLayout)?;
        let ended = CancellationToken::new();
        let client = connect_once(&self.servers, "birbnest-api", ended.clone()).await?;
        let context = ContextBuilder::new()
            .timeout(self.config.ack_timeout.get())
            .build(client.clone());
        let lives = Lives::new(client, context.clone(), &self.config);
        Box::pin(self.take_back(&lives, &context)).await?;
        let mut gates = Vec::with_capacity(usize::from(layout.count()));
        for partition in layout.partitions() {
            // Boxed: what asks JetStream is large, and this future is part of many.
            let gate = Box::pin(self.pass(&lives, &context, partition)).await?;
            gates.push(Arc::new(gate));
        }
        Ok(Session {
            context,
            layout,
            gates,
            pulse: Pulse::new(),
            ended,
        })
    }

    /// Passes the fence of a partition: the stream is the one that the fence names and has lost nothing that is
    /// recorded there. Else the epoch is raised first, so that nothing older can ever win, or one that PostgreSQL has lost
    /// is restored.
    async fn pass(
        &self,
        lives: &Lives,
        context: &Context,
        partition: Partition,
    ) -> Result<Gate, SessionError> {
        let name = StreamNames::new(&self.config.prefix).stream(partition);
        let mut stream = match context.get_stream(&name).await {
            Ok(stream) => stream,
            Err(source) => return Err(SessionError::Stream { stream: name, source }),
        };
        for _ in 0..MAX_TURNS {
            // The fence before the stream: what the fence records was in the stream before.
            let fence = self.postgres.fence(partition).await?;
            let info = match stream.info().await {
                Ok(info) => info.clone(),
                Err(source) => return Err(SessionError::Info { stream: name, source }),
            };
            let incarnation = lives.incarnation(&info).await?;
            let last_sequence = info.state.last_sequence;
            let seen = fence.as_ref().map_or(0, |fence| fence.epoch);
            let later = provision::epoch_after(context, &name, seen).await?;
            let Some(fence) = fence else {
                let goes_on = later.as_ref().is_some_and(|later| later.lives_in(&incarnation));
                // An epoch that goes on has a base, whatever the messages say.
                let highest = if goes_on {
                    Version::ZERO
                } else {
                    let highest = highest_version(&stream, last_sequence).await;
                    highest.map_err(|source| SessionError::History {
                        stream: name.clone(),
                        source,
                    })?
                };
                let beginning = Beginning::of(later.as_ref(), &incarnation, highest, last_sequence)?;
                tracing::info!(
                    %partition,
                    epoch = beginning.epoch,
                    goes_on = beginning.replays,
                    "postgresql knows nothing of the partition: making its fence"
                );
                self.postgres
                    .create_fence_if_absent(partition, &name, &incarnation, beginning)
                    .await?;
                continue;
            };
            if fence.failed_over {
                self.postgres.replay_after_failover(partition).await?;
                continue;
            }
            if fence.mode != Mode::Queue {
                return Err(SessionError::Closed);
            }
            let epoch = fence.epoch;
            match judge(&fence, later.as_ref(), &name, &incarnation, last_sequence) {
                Judgement::Pass => {
                    provision::ensure_consumer(context, &name, &fence).await?;
                    // From now on NATS remembers the epoch. If the fence is another one by now, look again.
                    let asked = Instant::now();
                    match self.postgres.fence(partition).await? {
                        Some(now) if is_same(&fence, &now) => self.fences.observe(&now, asked),
                        _ => continue,
                    }
                    return Ok(Gate {
                        stream,
                        base: fence.base,
                        one_copy: self.config.replicas == 1,
                        fullness: Fullness::new(),
                        epoch: fence.epoch,
                        highest_acked: AtomicU64::new(last_sequence),
                        lease: self.lease(partition),
                    });
                }
                Judgement::Raise(reason) => {
                    let raised = self.postgres.raise_epoch(
                        partition,
                        epoch,
                        &incarnation,
                        last_sequence,
                        later.as_ref(),
                    );
                    if let Raised::Here(now) = raised.await? {
                        tracing::warn!(%partition, epoch, now = now.epoch, reason, "raised the epoch");
                    }
                }
                Judgement::Restore(lost) => {
                    if let Raised::Here(now) = self.postgres.restore_epoch(partition, epoch, lost).await? {
                        tracing::warn!(%partition, epoch, now = now.epoch, "postgresql had lost an epoch: it goes on");
                    }
                }
                Judgement::Foreign => {
                    return Err(SessionError::Foreign {
                        theirs: fence.stream,
                        ours: name,
                    });
                }
            }
        }
        Err(SessionError::Contended)
    }

    fn lease(&self, partition: Partition) -> Option<Lease> {
        (self.on_outage == OnQueueOutage::WriteThrough).then(|| Lease {
            leases: self.fences.leases(),
            partition,
        })
    }

    /// Returns when the connection broke or was given up, when its epoch is over or lost, or when there are other partitions.
    async fn watch(&self, session: &Session, current: &Weak<ArcSwapOption<Session>>) {
        let (mut fences, mut layouts) = (self.fences.subscribe(), self.fences.layouts());
        while current.strong_count() > 0 {
            if self.fences.layout() != Some(session.layout) {
                return session.end("there are other partitions now");
            }
            let read = fences.borrow_and_update().clone();
            if session.is_over(&read) {
                return session.end("the epoch is over");
            }
            // What was read may be older than the session.
            let is_doubtful = session.is_lost(&read);
            if is_doubtful
                && self
                    .postgres
                    .fences()
                    .await
                    .is_ok_and(|now| session.is_lost(&now))
            {
                return session.end("postgresql has lost the epoch");
            }
            tokio::select! {
                () = session.ended.cancelled() => return,
                changed = fences.changed() => if changed.is_err() { return },
                changed = layouts.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(WATCH_INTERVAL), if is_doubtful => {}
            }
        }
    }
}

/// Whether nothing has changed that a connection depends on.
fn is_same(before: &Fence, now: &Fence) -> bool {
    let of = |fence: &Fence| (fence.epoch, fence.base, fence.mode, fence.failed_over);
    of(before) == of(now) && before.incarnation == now.incarnation
}
