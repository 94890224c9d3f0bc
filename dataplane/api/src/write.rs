//! The write path: the log first, then the copy, and for whoever waits for it the database.
//!
//! The stream is the truth. A crash before the acknowledgement leaves a write that its client knows nothing of; a crash
//! after it leaves an older copy in Redis until the worker has persisted the write and removed that copy.

use std::sync::Arc;

use axum::http::StatusCode;
use birbnest_core::{
    Durability, Entry, EntryId, KeyHash, Partition, Record, Share, Version, WriteMode, config::CacheConfig,
};
use birbnest_stores::{
    jetstream::{AppendError, Log},
    redis::Cache,
};
use futures::future::join_all;

use crate::{
    change::{Change, tombstone},
    decide::{Decided, Decider},
    durable::Durable,
    problem::Problem,
    sources::nowhere,
    terms::Terms,
    through::Through,
};

/// What a client wants done, and on what terms.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) id: EntryId,
    pub(crate) change: Change,
    pub(crate) terms: Terms,
    /// What its body holds of the budget, as long as the write goes on.
    pub(crate) held: Option<Arc<Share>>,
}

impl Order {
    /// Whether it can be carried out whatever is there.
    fn is_blind(&self) -> bool {
        self.change.is_blind() && self.terms.are_blind()
    }
}

/// What a write came to.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) entry: Entry,
    /// When the key came to have an entry, taken over from the copy that this one replaced.
    pub(crate) created_at: Option<String>,
    /// False when Redis could not be told: the write is as safe all the same.
    pub(crate) cached: bool,
    /// How safe it is by now.
    pub(crate) durability: Durability,
    /// How safe it was meant to be.
    pub(crate) wanted: Durability,
    /// Whether it had been made before, under the same `Idempotency-Key`; the entry is what is there now.
    pub(crate) replayed: bool,
}

/// Makes writes.
pub(crate) struct WritePath {
    log: Log,
    cache: Cache,
    decider: Decider,
    durable: Durable,
    through: Option<Through>,
    mode: WriteMode,
    default: Durability,
}

impl WritePath {
    pub(crate) fn new(
        log: Log,
        cache: Cache,
        decider: Decider,
        durable: Durable,
        through: Option<Through>,
        config: &CacheConfig,
    ) -> Self {
        Self {
            log,
            cache,
            decider,
            durable,
            through,
            mode: config.write_mode,
            default: config.durability,
        }
    }

    /// Several at once: they share round trips, and each has an outcome of its own.
    pub(crate) async fn write_many(self: &Arc<Self>, orders: Vec<Order>) -> Vec<Result<Written, Problem>> {
        join_all(orders.into_iter().map(|order| self.write(order))).await
    }

    /// Detached: a client that hangs up must not cut the write in two.
    pub(crate) async fn write(self: &Arc<Self>, order: Order) -> Result<Written, Problem> {
        let path = Arc::clone(self);
        match tokio::spawn(async move { path.carry_out(order).await }).await {
            Ok(written) => written,
            Err(panicked) => Err(outcome_unknown().cause(&panicked)),
        }
    }

    async fn carry_out(&self, order: Order) -> Result<Written, Problem> {
        let hash = order.id.hash();
        let partition = self.log.partition_of_write(hash).await.ok_or_else(nowhere)?;
        let wanted = self.wanted(order.terms.durability);
        if let Some(through) = self.through.as_ref().filter(|through| through.takes(partition)) {
            return self.past_the_queue(through, order, partition, wanted).await;
        }
        let held = order.held.clone();
        let decided = if order.is_blind() {
            let entry = self.append(order, hash, partition).await?;
            Decided {
                entry,
                replayed: false,
            }
        } else {
            let Order {
                id, change, terms, ..
            } = order;
            // Boxed: its state is ten times that of a blind write, which every write would carry.
            let decision = self.decider.carry_out(id, hash, partition, change, &terms);
            Box::pin(decision).await?
        };
        Ok(self.settle(partition, decided, wanted, held).await)
    }

    fn wanted(&self, asked: Option<Durability>) -> Durability {
        match self.mode {
            WriteMode::Behind => asked.unwrap_or(self.default),
            WriteMode::Through => Durability::Persisted,
        }
    }

    /// Whatever is there.
    async fn append(&self, order: Order, hash: KeyHash, partition: Partition) -> Result<Entry, Problem> {
        let record = said(order.id, order.change);
        let version = self.log.append(partition, hash, &record, order.held).await?;
        Ok(Entry { version, record })
    }

    /// While NATS is away: what is in Redis is removed first, so that a crash after the commit leaves no older copy. Nobody
    /// stores another one there before the queue takes the writes again. If Redis could not be told, the commit makes
    /// every copy void.
    async fn past_the_queue(
        &self,
        through: &Through,
        order: Order,
        partition: Partition,
        wanted: Durability,
    ) -> Result<Written, Problem> {
        if !order.is_blind() {
            return Err(Problem::unavailable(
                "while the queue is away only plain writes and deletes are made: conditions, Idempotency-Key, patches and \
                 increments have to wait for it; nothing was written",
            ));
        }
        let record = said(order.id, order.change);
        let copy = [(&record.id, Version::MAX)];
        let removed = self.cache.invalidate(partition, &copy).await;
        if let Err(error) = &removed {
            tracing::debug!(%error, "every copy in redis becomes void with this write");
        }
        let version = through
            .write(partition, record.clone(), removed.is_err(), order.held)
            .await?;
        Ok(Written {
            entry: Entry { version, record },
            created_at: None,
            cached: removed.is_ok(),
            durability: Durability::Persisted,
            wanted,
            replayed: false,
        })
    }

    /// What was appended elsewhere, as a write that wants nothing special.
    pub(crate) async fn settle_plain(&self, partition: Partition, decided: Decided) -> Written {
        self.settle(partition, decided, self.wanted(None), None).await
    }

    /// The promise is made: a cold Redis or an absent database turns 201 into 202, never into an error.
    async fn settle(
        &self,
        partition: Partition,
        decided: Decided,
        wanted: Durability,
        held: Option<Arc<Share>>,
    ) -> Written {
        let Decided { entry, replayed } = decided;
        let (copied, persisted) = tokio::join!(self.cache.write(partition, &entry), async {
            wanted == Durability::Persisted && self.durable.persist(partition, entry.clone(), held).await
        });
        if let Err(error) = &copied {
            tracing::debug!(%error, "a write was queued and not copied to redis");
        }
        Written {
            cached: copied.is_ok(),
            created_at: copied.unwrap_or_default(),
            durability: if persisted {
                Durability::Persisted
            } else {
                Durability::Queued
            },
            wanted,
            replayed,
            entry,
        }
    }
}

/// The record of a write that says everything itself.
fn said(id: EntryId, change: Change) -> Record {
    match change {
        Change::Put(draft) => draft.into_record(id, None),
        _ => tombstone(id),
    }
}

pub(crate) fn outcome_unknown() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "TIMEOUT").retry_after(1).detail(
        "the outcome of this write is unknown: it may have been stored; read the key to find out. A write that carries an \
         Idempotency-Key can be sent again and is never made twice",
    )
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match &error {
            AppendError::Down(_) => {
                Self::unavailable("the queue is not reachable, nothing was written").cause(&error)
            }
            AppendError::Full => Self::unavailable(
                "the queue is full, nothing was written: the database does not take writes as fast as they come",
            )
            .cause(&error),
            AppendError::Refused(_) => {
                Self::unavailable("the queue refused the write, nothing was written").cause(&error)
            }
            AppendError::Conflict => Self::unavailable("another write of the key came first, nothing was written").cause(&error),
            AppendError::OutcomeUnknown(_) => outcome_unknown().cause(&error),
            AppendError::Unencodable(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR")
                .detail("the entry could not be encoded")
                .cause(&error),
        }
    }
}
