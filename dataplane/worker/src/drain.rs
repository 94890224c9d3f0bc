//! The loop that takes one partition's messages from the stream to the refresher.

use std::{pin::pin, time::Duration};

use async_nats::Client;
use birbnest_core::{DrainTerm, Partition, config::WorkerConfig};
use birbnest_service::Shutdown;
use birbnest_stores::{
    fence::{Fence, FenceWatch},
    postgres::Rejection,
};
use tokio::{
    sync::mpsc::Sender,
    time::{sleep, timeout},
};

use crate::{
    batch::{Batch, Receipts},
    metrics::Metrics,
    persist::{Abandoned, Backoff, Persister},
    poison::{Poison, Quarantine},
    receipt::Receipt,
    refresh::Committed,
    room::{Part, Room},
    size::BatchSize,
    source::{Pulled, Source, SourceError},
    source_health::SourceHealth,
};

/// Between attempts to find a consumer that is missing.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// One of the loops of a partition.
pub(crate) struct Drain {
    pub(crate) partition: Partition,
    pub(crate) stream: String,
    pub(crate) client: Client,
    pub(crate) fences: FenceWatch,
    pub(crate) health: SourceHealth,
    pub(crate) persister: Persister,
    pub(crate) poison: Quarantine,
    pub(crate) committed: Sender<Committed>,
    pub(crate) config: WorkerConfig,
    pub(crate) room: Room,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: Metrics,
}

impl Drain {
    /// Goes on until the shutdown, or until there are other partitions; what is in hand then is written and sent on.
    pub(crate) async fn run(self) {
        let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        while let Some(Some(fence)) = self.shutdown.or(self.until_fence()).await {
            // Boxed: what asks JetStream is large, and this future is one of many.
            let ended = Box::pin(self.drain_term(&fence, &mut pause)).await;
            if let Err(error) = ended {
                if self.is_of_the_layout() {
                    self.health.failing(self.partition, &error);
                }
                self.persister.heartbeat.beat();
                self.shutdown.or(sleep(pause.next())).await;
            }
        }
    }

    /// Drains by the consumer of the current term, until that is over.
    async fn drain_term(&self, fence: &Fence, pause: &mut Backoff) -> Result<(), SourceError> {
        let source = Source::open(&self.client, &self.stream, fence).await?;
        *pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        self.drain(&source, fence.term()).await
    }

    fn term(&self) -> Option<DrainTerm> {
        self.fences.get(self.partition).map(|fence| fence.term())
    }

    fn is_of_the_layout(&self) -> bool {
        let layout = self.fences.layout();
        layout.is_some_and(|layout| layout.place(self.partition).is_some())
    }

    /// Nothing can be written before the partition has a fence; the first API makes it. `None` when there are other
    /// partitions.
    async fn until_fence(&self) -> Option<Fence> {
        let mut fences = self.fences.subscribe();
        loop {
            self.persister.heartbeat.beat();
            if let Some(fence) = self.fences.get(self.partition) {
                return Some(fence);
            }
            if !self.is_of_the_layout() {
                return None;
            }
            // An error would say that nobody reads the fences any more, but this very watch keeps that task alive.
            let _changed = timeout(LONGEST_PAUSE, fences.changed()).await;
        }
    }

    /// Pulls and settles until the shutdown, until the source fails, or until the term is over.
    async fn drain(&self, source: &Source, term: DrainTerm) -> Result<(), SourceError> {
        let mut size = BatchSize::new(&self.config.batch);
        let mut backlog = false;
        while !self.shutdown.has_begun() && self.term() == Some(term) {
            self.persister.heartbeat.beat();
            let closed = self.persister.breaker.until_closed(&self.persister.heartbeat);
            if self.shutdown.or(closed).await.is_none() {
                return Ok(());
            }
            let part = if backlog {
                let Some(part) = self.until_room(source).await else {
                    return Ok(());
                };
                Some(part)
            } else {
                None
            };
            let pulled = source
                .pull(size.limit(), self.config.batch.wait.get(), part, &self.room)
                .await?;
            self.health.healthy(self.partition);
            backlog = pulled.waiting > 0;
            if pulled.len() > 0 {
                size.adapt(pulled.len(), pulled.waiting);
                self.metrics.pulled(pulled.len(), pulled.redelivered());
                // Boxed: what upserts is large.
                Box::pin(self.settle(pulled)).await;
            }
        }
        Ok(())
    }

    /// Waits until there is room for a batch; `None` when the shutdown began meanwhile.
    async fn until_room(&self, source: &Source) -> Option<Part> {
        let mut part = pin!(self.room.part(source.largest()));
        loop {
            self.persister.heartbeat.beat();
            match self.shutdown.or(timeout(LONGEST_PAUSE, &mut part)).await {
                Some(Err(_)) => {}
                Some(Ok(part)) => return part,
                None => return None,
            }
        }
    }

    async fn settle(&self, pulled: Pulled) {
        let _room_taken = pulled.part;
        // What nobody can read does not need the database, which may be away.
        let unreadable = pulled.unreadable.into_iter().map(Poison::unreadable);
        self.poison.settle(unreadable.collect()).await;
        let batch = Batch::of(pulled.entries);
        match self.persister.persist(&batch, pulled.keep_every).await {
            Ok(rejections) => {
                let rejected = self.send_on(batch, rejections).await;
                self.poison.settle(rejected).await;
            }
            Err(Abandoned) => hand_back(batch).await,
        }
    }

    /// What was written goes to the refresher; what was rejected is returned.
    async fn send_on(&self, batch: Batch<Receipt>, rejections: Vec<Option<Rejection>>) -> Vec<Poison> {
        let mut poison = Vec::new();
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
                Some(rejection) => {
                    // Older writes of the batch may be acceptable: they come again at once.
                    for receipt in receipts.superseded {
                        receipt.hand_back(None).await;
                    }
                    poison.push(Poison::rejected(entry, receipts.newest, rejection));
                }
            }
        }
        if !committed.entries.is_empty() && self.committed.send(committed).await.is_err() {
            tracing::error!(partition = %self.partition, "the refresher is gone: the messages will come again");
        }
        poison
    }
}

/// Another worker gets them at once, instead of after `ack_wait`.
async fn hand_back(batch: Batch<Receipt>) {
    for receipt in batch.receipts.into_iter().flat_map(Receipts::into_all) {
        receipt.hand_back(None).await;
    }
}
