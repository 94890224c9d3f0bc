//! Writes past the queue, while NATS is away and the fence gives the writes to PostgreSQL.
//!
//! PostgreSQL is the truth: a write is made when its transaction commits, and the version is given in it. A crash before
//! leaves nothing, a crash after leaves a write that its client knows nothing of. Writes of one partition that come at the
//! same time share a transaction.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use birbnest_core::{Partition, Record, Share, Version};
use birbnest_stores::{
    fence::{FenceWatch, Mode},
    postgres::{Postgres, PostgresError, WrittenThrough},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{metrics::Metrics, problem::Problem, write::outcome_unknown, writers::Writers};

/// Writes in one transaction.
const MAX_BATCH: usize = 500;
/// Writes that may wait per partition; more are refused.
const MAX_WAITING: usize = 10_000;

/// Has writes committed, cheap to clone.
#[derive(Clone)]
pub(crate) struct Through {
    writers: Writers<Waiting>,
    fences: FenceWatch,
    patience: Duration,
}

/// A write, and whoever waits for it.
struct Waiting {
    record: Record,
    /// Redis could not be told.
    void_copies: bool,
    waiter: Waiter,
}

struct Waiter {
    tell: oneshot::Sender<Result<Version, Problem>>,
    /// What the write holds of the budget, also when its client has given up.
    _held: Option<Arc<Share>>,
}

impl Through {
    /// Nobody waits longer than `patience`.
    pub(crate) fn start(
        postgres: &Postgres,
        fences: FenceWatch,
        patience: Duration,
        metrics: &Metrics,
    ) -> Self {
        let (postgres, of_writer, metrics) = (postgres.clone(), fences.clone(), metrics.clone());
        let begin = move |partition, inbox| {
            let writer = Writer {
                postgres: postgres.clone(),
                fences: of_writer.clone(),
                metrics: metrics.clone(),
                partition,
            };
            writer.run(inbox)
        };
        Self {
            writers: Writers::new(fences.clone(), MAX_WAITING, begin),
            fences,
            patience,
        }
    }

    /// Whether PostgreSQL takes the writes of the partition, as far as is known here.
    pub(crate) fn takes(&self, partition: Partition) -> bool {
        self.fences.mode(partition) == Some(Mode::Through)
    }

    /// Commits a write whatever is there. With `void_copies` all copies in Redis are void from then on.
    pub(crate) async fn write(
        &self,
        partition: Partition,
        record: Record,
        void_copies: bool,
        held: Option<Arc<Share>>,
    ) -> Result<Version, Problem> {
        if !self.fences.status().borrow().is_connected() {
            return Err(neither());
        }
        let (tell, told) = oneshot::channel();
        let waiting = Waiting {
            record,
            void_copies,
            waiter: Waiter { tell, _held: held },
        };
        if !self.writers.hand_over(partition, waiting) {
            return Err(Problem::unavailable(
                "too many writes wait for the database, this one was not made",
            ));
        }
        match timeout(self.patience, told).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(outcome_unknown()),
        }
    }
}

/// Commits the writes of one partition.
struct Writer {
    postgres: Postgres,
    fences: FenceWatch,
    metrics: Metrics,
    partition: Partition,
}

impl Writer {
    async fn run(self, mut inbox: mpsc::Receiver<Waiting>) {
        let mut waiting = Vec::with_capacity(MAX_BATCH);
        while inbox.recv_many(&mut waiting, MAX_BATCH).await > 0 {
            waiting.retain(|one| !one.waiter.tell.is_closed());
            self.write(&mut waiting).await;
        }
    }

    /// All in one transaction; one by one if a row among them is rejected, of which nothing was written then.
    async fn write(&self, waiting: &mut Vec<Waiting>) {
        let void_copies = waiting.iter().any(|one| one.void_copies);
        let (records, waiters): (Vec<Record>, Vec<Waiter>) =
            waiting.drain(..).map(|one| (one.record, one.waiter)).unzip();
        let committed = self.commit(&records, void_copies).await;
        let alone = matches!(&committed, Err(error) if error.rejection().is_some()) && records.len() > 1;
        for (place, waiter) in waiters.into_iter().enumerate() {
            let outcome = if alone {
                let record = records.get(place..=place).unwrap_or_default();
                told(self.commit(record, void_copies).await.as_ref(), 0)
            } else {
                told(committed.as_ref(), place)
            };
            // Who does not wait any more does not need to know.
            let _gone = waiter.tell.send(outcome);
        }
    }

    /// The versions; none when PostgreSQL does not take the writes.
    async fn commit(&self, records: &[Record], void_copies: bool) -> Result<Vec<Version>, PostgresError> {
        let written = self.postgres.write_through(self.partition, records, void_copies);
        match written.await? {
            WrittenThrough::Committed { versions, generation } => {
                self.fences.advance(self.partition, generation);
                self.metrics
                    .written_through(u64::try_from(versions.len()).unwrap_or(u64::MAX));
                Ok(versions)
            }
            WrittenThrough::Closed => Ok(Vec::new()),
        }
    }
}

/// What became of the write at this place of a transaction.
fn told(committed: Result<&Vec<Version>, &PostgresError>, place: usize) -> Result<Version, Problem> {
    match committed {
        Ok(versions) => versions.get(place).copied().ok_or_else(|| {
            Problem::unavailable("the queue takes the writes again soon, this one was not made")
        }),
        Err(error) if error.rejection().is_some() => {
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_REQUEST")
                .detail("the database rejects this entry; nothing was written")
                .cause(error))
        }
        Err(error @ (PostgresError::Unavailable(_) | PostgresError::TimedOut(_))) => {
            Err(outcome_unknown().cause(error))
        }
        Err(error) => Err(neither().cause(error)),
    }
}

fn neither() -> Problem {
    Problem::unavailable("neither the queue nor the database takes writes, nothing was written")
}
