//! After the commit: no reader may find anything older in Redis; then the messages are acknowledged.

use std::{pin::pin, time::Duration};

use birbnest_core::{EntryId, Partition, Version};
use birbnest_service::Shutdown;
use birbnest_stores::{
    postgres::{Postgres, PostgresError},
    redis::{Cache, CacheError},
};
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, interval_at, sleep},
};

use crate::{metrics::Metrics, receipt::Receipt};

/// For so long a Redis that is away may come back before every copy in it is made void. While it lasts, committing goes
/// on and acknowledgements are held; it ends well before `ack_wait` (30 s).
const HOLD: Duration = Duration::from_secs(5);
/// How often the server is told that a batch is still in hand: well below `ack_wait`.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// How often a Redis that is away is tried.
const PAUSE: Duration = Duration::from_millis(200);

/// A batch that PostgreSQL holds.
pub(crate) struct Committed {
    /// What was written.
    pub(crate) entries: Vec<(EntryId, Version)>,
    /// The messages that are then done with.
    pub(crate) receipts: Vec<Receipt>,
}

/// Refreshes and acknowledges the batches of one partition.
pub(crate) struct Refresher {
    pub(crate) partition: Partition,
    pub(crate) cache: Cache,
    pub(crate) postgres: Postgres,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: Metrics,
}

impl Refresher {
    /// Goes on until nobody sends any more.
    pub(crate) async fn run(self, mut inbox: Receiver<Committed>) {
        while let Some(batch) = inbox.recv().await {
            let mut batches = vec![batch];
            // What was committed while Redis was away is settled in one go.
            while let Ok(more) = inbox.try_recv() {
                batches.push(more);
            }
            self.make_visible_in_time(&batches).await;
            self.acknowledge(batches).await;
        }
    }

    /// While Redis and PostgreSQL are both away, the server is told that the batches are still in hand.
    async fn make_visible_in_time(&self, batches: &[Committed]) {
        let mut turn = interval_at(Instant::now() + KEEP_EVERY, KEEP_EVERY);
        let mut visible = pin!(self.make_visible(batches));
        loop {
            tokio::select! {
                () = &mut visible => return,
                _ = turn.tick() => for receipt in batches.iter().flat_map(|batch| &batch.receipts) {
                    receipt.keep().await;
                },
            }
        }
    }

    /// Returns when no reader can find anything older than these batches in Redis: either the older copies are removed,
    /// or, when Redis could not be reached for some seconds, every copy of the partition is void.
    async fn make_visible(&self, batches: &[Committed]) {
        let entries: Vec<_> = batches
            .iter()
            .flat_map(|batch| batch.entries.iter().map(|(id, version)| (id, *version)))
            .collect();
        let since = Instant::now();
        loop {
            let Err(error) = self.cache.invalidate(self.partition, &entries).await else {
                return;
            };
            // The process that ends cannot hold anything.
            let patient = since.elapsed() < HOLD && !self.shutdown.has_begun();
            if !patient && self.raise_generation(&error).await {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn raise_generation(&self, cause: &CacheError) -> bool {
        match self.postgres.raise_generation(self.partition).await {
            Ok(generation) => {
                self.metrics.generation_raised();
                tracing::warn!(
                    partition = %self.partition, generation, error = %cause,
                    "redis could not be refreshed: its copies are void from now on"
                );
                true
            }
            // There are other partitions, which have another generation.
            Err(PostgresError::NoFence(_)) => true,
            Err(error) => {
                tracing::debug!(partition = %self.partition, %error, "the cache generation could not be raised yet");
                false
            }
        }
    }

    async fn acknowledge(&self, batches: Vec<Committed>) {
        for batch in batches {
            self.metrics.acknowledged(batch.receipts.len());
            for receipt in batch.receipts {
                receipt.acknowledge().await;
            }
        }
    }
}
