//! The write path: the log first, then the copy.
//!
//! The stream is the truth. A crash before the acknowledgement leaves a write that its client knows nothing of; a crash
//! after it leaves an older copy in Redis until the worker has persisted the write and removed that copy.

use axum::http::StatusCode;
use birbnest_core::{Content, Entry, EntryId, Record, Timestamp};
use birbnest_stores::{
    jetstream::{AppendError, Log},
    redis::Cache,
};

use crate::problem::Problem;

/// What a write came to.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) entry: Entry,
    /// When the key came to have an entry, taken over from the copy that this one replaced.
    pub(crate) created_at: Option<String>,
    /// False when Redis could not be told: the write is queued all the same.
    pub(crate) cached: bool,
}

/// Writes entries and tombstones, cheap to clone.
#[derive(Clone)]
pub(crate) struct WritePath {
    log: Log,
    cache: Cache,
    partitions: u16,
}

impl WritePath {
    pub(crate) fn new(log: Log, cache: Cache, partitions: u16) -> Self {
        Self {
            log,
            cache,
            partitions,
        }
    }

    /// Stores an entry.
    pub(crate) async fn put(&self, record: Record) -> Result<Written, Problem> {
        self.write(record).await
    }

    /// Stores a tombstone.
    pub(crate) async fn delete(&self, id: EntryId) -> Result<Written, Problem> {
        let now = Timestamp::now();
        let tombstone = Record {
            id,
            content: Content::Tombstone,
            created_at: now,
            updated_at: now,
            expires_at: None,
            operation_ids: Vec::new(),
        };
        self.write(tombstone).await
    }

    /// Detached: a client that hangs up must not cut the write in two.
    async fn write(&self, record: Record) -> Result<Written, Problem> {
        let path = self.clone();
        match tokio::spawn(async move { path.append_and_copy(record).await }).await {
            Ok(written) => written,
            Err(panicked) => Err(outcome_unknown().cause(&panicked)),
        }
    }

    async fn append_and_copy(self, record: Record) -> Result<Written, Problem> {
        let hash = record.id.hash();
        let partition = hash.partition(self.partitions);
        let version = self.log.append(partition, hash, &record).await?;
        let entry = Entry { version, record };
        // The promise is made: a cold Redis turns 201 into 202, never into an error.
        match self.cache.write(partition, &entry).await {
            Ok(created_at) => Ok(Written {
                entry,
                created_at,
                cached: true,
            }),
            Err(error) => {
                tracing::debug!(%error, "a write was queued and not copied to redis");
                Ok(Written {
                    entry,
                    created_at: None,
                    cached: false,
                })
            }
        }
    }
}

fn outcome_unknown() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "TIMEOUT").retry_after(1).detail(
        "the outcome of this write is unknown: it may have been stored; read the key to find out, or write again",
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
