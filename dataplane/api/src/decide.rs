//! Writes that depend on what is there: read from both sources, decide, and append only if the key's last message is
//! still the one that was read. Exact as long as a decision takes less time than the horizon, before whose end no message
//! that it could rest on is purged.

use std::time::Duration;

use birbnest_core::{Entry, EntryId, KeyHash, Partition, Timestamp};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout_at},
};
use uuid::Uuid;

use crate::{
    change::Change,
    problem::Problem,
    sources::{Ground, Sources},
    terms::Terms,
};

/// Operations of predecessors that an entry remembers: so many writes with an `Idempotency-Key` may follow one before it
/// is tried again.
const REMEMBERED_OPERATIONS: usize = 256;
/// Deciders of one process that would get in each other's way wait for each other instead.
const QUEUES: usize = 1024;
/// Pauses after another process came first.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// Decides and appends.
pub(crate) struct Decider {
    sources: Sources,
    deadline: Duration,
    queues: Box<[Mutex<()>]>,
}

/// What a decision came to.
pub(crate) struct Decided {
    /// What is there now, which may be a tombstone.
    pub(crate) entry: Entry,
    /// Whether the operation had been carried out before, so that nothing was done now.
    pub(crate) replayed: bool,
}

impl Decider {
    /// A decision takes at most `deadline`.
    pub(crate) fn new(sources: Sources, deadline: Duration) -> Self {
        Self {
            sources,
            deadline,
            queues: (0..QUEUES).map(|_| Mutex::default()).collect(),
        }
    }

    /// Looks, decides and appends, again and again while others come first.
    pub(crate) async fn carry_out(
        &self,
        id: EntryId,
        hash: KeyHash,
        partition: Partition,
        change: Change,
        terms: &Terms,
    ) -> Result<Decided, Problem> {
        let deadline = Instant::now() + self.deadline;
        let Ok(_turn) = timeout_at(deadline, self.queue(hash).lock()).await else {
            return Err(contended());
        };
        let mut pause = SHORTEST_PAUSE;
        loop {
            let Ok(ground) = timeout_at(deadline, self.sources.ground(partition, hash, &id)).await else {
                return Err(Problem::unavailable(
                    "queue and database took too long to answer, nothing was written",
                ));
            };
            let ground = ground?;
            if let Some(entry) = done(&ground, terms.operation) {
                return Ok(Decided {
                    entry,
                    replayed: true,
                });
            }
            match attempt(&ground, &id, change.clone(), terms).await? {
                Some(entry) => {
                    return Ok(Decided {
                        entry,
                        replayed: false,
                    });
                }
                None if Instant::now() + pause >= deadline => return Err(contended()),
                None => sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn queue(&self, hash: KeyHash) -> &Mutex<()> {
        &self.queues[hash.place(QUEUES)]
    }
}

/// The entry that was appended, `None` when another write came first.
async fn attempt(
    ground: &Ground,
    id: &EntryId,
    change: Change,
    terms: &Terms,
) -> Result<Option<Entry>, Problem> {
    let live = ground
        .newest
        .as_ref()
        .filter(|entry| entry.record.is_live(Timestamp::now()));
    terms.conditions.admit(live.map(|entry| entry.version))?;
    let mut record = change.apply(id.clone(), live)?;
    record.operation_ids = remembered(ground.newest.as_ref(), terms.operation);
    Ok(ground.append(record).await?)
}

/// What is there, if the operation has been carried out. Also a tombstone remembers.
fn done(ground: &Ground, operation: Option<Uuid>) -> Option<Entry> {
    let (entry, operation) = (ground.newest.as_ref()?, operation?);
    entry
        .record
        .operation_ids
        .contains(&operation)
        .then(|| entry.clone())
}

/// This operation, and those that led to what is there.
fn remembered(newest: Option<&Entry>, operation: Option<Uuid>) -> Vec<Uuid> {
    let before = newest
        .into_iter()
        .flat_map(|entry| entry.record.operation_ids.iter().copied());
    operation
        .into_iter()
        .chain(before)
        .take(REMEMBERED_OPERATIONS)
        .collect()
}

fn contended() -> Problem {
    Problem::unavailable("too many writes of this key at once, this one was not made")
}
