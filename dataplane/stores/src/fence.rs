//! The fence: a PostgreSQL row per partition that says which stream is the partition's log, and from where on versions
//! count. Every connection passes it before it publishes; every process watches it, and which partitions there are.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use birbnest_core::{Incarnation, Layout, Partition};
use tokio::{sync::watch, time::timeout};

use crate::{
    Connectivity,
    epoch::Remembered,
    lease::Leases,
    postgres::{KnownLayout, Postgres, PostgresError},
    redis::Generations,
};

pub use crate::{
    lease::LEASE,
    postgres::{Fence, Mode},
};

/// How often the fences are read: for so long a copy that a worker could not refresh may still be served.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How often while another layout is about to begin: for so long writes wait that need not.
const HURRIED_INTERVAL: Duration = Duration::from_millis(100);
/// For so long writes are held back for a layout that was announced. Whoever announced it may be dead.
const LONGEST_HOLD: Duration = Duration::from_secs(6);

/// What the fence says to a connection that wants to publish.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement<'a> {
    /// It is the stream that the fence names, with everything that is recorded.
    Pass,
    /// Sequences may repeat: the epoch must be raised first. Says why.
    Raise(&'static str),
    /// PostgreSQL has lost this epoch, in which connections may be alive.
    Restore(&'a Remembered),
    /// The fence is that of another stream: another nest uses this schema.
    Foreign,
}

/// Compares the stream that a connection sees with the fence, which was read before. `later` is an epoch that NATS remembers and
/// the fence does not know.
pub fn judge<'a>(
    fence: &Fence,
    later: Option<&'a Remembered>,
    stream: &str,
    incarnation: &Incarnation,
    last_sequence: u64,
) -> Judgement<'a> {
    if fence.stream != stream {
        return Judgement::Foreign;
    }
    if let Some(later) = later {
        return if later.lives_in(incarnation) {
            Judgement::Restore(later)
        } else {
            Judgement::Raise("the database has lost an epoch, and the stream is another one")
        };
    }
    if fence.incarnation != *incarnation {
        return Judgement::Raise("the stream or its server is another one");
    }
    let recorded = fence
        .base
        .sequence_at(fence.highest_version)
        .max(fence.purge_sequence);
    if last_sequence < recorded {
        return Judgement::Raise("the stream went back to an older state");
    }
    Judgement::Pass
}

/// The layout as last read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeenLayout {
    /// What was read, and `changing` only for as long as that is waited for.
    pub known: KnownLayout,
    /// When this process saw the layout for the first time.
    pub since: Instant,
}

/// The layout and its fences as last read, cheap to clone.
#[derive(Clone)]
pub struct FenceWatch {
    layout: watch::Sender<Option<SeenLayout>>,
    fences: watch::Sender<Arc<[Fence]>>,
    generations: Generations,
    leases: Leases,
    status: watch::Receiver<Connectivity>,
}

impl FenceWatch {
    /// Starts reading the fences in the background, for as long as somebody watches.
    pub fn start(postgres: Postgres) -> Self {
        let (sender, status) = watch::channel(Connectivity::default());
        let watch = Self {
            layout: watch::channel(None).0,
            fences: watch::channel(Arc::from([])).0,
            generations: Generations::default(),
            leases: Leases::default(),
            status,
        };
        let reader = Reader {
            postgres,
            announced: None,
            layout: watch.layout.clone(),
            generations: watch.generations.clone(),
            leases: watch.leases.clone(),
            fences: watch.fences.clone(),
            status: sender,
        };
        tokio::spawn(reader.run());
        watch
    }

    /// The partitions that there are, once they were read.
    pub fn layout(&self) -> Option<Layout> {
        self.generations.layout()
    }

    /// Whether another layout is about to begin.
    pub fn is_changing(&self) -> bool {
        self.layout.borrow().is_some_and(|seen| seen.known.changing)
    }

    /// Waits while another layout is about to begin: for some seconds at most.
    pub async fn until_settled(&self) {
        // An error would say that nobody reads the layout any more, but this very watch keeps that task alive.
        let mut layout = self.layout.subscribe();
        let settled = |seen: &Option<SeenLayout>| seen.is_none_or(|seen| !seen.known.changing);
        let _seen = layout.wait_for(settled).await;
    }

    /// Waits until this process sees that a partition without a fence belongs to an earlier layout: for as long as that may
    /// take. `false` if it does not, and the fence was never there.
    pub async fn until_left(&self, partition: Partition) -> bool {
        let mut layout = self.layout.subscribe();
        let left =
            |seen: &Option<SeenLayout>| seen.is_some_and(|seen| seen.known.layout.place(partition).is_none());
        matches!(
            timeout(WATCH_INTERVAL * 2, layout.wait_for(left)).await,
            Ok(Ok(_))
        )
    }

    /// The layout, whenever it changes.
    pub fn layouts(&self) -> watch::Receiver<Option<SeenLayout>> {
        self.layout.subscribe()
    }

    /// The generation counters, which follow the fences.
    pub fn generations(&self) -> Generations {
        self.generations.clone()
    }

    /// Whether PostgreSQL answers, and if not, why.
    pub fn status(&self) -> watch::Receiver<Connectivity> {
        self.status.clone()
    }

    /// Takes over a fence that was read elsewhere, so that nobody waits for the next look; `asked` is a moment before that.
    pub(crate) fn observe(&self, fence: &Fence, asked: Instant) {
        self.generations.advance(fence.partition, fence.generation);
        self.leases.renew(fence, asked);
    }

    /// Takes over the cache generation of a partition.
    pub fn advance(&self, partition: Partition, generation: u64) {
        self.generations.advance(partition, generation);
    }

    /// The leases that the looks at the fences are.
    pub(crate) fn leases(&self) -> Leases {
        self.leases.clone()
    }

    /// Who takes the writes of a partition, as last read.
    pub fn mode(&self, partition: Partition) -> Option<Mode> {
        find(&self.fences.borrow(), partition).map(|fence| fence.mode)
    }

    /// Whether PostgreSQL takes the writes of any partition, as last read.
    pub fn is_written_through(&self) -> bool {
        self.fences
            .borrow()
            .iter()
            .any(|fence| fence.mode == Mode::Through)
    }

    /// The fences as last read.
    pub(crate) fn all(&self) -> Arc<[Fence]> {
        self.fences.borrow().clone()
    }

    /// The fences, whenever they change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<[Fence]>> {
        self.fences.subscribe()
    }

    /// The fence of a partition, if it has been read and exists.
    pub fn get(&self, partition: Partition) -> Option<Fence> {
        find(&self.fences.borrow(), partition).cloned()
    }
}

fn find(fences: &[Fence], partition: Partition) -> Option<&Fence> {
    fences.iter().find(|fence| fence.partition == partition)
}

/// What the looks go to.
struct Reader {
    postgres: Postgres,
    /// Since when another layout is announced after this one.
    announced: Option<(Layout, Instant)>,
    layout: watch::Sender<Option<SeenLayout>>,
    generations: Generations,
    leases: Leases,
    fences: watch::Sender<Arc<[Fence]>>,
    status: watch::Sender<Connectivity>,
}

impl Reader {
    async fn run(mut self) {
        while !self.status.is_closed() {
            let asked = Instant::now();
            match read(&self.postgres).await {
                Ok((layout, fences)) => {
                    self.take_layout(layout);
                    self.take_fences(fences, asked);
                    self.status.send_replace(Connectivity::Connected);
                }
                Err(error) => {
                    self.stop_holding();
                    let error = self.postgres.explain(error).await;
                    self.status.send_replace(Connectivity::lost(&error));
                }
            }
            let pause = if self.announced.is_some() {
                HURRIED_INTERVAL
            } else {
                WATCH_INTERVAL
            };
            tokio::time::sleep(pause.saturating_sub(asked.elapsed())).await;
        }
    }

    fn take_layout(&mut self, read: Option<KnownLayout>) {
        let Some(read) = read else { return };
        let announced = match self.announced {
            Some((layout, since)) if layout == read.layout => since,
            _ => Instant::now(),
        };
        self.announced = read.changing.then_some((read.layout, announced));
        let before = *self.layout.borrow();
        let since = match before {
            Some(seen) if seen.known.layout == read.layout => seen.since,
            _ => Instant::now(),
        };
        let known = KnownLayout {
            changing: read.changing && announced.elapsed() < LONGEST_HOLD,
            ..read
        };
        let seen = Some(SeenLayout { known, since });
        // Before anybody is told: whoever is finds the counters of the layout.
        self.generations.begin(known.layout);
        if seen != before {
            self.layout.send_replace(seen);
        }
    }

    /// Nobody can say that the change is called off while PostgreSQL is away.
    fn stop_holding(&self) {
        if self
            .announced
            .is_some_and(|(_, since)| since.elapsed() >= LONGEST_HOLD)
        {
            self.layout.send_if_modified(|seen| match seen {
                Some(SeenLayout { known, .. }) => std::mem::take(&mut known.changing),
                None => false,
            });
        }
    }

    fn take_fences(&self, mut read: Vec<Fence>, asked: Instant) {
        // Another layout may have begun between the two questions.
        let layout = self.generations.layout();
        read.retain(|fence| layout.is_some_and(|layout| layout.place(fence.partition).is_some()));
        for fence in &read {
            self.generations.advance(fence.partition, fence.generation);
            self.leases.renew(fence, asked);
        }
        self.fences.send_if_modified(|known| {
            let changed = **known != *read;
            if changed {
                *known = read.into();
            }
            changed
        });
    }
}

/// The layout, and the fences after a replay was started where PostgreSQL failed over. Whoever sees that first starts it,
/// for everybody.
async fn read(postgres: &Postgres) -> Result<(Option<KnownLayout>, Vec<Fence>), PostgresError> {
    let layout = postgres.layout().await?;
    let fences = postgres.fences().await?;
    let mut replayed = false;
    for fence in fences.iter().filter(|fence| fence.failed_over) {
        replayed = true;
        if postgres.replay_after_failover(fence.partition).await? {
            tracing::warn!(
                partition = %fence.partition,
                "postgresql failed over: what the stream still holds is written again, and copies in redis are void"
            );
        }
    }
    if replayed {
        Ok((layout, postgres.fences().await?))
    } else {
        Ok((layout, fences))
    }
}
