//! Messages that cannot be written: tried again a few times, then moved to the dead letters.
//!
//! The persist stream is the truth until JetStream has acknowledged the letter; then both hold the write, until the
//! original is acknowledged. Dying in between makes the same letter once more, which its message id or, later, its
//! version makes harmless. First of all PostgreSQL notes the key, so that nothing which is newer than the letter is swept
//! before somebody has decided about it.

use std::time::Duration;

use birbnest_core::{Entry, EntryId, Partition, Timestamp, Version, config::RetryConfig, encode};
use birbnest_stores::{
    jetstream::{AppendError, DeadLetter, DeadLetters},
    postgres::{Postgres, PostgresError, Rejection},
};
use bytes::Bytes;
use futures::future::join_all;

use crate::{metrics::Metrics, persist::jittered, receipt::Receipt, source::Unreadable};

/// The longest that a message which cannot be written waits for its next turn.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Letters on their way at the same time.
const AT_ONCE: usize = 32;

/// A message that cannot be written.
pub(crate) struct Poison {
    /// What is not acceptable; none where nobody can read what it is.
    write: Option<(EntryId, Version)>,
    version: Option<Version>,
    payload: Bytes,
    rejection: Rejection,
    /// At least one; several when it was delivered again while it was in hand.
    receipts: Vec<Receipt>,
}

impl Poison {
    /// A write that PostgreSQL rejects.
    pub(crate) fn rejected(entry: Entry, receipts: Vec<Receipt>, rejection: Rejection) -> Self {
        // Strings, numbers and raw JSON cannot fail to serialize.
        let payload = encode(&entry.record).unwrap_or_default();
        Self {
            version: Some(entry.version),
            write: Some((entry.record.id, entry.version)),
            payload: payload.into(),
            rejection,
            receipts,
        }
    }

    /// A message that says nothing.
    pub(crate) fn unreadable(message: Unreadable) -> Self {
        Self {
            write: None,
            version: message.version,
            payload: message.payload,
            rejection: Rejection {
                reason: message.reason,
                sqlstate: None,
            },
            receipts: vec![message.receipt],
        }
    }

    /// How often it was delivered.
    fn attempts(&self) -> u32 {
        self.receipts.iter().map(Receipt::delivered).max().unwrap_or(0)
    }

    /// Whose fault it is, as a metric label.
    fn kind(&self) -> &'static str {
        if self.write.is_none() {
            return "unreadable";
        }
        let state = self.rejection.sqlstate.as_deref().unwrap_or_default();
        match state.get(..2).unwrap_or_default() {
            "22" => "data",
            "23" | "44" => "constraint",
            "54" => "limit",
            "P0" | "09" | "27" => "trigger",
            _ => "other",
        }
    }

    fn letter(&self, partition: Partition) -> Option<DeadLetter> {
        let receipt = self.receipts.first()?;
        Some(DeadLetter {
            subject: receipt.subject().to_owned(),
            partition,
            sequence: receipt.sequence(),
            version: self.version,
            reason: self.rejection.reason.clone(),
            sqlstate: self.rejection.sqlstate.clone(),
            attempts: self.attempts(),
            time: Timestamp::now(),
            payload: self.payload.clone(),
        })
    }
}

/// Why a message is not a dead letter yet.
#[derive(Debug, thiserror::Error)]
enum NotMoved {
    #[error("the stream of the dead letters did not take it: {0}")]
    Stream(#[from] AppendError),
    #[error("its key could not be noted: {0}")]
    Note(#[from] PostgresError),
    #[error("an earlier one was not taken")]
    NotTried,
}

/// Where the poison of one partition goes.
#[derive(Clone)]
pub(crate) struct Quarantine {
    pub(crate) partition: Partition,
    pub(crate) letters: DeadLetters,
    pub(crate) postgres: Postgres,
    pub(crate) retry: RetryConfig,
    pub(crate) metrics: Metrics,
}

impl Quarantine {
    /// Messages that have attempts left come again after a growing pause. The others become dead letters and are then
    /// acknowledged; one for which that fails stays in its stream, and is tried again later.
    pub(crate) async fn settle(&self, poison: Vec<Poison>) {
        let most = u32::from(self.retry.max_attempts);
        let (spent, again): (Vec<_>, Vec<_>) = poison.into_iter().partition(|one| one.attempts() >= most);
        for one in again {
            self.metrics.set_aside(one.kind());
            let delay = delay_after(one.attempts(), self.retry.backoff.get());
            hand_back(one, delay).await;
        }
        if !spent.is_empty() {
            self.give_up(spent).await;
        }
    }

    async fn give_up(&self, spent: Vec<Poison>) {
        let outcomes = self.move_all(&spent).await;
        let mut failure = None;
        let mut failed = 0_usize;
        for (one, outcome) in spent.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => self.done(one).await,
                Err(error) => {
                    failed += 1;
                    failure.get_or_insert(error);
                    hand_back(one, LONGEST_DELAY).await;
                }
            }
        }
        if let Some(error) = failure {
            self.metrics.dead_letters_failed(failed);
            tracing::error!(
                partition = %self.partition, messages = failed, %error,
                "writes that cannot be persisted cannot be moved to the dead letters either: they stay in the stream"
            );
        }
    }

    /// Says of each whether it is a dead letter now. After the first failure no more are tried.
    async fn move_all(&self, spent: &[Poison]) -> Vec<Result<(), NotMoved>> {
        let writes: Vec<_> = spent.iter().filter_map(|one| one.write.clone()).collect();
        let mut outcomes = Vec::with_capacity(spent.len());
        if !writes.is_empty()
            && let Err(error) = self.postgres.note_dead_letters(&writes).await
        {
            outcomes.push(Err(error.into()));
        }
        for chunk in spent.chunks(AT_ONCE) {
            if outcomes.iter().any(Result::is_err) {
                break;
            }
            outcomes.extend(join_all(chunk.iter().map(|one| self.put(one))).await);
        }
        outcomes.resize_with(spent.len(), || Err(NotMoved::NotTried));
        outcomes
    }

    async fn put(&self, one: &Poison) -> Result<(), NotMoved> {
        let Some(letter) = one.letter(self.partition) else {
            return Err(NotMoved::NotTried);
        };
        Ok(self.letters.put(&letter).await?)
    }

    /// The letter is stored: the stream of the writes may forget the message. Redis is left alone: readers find the write
    /// there until it is evicted, and the last good version after that.
    async fn done(&self, one: Poison) {
        self.metrics.dead_letter(one.kind());
        let attempts = one.attempts();
        for receipt in one.receipts {
            tracing::error!(
                partition = %self.partition,
                subject = receipt.subject(),
                sequence = receipt.sequence(),
                attempts,
                sqlstate = one.rejection.sqlstate,
                reason = one.rejection.reason,
                "a write cannot be persisted: it is a dead letter now"
            );
            receipt.acknowledge().await;
        }
    }
}

async fn hand_back(one: Poison, delay: Duration) {
    for receipt in one.receipts {
        receipt.hand_back(Some(jittered(delay))).await;
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
