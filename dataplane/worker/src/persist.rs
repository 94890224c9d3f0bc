//! Writing a batch into PostgreSQL, whatever it takes.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use birbnest_core::{Entry, Partition, config::RetryConfig};
use birbnest_service::{Heartbeat, Shutdown};
use birbnest_stores::postgres::{Postgres, Rejection};
use tokio::time::sleep;

use crate::{batch::Batch, metrics::Metrics, receipt::Receipt};

/// While PostgreSQL is away it is asked this often at the least: a backlog is waiting for its return.
const LONGEST_OUTAGE_PAUSE: Duration = Duration::from_secs(2);
/// How often the server is told that a batch in hand is still being worked on; well below `ack_wait` (30 s).
const KEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Writes the batches of one partition.
#[derive(Clone)]
pub(crate) struct Persister {
    pub(crate) partition: Partition,
    pub(crate) postgres: Postgres,
    pub(crate) retry: RetryConfig,
    pub(crate) shutdown: Shutdown,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) metrics: Metrics,
}

/// The process ends while PostgreSQL is away: the rest of the batch is for another worker.
#[derive(Debug)]
pub(crate) struct Abandoned;

/// Why a statement was given up.
enum GivenUp {
    /// One of its rows is to blame.
    Rejected(Rejection),
    Shutdown,
}

impl Persister {
    /// Writes the batch; says for each entry why PostgreSQL rejects it, or nothing when it is written. Returns only when
    /// that is known of every entry: while PostgreSQL is away it waits, which also stops the pulling.
    pub(crate) async fn persist(&self, batch: &Batch<Receipt>) -> Result<Vec<Option<Rejection>>, Abandoned> {
        let mut rejections = vec![None; batch.entries.len()];
        let whole = 0..batch.entries.len();
        let mut todo = vec![whole];
        while let Some(range) = todo.pop() {
            let Some(entries) = batch
                .entries
                .get(range.clone())
                .filter(|entries| !entries.is_empty())
            else {
                continue;
            };
            match self.upsert(entries, batch).await {
                Ok(()) => {}
                Err(GivenUp::Shutdown) => return Err(Abandoned),
                Err(GivenUp::Rejected(error)) if range.len() == 1 => {
                    if let Some(rejection) = rejections.get_mut(range.start) {
                        *rejection = Some(error);
                    }
                }
                // Until the row stands alone.
                Err(GivenUp::Rejected(_)) => todo.extend(halves(&range)),
            }
        }
        Ok(rejections)
    }

    /// Writes some entries of the batch, as often as it takes.
    async fn upsert(&self, entries: &[Entry], batch: &Batch<Receipt>) -> Result<(), GivenUp> {
        let mut pause = Backoff::new(self.retry.backoff.get(), LONGEST_OUTAGE_PAUSE);
        let mut kept = Instant::now();
        loop {
            self.heartbeat.beat();
            let started = Instant::now();
            let error = match self.postgres.upsert(self.partition, entries).await {
                Ok(written) => {
                    let ghosts = entries
                        .iter()
                        .filter(|entry| entry.version <= written.mark)
                        .count();
                    self.metrics.upserted(started.elapsed(), written.rows, ghosts);
                    return Ok(());
                }
                Err(error) => error,
            };
            self.metrics.upsert_failed(error.category());
            if let Some(rejection) = error.rejection() {
                return Err(GivenUp::Rejected(rejection));
            }
            if self.shutdown.has_begun() {
                return Err(GivenUp::Shutdown);
            }
            tracing::debug!(partition = %self.partition, %error, "the batch is kept until PostgreSQL takes it");
            if kept.elapsed() >= KEEP_INTERVAL {
                keep(batch).await;
                kept = Instant::now();
            }
            self.shutdown.or(sleep(pause.next())).await;
        }
    }
}

async fn keep(batch: &Batch<Receipt>) {
    for receipt in batch.all_receipts() {
        receipt.keep().await;
    }
}

fn halves(range: &Range<usize>) -> [Range<usize>; 2] {
    let middle = range.start + range.len() / 2;
    [range.start..middle, middle..range.end]
}

/// Pauses that double up to a limit. Each is cut by up to a half at random, so that workers do not come all at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first.min(longest),
            longest,
        }
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        jittered(pause)
    }
}

/// Cut by up to a half at random.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_cover_the_range_and_end_at_single_rows() {
        let whole = 3..10;
        let mut todo = vec![whole.clone()];
        let mut singles = Vec::new();
        while let Some(range) = todo.pop() {
            if range.len() == 1 {
                singles.push(range.start);
            } else {
                todo.extend(halves(&range));
            }
        }
        singles.sort_unstable();
        assert_eq!(singles, whole.collect::<Vec<_>>());
    }

    #[test]
    fn pauses_double_up_to_the_limit() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        for most in [100, 200, 300, 300] {
            let pause = backoff.next();
            let most = Duration::from_millis(most);
            assert!(pause <= most && pause >= most / 2, "{pause:?}");
        }
    }
}
