//! Writing a batch into PostgreSQL, whatever it takes.

use std::{ops::Range, pin::pin, time::Duration};

use birbnest_core::{Entry, Partition};
use birbnest_service::{Heartbeat, Shutdown};
use birbnest_stores::postgres::{Postgres, PostgresError, Rejection};
use tokio::time::{Instant, interval_at};

use crate::{batch::Batch, breaker::Breaker, metrics::Metrics, receipt::Receipt};

/// Writes the batches of one partition.
#[derive(Clone)]
pub(crate) struct Persister {
    pub(crate) partition: Partition,
    pub(crate) postgres: Postgres,
    pub(crate) breaker: Breaker,
    pub(crate) shutdown: Shutdown,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) metrics: Metrics,
}

/// The process ends while PostgreSQL is away, or the partition is no more: then another worker has persisted the batch.
#[derive(Debug)]
pub(crate) struct Abandoned;

/// Why a statement was given up.
enum GivenUp {
    /// One of its rows is to blame.
    Rejected(Rejection),
    Abandoned,
}

impl Persister {
    /// Writes the batch; says for each entry why PostgreSQL rejects it, or nothing when it is written. Returns only when
    /// that is known of every entry: while PostgreSQL is away it waits, which also stops the pulling. Meanwhile the server
    /// is told every now and then that the batch is still in hand, else it would deliver it to others, too.
    pub(crate) async fn persist(
        &self,
        batch: &Batch<Receipt>,
        keep_every: Duration,
    ) -> Result<Vec<Option<Rejection>>, Abandoned> {
        let mut turn = interval_at(Instant::now() + keep_every, keep_every);
        let mut written = pin!(self.write(batch));
        loop {
            tokio::select! {
                rejections = &mut written => return rejections,
                _ = turn.tick() => keep(batch).await,
            }
        }
    }

    async fn write(&self, batch: &Batch<Receipt>) -> Result<Vec<Option<Rejection>>, Abandoned> {
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
            match self.upsert(entries).await {
                Ok(()) => {}
                Err(GivenUp::Abandoned) => return Err(Abandoned),
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
    async fn upsert(&self, entries: &[Entry]) -> Result<(), GivenUp> {
        loop {
            self.shutdown.or(self.breaker.until_closed(&self.heartbeat)).await;
            self.heartbeat.beat();
            let started = Instant::now();
            let error = match self.postgres.upsert(self.partition, entries).await {
                Ok(written) => {
                    self.breaker.succeeded();
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
            if matches!(error, PostgresError::NoFence(_)) {
                return Err(GivenUp::Abandoned);
            }
            if let Some(rejection) = error.rejection() {
                self.breaker.succeeded();
                return Err(GivenUp::Rejected(rejection));
            }
            self.breaker.failed(&error);
            if self.shutdown.has_begun() {
                return Err(GivenUp::Abandoned);
            }
            tracing::debug!(partition = %self.partition, %error, "the batch is kept until PostgreSQL takes it");
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
