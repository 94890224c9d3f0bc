//! The loop that takes one partition's messages from the stream to the refresher.

use std::time::Duration;

use async_nats::Client;
use birbnest_core::{Partition, config::WorkerConfig};
use birbnest_service::Shutdown;
use birbnest_stores::fence::FenceWatch;
use tokio::{sync::mpsc::Sender, time::sleep};

use crate::{
    batch::{Batch, Receipts},
    metrics::Metrics,
    persist::{Abandoned, Backoff, Persister},
    receipt::Receipt,
    refresh::Committed,
    size::BatchSize,
    source::{Pulled, Source, SourceError},
    source_health::SourceHealth,
};

/// Between attempts to find a consumer that is missing.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The longest that a message which cannot be written waits for its next turn.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// One of the loops of a partition.
pub(crate) struct Drain {
    pub(crate) partition: Partition,
    pub(crate) stream: String,
    pub(crate) client: Client,
    pub(crate) fences: FenceWatch,
    pub(crate) health: SourceHealth,
    pub(crate) persister: Persister,
    pub(crate) committed: Sender<Committed>,
    pub(crate) config: WorkerConfig,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: Metrics,
}

impl Drain {
    /// Goes on until the shutdown; what is in hand then is written and sent on.
    pub(crate) async fn run(self) {
        self.shutdown.or(self.until_fence()).await;
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while !self.shutdown.has_begun() {
            let ended = match Source::open(&self.client, &self.stream).await {
                Ok(source) => {
                    pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
                    self.drain(&source).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                self.health.failing(self.partition, &error);
                self.persister.heartbeat.beat();
                self.shutdown.or(sleep(pause.next())).await;
            }
        }
    }

    /// Nothing can be written before the partition has a fence; the first API makes it.
    async fn until_fence(&self) {
        let mut fences = self.fences.subscribe();
        while self.fences.get(self.partition).is_none() {
            tokio::select! {
                changed = fences.changed() => if changed.is_err() { return },
                () = sleep(LONGEST_PAUSE) => {}
            }
            self.persister.heartbeat.beat();
        }
    }

    /// Pulls and settles until the shutdown, or until the source fails.
    async fn drain(&self, source: &Source) -> Result<(), SourceError> {
        let mut size = BatchSize::new(&self.config.batch);
        let mut backlog = false;
        while !self.shutdown.has_begun() {
            self.persister.heartbeat.beat();
            let limit = size.limit();
            let pulled = source.pull(limit, self.config.batch.wait.get(), backlog).await?;
            self.health.healthy(self.partition);
            backlog = pulled.waiting > 0;
            if pulled.len() > 0 {
                size.adapt(pulled.len(), pulled.waiting);
                self.metrics.pulled(pulled.len(), pulled.redelivered());
                self.settle(pulled).await;
            }
        }
        Ok(())
    }

    async fn settle(&self, pulled: Pulled) {
        for (receipt, reason) in pulled.unreadable {
            self.set_aside(receipt, "unreadable", &reason).await;
        }
        let batch = Batch::of(pulled.entries);
        match self.persister.persist(&batch).await {
            Ok(rejections) => self.send_on(batch, rejections).await,
            Err(Abandoned) => hand_back(batch).await,
        }
    }

    /// What was written goes to the refresher, what was rejected back into the stream.
    async fn send_on(&self, batch: Batch<Receipt>, rejections: Vec<Option<String>>) {
        let mut committed = Committed {
            entries: Vec::with_capacity(batch.entries.len()),
            receipts: Vec::new(),
        };
        for ((entry, receipts), rejection) in batch.entries.into_iter().zip(batch.receipts).zip(rejections) {
            match rejection {
                None => {
                    committed.entries.push((entry.record.id, entry.version));
                    committed.receipts.extend(receipts.into_all());
                }
                Some(reason) => self.reject(receipts, &reason).await,
            }
        }
        if !committed.entries.is_empty() && self.committed.send(committed).await.is_err() {
            tracing::error!(partition = %self.partition, "the refresher is gone: the messages will come again");
        }
    }

    /// The newest version cannot be written. Older ones of the batch may be, so they come again first.
    async fn reject(&self, receipts: Receipts<Receipt>, reason: &str) {
        for receipt in receipts.superseded {
            receipt.hand_back(None).await;
        }
        for receipt in receipts.newest {
            self.set_aside(receipt, "rejected", reason).await;
        }
    }

    /// Nothing is lost: the message stays in the stream, unacknowledged, and comes again after a growing delay. It is
    /// logged once, when its attempts are used up.
    async fn set_aside(&self, receipt: Receipt, kind: &'static str, reason: &str) {
        self.metrics.set_aside(kind);
        let attempts = receipt.delivered();
        if attempts == u32::from(self.config.retry.max_attempts) {
            tracing::error!(
                partition = %self.partition,
                subject = receipt.subject(),
                sequence = receipt.sequence(),
                attempts,
                reason,
                "a write cannot be persisted: it stays in the stream, and readers see it only as long as it does"
            );
        }
        let delay = delay_after(attempts, self.config.retry.backoff.get());
        receipt.hand_back(Some(delay)).await;
    }
}

/// Another worker gets them at once, instead of after `ack_wait`.
async fn hand_back(batch: Batch<Receipt>) {
    for receipt in batch.receipts.into_iter().flat_map(Receipts::into_all) {
        receipt.hand_back(None).await;
    }
}

/// Doubles with each attempt, counted from 1.
fn delay_after(attempts: u32, first: Duration) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    first.saturating_mul(1 << doublings).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_of_a_message_that_cannot_be_written_grows_up_to_half_a_minute() {
        let delays = [1, 2, 3, 9, u32::MAX].map(|attempts| delay_after(attempts, Duration::from_millis(200)));
        let millis: Vec<_> = delays.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [200, 400, 800, 30_000, 30_000]);
    }
}
