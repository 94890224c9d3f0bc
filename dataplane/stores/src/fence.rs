//! The fence: a PostgreSQL row per partition that says which stream is the partition's log, and from where on versions
//! count. Every connection passes it before it publishes; every process watches it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use birbnest_core::{Incarnation, Partition};
use tokio::sync::watch;

use crate::{
    Connectivity,
    lease::Leases,
    postgres::{Postgres, PostgresError},
    redis::Generations,
};

pub use crate::{
    lease::LEASE,
    postgres::{Fence, Mode},
};

/// How often the fences are read: for so long a copy that a worker could not refresh may still be served.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// What the fence says to a connection that wants to publish.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is the stream that the fence names, with everything that is recorded.
    Pass,
    /// Sequences may repeat: the epoch must be raised first. Says why.
    Raise(&'static str),
    /// The fence is that of another stream: another nest uses this schema.
    Foreign,
}

/// Compares the stream that a connection sees with the fence, which was read before.
pub fn judge(fence: &Fence, stream: &str, incarnation: &Incarnation, last_sequence: u64) -> Judgement {
    if fence.stream != stream {
        return Judgement::Foreign;
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

/// The fences as last read, cheap to clone.
#[derive(Clone)]
pub struct FenceWatch {
    fences: watch::Sender<Arc<[Fence]>>,
    generations: Generations,
    leases: Leases,
    status: watch::Receiver<Connectivity>,
}

impl FenceWatch {
    /// Starts reading the fences in the background, for as long as somebody watches.
    pub fn start(postgres: Postgres, partitions: u16) -> Self {
        let (sender, status) = watch::channel(Connectivity::default());
        let watch = Self {
            fences: watch::channel(Arc::from([])).0,
            generations: Generations::unread(partitions),
            leases: Leases::none(partitions),
            status,
        };
        let reader = Reader {
            postgres,
            generations: watch.generations.clone(),
            leases: watch.leases.clone(),
            fences: watch.fences.clone(),
            status: sender,
        };
        tokio::spawn(reader.run());
        watch
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
    generations: Generations,
    leases: Leases,
    fences: watch::Sender<Arc<[Fence]>>,
    status: watch::Sender<Connectivity>,
}

impl Reader {
    async fn run(self) {
        let mut turn = tokio::time::interval(WATCH_INTERVAL);
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.status.is_closed() {
            turn.tick().await;
            let asked = Instant::now();
            match read(&self.postgres).await {
                Ok(read) => {
                    self.take(read, asked);
                    self.status.send_replace(Connectivity::Connected);
                }
                Err(error) => {
                    self.status.send_replace(Connectivity::lost(&error));
                }
            }
        }
    }

    fn take(&self, read: Vec<Fence>, asked: Instant) {
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

/// The fences, after a replay was started where PostgreSQL failed over. Whoever sees it first starts it, for everybody.
async fn read(postgres: &Postgres) -> Result<Vec<Fence>, PostgresError> {
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
        postgres.fences().await
    } else {
        Ok(fences)
    }
}
