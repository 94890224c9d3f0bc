//! A dead letter becomes a write again.
//!
//! The stream is the truth: the new write is appended only if the key's last message there is still the one that was
//! looked at. Dying after that and before the letter is removed leaves both; the write bears the letter's own operation
//! id, so the next replay sees that it was made and only removes the letter.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use birbnest_core::{Entry, Partition, Record, Timestamp, Version};
use birbnest_stores::{
    jetstream::{AppendError, Waiting},
    postgres::Postgres,
};
use tokio::time::timeout;
use uuid::{Builder, Uuid};

use crate::{
    dead_letters::Letters,
    decide::Decided,
    problem::Problem,
    sources::{Ground, Sources},
    write::{WritePath, Written},
};

/// How often other writes of the key may come in between.
const MAX_TURNS: usize = 3;

/// Replays letters, cheap to clone.
#[derive(Clone)]
pub(crate) struct Replay {
    pub(crate) letters: Letters,
    pub(crate) sources: Sources,
    pub(crate) postgres: Postgres,
    pub(crate) write: Arc<WritePath>,
    /// How long a look at the sources may take: nothing may be purged meanwhile that it rests on.
    pub(crate) deadline: Duration,
}

/// What becomes of a letter.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It may be written.
    Write,
    /// An earlier replay has written it.
    Written,
    /// It stays, for this reason.
    Refused(String),
}

impl Replay {
    /// Detached: a client that hangs up must not cut it in two.
    pub(crate) async fn run(&self, id: u64) -> Result<Written, Problem> {
        let replay = self.clone();
        match tokio::spawn(async move { Box::pin(replay.replay(id)).await }).await {
            Ok(written) => written,
            Err(panicked) => Err(unknown().cause(&panicked)),
        }
    }

    async fn replay(self, id: u64) -> Result<Written, Problem> {
        let waiting = self.letters.get(id).await?;
        let letter = match waiting.letter.entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Err(illegible("its version is not known")),
            Err(error) => return Err(illegible(&error.to_string())),
        };
        let written = self.write_again(&letter).await?;
        self.remove(&waiting, &written).await?;
        Ok(written)
    }

    async fn write_again(&self, letter: &Entry) -> Result<Written, Problem> {
        let operation = operation_of(letter);
        for _ in 0..MAX_TURNS {
            let partition = self.sources.partition(letter.record.id.hash()).await?;
            let Ok(looked) = timeout(self.deadline, self.look(partition, letter)).await else {
                return Err(Problem::unavailable("queue and database took too long to answer"));
            };
            let (ground, noted) = looked?;
            let decided = match judge(letter.version, operation, ground.newest.as_ref(), noted) {
                Verdict::Refused(detail) => return Err(mismatch(detail)),
                Verdict::Written => ground.newest.map(|entry| Decided {
                    entry,
                    replayed: true,
                }),
                Verdict::Write => append(&ground, letter, operation).await?,
            };
            if let Some(decided) = decided {
                return Ok(self.write.settle_plain(partition, decided).await);
            }
        }
        Err(Problem::unavailable(
            "the key is being written all the time, the dead letter stays",
        ))
    }

    /// What is there, and the newest write of the key that is a dead letter.
    async fn look(&self, partition: Partition, letter: &Entry) -> Result<(Ground, Option<Version>), Problem> {
        let id = &letter.record.id;
        let ground = self.sources.ground(partition, id.hash(), id).await?;
        let noted = self.postgres.newest_dead_letter(id).await.map_err(|error| {
            Problem::unavailable("the database is not reachable, so it is not known what is newer")
                .cause(&error)
        })?;
        Ok((ground, noted))
    }

    /// The write is made; what is left is to remove the letter.
    async fn remove(&self, waiting: &Waiting, written: &Written) -> Result<(), Problem> {
        let removed = self.letters.remove(waiting).await;
        removed.map_err(|problem| {
            problem.detail(format!(
                "the write was made again, as version {}, but the dead letter is still there: replay it again, which \
                 only removes it",
                written.entry.version
            ))
        })
    }
}

/// The write that was made, `None` when another came first.
async fn append(ground: &Ground, letter: &Entry, operation: Uuid) -> Result<Option<Decided>, Problem> {
    match ground.append(again(&letter.record, operation)).await {
        Ok(appended) => Ok(appended.map(|entry| Decided {
            entry,
            replayed: false,
        })),
        Err(AppendError::OutcomeUnknown(cause)) => Err(unknown().cause(&cause)),
        Err(error) => Err(error.into()),
    }
}

/// `newest` is in the stream or in PostgreSQL, `noted` the newest write of the key that is a dead letter.
fn judge(letter: Version, operation: Uuid, newest: Option<&Entry>, noted: Option<Version>) -> Verdict {
    if let Some(newest) = newest {
        if newest.record.operation_ids.contains(&operation) {
            return Verdict::Written;
        }
        if newest.version > letter && Some(newest.version) != noted {
            return Verdict::Refused(format!(
                "the key was written again: its version is {}, that of the dead letter {letter}",
                newest.version
            ));
        }
    }
    match noted {
        Some(noted) if noted > letter => Verdict::Refused(format!(
            "a later write of the key, version {noted}, is a dead letter, too: replay that one, or discard it first"
        )),
        // Where something older is left, nothing newer was ever swept. Else only the note holds off the sweep.
        None if newest.is_none() => Verdict::Refused(
            "nothing is known about the key any more, and it may have been deleted after this write: write the value \
             yourself if it is still wanted, and discard the dead letter"
                .to_owned(),
        ),
        _ => Verdict::Write,
    }
}

/// The same for every replay of a letter: versions of a key are unique.
fn operation_of(letter: &Entry) -> Uuid {
    let mut bytes = *b"replayed\0\0\0\0\0\0\0\0";
    bytes[8..].copy_from_slice(&letter.version.get().to_be_bytes());
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// The record as a new write. It ends when it would have ended.
fn again(record: &Record, operation: Uuid) -> Record {
    let mut record = record.clone();
    record.updated_at = Timestamp::now();
    record.operation_ids.insert(0, operation);
    record
}

fn mismatch(detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, "VERSION_MISMATCH").detail(detail)
}

fn illegible(why: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_REQUEST").detail(format!(
        "this release cannot read what the dead letter says: {why}"
    ))
}

fn unknown() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "TIMEOUT")
        .retry_after(1)
        .detail("the outcome is unknown: replay the dead letter again, which makes its write at most once")
}

#[cfg(test)]
mod tests {
    use birbnest_core::{Content, EntryId};

    use super::*;

    const OPERATION: Uuid = Uuid::from_u128(7);

    fn version(version: u64) -> Version {
        Version::new(version).unwrap()
    }

    fn entry(number: u64, operation_ids: Vec<Uuid>) -> Entry {
        let at = Timestamp::from_micros(1);
        Entry {
            version: version(number),
            record: Record {
                id: EntryId::global("robin".parse().unwrap()),
                content: Content::Tombstone,
                created_at: at,
                updated_at: at,
                expires_at: None,
                operation_ids,
            },
        }
    }

    /// What becomes of a letter with version 5.
    fn verdict(newest: Option<&Entry>, noted: Option<u64>) -> Verdict {
        judge(version(5), OPERATION, newest, noted.map(version))
    }

    fn is_refused(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Refused(_))
    }

    #[test]
    fn a_letter_is_written_over_older_writes_and_over_itself() {
        assert_eq!(verdict(Some(&entry(3, vec![])), Some(5)), Verdict::Write);
        assert_eq!(verdict(Some(&entry(5, vec![])), Some(5)), Verdict::Write);
        assert_eq!(verdict(None, Some(5)), Verdict::Write);
        // Its note is lost, but what could be newer would be in the row.
        assert_eq!(verdict(Some(&entry(3, vec![])), None), Verdict::Write);
    }

    #[test]
    fn a_letter_is_never_written_over_anything_newer_or_unknown() {
        assert!(is_refused(&verdict(Some(&entry(6, vec![])), Some(5))));
        assert!(is_refused(&verdict(Some(&entry(3, vec![])), Some(6))));
        assert!(is_refused(&verdict(Some(&entry(6, vec![])), Some(6))));
        assert!(is_refused(&verdict(None, None)));
    }

    #[test]
    fn a_replay_that_was_made_is_not_made_again() {
        let made = entry(9, vec![Uuid::from_u128(8), OPERATION]);
        assert_eq!(verdict(Some(&made), Some(5)), Verdict::Written);
    }
}
