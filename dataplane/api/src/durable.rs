//! Writes that wait for PostgreSQL.
//!
//! They are in the stream already, and a worker will persist them in its own time. Whoever waits has them written here and
//! now, by the very statement that workers use: guarded by version and mark, so it does not matter who comes first, and
//! what the worker does later changes nothing. Writes that wait at the same time share a transaction.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use birbnest_core::{Entry, Partition, Share, Version};
use birbnest_stores::{fence::FenceWatch, postgres::Postgres};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::writers::Writers;

/// Writes in one transaction.
const MAX_BATCH: usize = 500;
/// Writes that may wait per partition; more are answered as queued, which they are.
const MAX_WAITING: usize = 10_000;

/// Has entries written to PostgreSQL, cheap to clone.
#[derive(Clone)]
pub(crate) struct Durable {
    writers: Writers<Waiting>,
    fences: FenceWatch,
    patience: Duration,
}

/// An entry, and whoever waits for it.
struct Waiting {
    entry: Entry,
    waiter: Waiter,
}

struct Waiter {
    tell: oneshot::Sender<bool>,
    /// What the entry holds of the budget, also when its client has given up.
    _held: Option<Arc<Share>>,
}

impl Durable {
    /// Nobody waits longer than `patience`.
    pub(crate) fn start(postgres: &Postgres, fences: FenceWatch, patience: Duration) -> Self {
        let postgres = postgres.clone();
        let begin = move |partition, inbox| write_all(postgres.clone(), partition, inbox);
        Self {
            writers: Writers::new(fences.clone(), MAX_WAITING, begin),
            fences,
            patience,
        }
    }

    /// Whether PostgreSQL has this entry or a newer one of its key by now.
    pub(crate) async fn persist(&self, partition: Partition, entry: Entry, held: Option<Arc<Share>>) -> bool {
        let away = !self.fences.status().borrow().is_connected();
        let (tell, told) = oneshot::channel();
        let waiter = Waiter { tell, _held: held };
        let sent = !away && self.writers.hand_over(partition, Waiting { entry, waiter });
        sent && matches!(timeout(self.patience, told).await, Ok(Ok(true)))
    }
}

async fn write_all(postgres: Postgres, partition: Partition, mut inbox: mpsc::Receiver<Waiting>) {
    let mut waiting = Vec::with_capacity(MAX_BATCH);
    while inbox.recv_many(&mut waiting, MAX_BATCH).await > 0 {
        waiting.retain(|one| !one.waiter.tell.is_closed());
        write(&postgres, partition, &mut waiting).await;
    }
}

/// All in one transaction; one by one if a row among them is rejected.
async fn write(postgres: &Postgres, partition: Partition, waiting: &mut Vec<Waiting>) {
    let (entries, tells) = newest(waiting.drain(..));
    let written = postgres.upsert(partition, &entries).await;
    let rejected = matches!(&written, Err(error) if error.rejection().is_some());
    if let Err(error) = &written {
        tracing::debug!(%error, %partition, "writes that waited for postgresql stay queued");
    }
    for (entry, tell) in entries.iter().zip(tells) {
        let persisted = if rejected && entries.len() > 1 {
            postgres
                .upsert(partition, std::slice::from_ref(entry))
                .await
                .is_ok()
        } else {
            written.is_ok()
        };
        for one in tell {
            // Who does not wait any more does not need to know.
            let _gone = one.tell.send(persisted);
        }
    }
}

/// Of each key the newest entry, and all who wait for it or for one that it replaced.
fn newest(waiting: impl Iterator<Item = Waiting>) -> (Vec<Entry>, Vec<Vec<Waiter>>) {
    let mut waiting: Vec<_> = waiting.collect();
    waiting.sort_by(|a, b| {
        let order = |one: &Waiting| Reverse::<Version>(one.entry.version);
        a.entry
            .record
            .id
            .cmp(&b.entry.record.id)
            .then_with(|| order(a).cmp(&order(b)))
    });
    let (mut entries, mut tells): (Vec<Entry>, Vec<Vec<_>>) = (Vec::new(), Vec::new());
    for Waiting { entry, waiter } in waiting {
        match tells.last_mut() {
            Some(last)
                if entries
                    .last()
                    .is_some_and(|newest| newest.record.id == entry.record.id) =>
            {
                last.push(waiter);
            }
            _ => {
                entries.push(entry);
                tells.push(vec![waiter]);
            }
        }
    }
    (entries, tells)
}

#[cfg(test)]
mod tests {
    use birbnest_core::EntryId;

    use super::*;
    use crate::change::tombstone;

    fn waiting(key: &str, version: u64) -> Waiting {
        let id = EntryId::global(key.parse().unwrap());
        Waiting {
            entry: Entry {
                version: Version::new(version).unwrap(),
                record: tombstone(id),
            },
            waiter: Waiter {
                tell: oneshot::channel().0,
                _held: None,
            },
        }
    }

    #[test]
    fn a_key_is_written_once_and_everybody_who_waits_for_it_is_told() {
        let all = [waiting("b", 3), waiting("a", 1), waiting("b", 7), waiting("b", 5)];
        let (entries, tells) = newest(all.into_iter());
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| (entry.record.id.key.as_str(), entry.version.get()))
            .collect();
        assert_eq!(seen, [("a", 1), ("b", 7)]);
        assert_eq!(tells.iter().map(Vec::len).collect::<Vec<_>>(), [1, 3]);
    }
}
