//! The history of one key, and what follows from it at once.

use std::{collections::BTreeMap, time::Duration};

use super::{Evidence, LastRead, Loss};
use crate::{
    instrument::history::{Call, Operation, Outcome, number_in},
    table::Row,
};

/// Somebody who says which version a value has.
pub(super) struct Witness {
    pub(super) version: u64,
    /// `None` for a value that was never stored under this key.
    pub(super) number: Option<u64>,
    /// From when on it can have been so, for a read: its end.
    pub(super) at: Duration,
    pub(super) said: String,
}

pub(super) struct KeyHistory<'a> {
    pub(super) key: &'a str,
    /// By their begin.
    pub(super) operations: Vec<&'a Operation>,
    pub(super) row: Option<&'a Row>,
    pub(super) last_reads: Vec<&'a LastRead>,
    losses: &'a [Loss],
    /// The write of each number.
    pub(super) puts: BTreeMap<u64, &'a Operation>,
}

impl<'a> KeyHistory<'a> {
    pub(super) fn new(key: &'a str, mut operations: Vec<&'a Operation>, evidence: &'a Evidence) -> Self {
        operations.sort_by_key(|operation| operation.began);
        let puts = operations
            .iter()
            .filter_map(|put| Some((put.number()?, *put)))
            .collect();
        Self {
            key,
            operations,
            row: evidence.rows.get(key),
            last_reads: evidence
                .last_reads
                .iter()
                .filter(|read| read.key == key)
                .collect(),
            losses: &evidence.losses,
            puts,
        }
    }

    /// Everybody who says which version a value has: acknowledgements, reads, the row, the last reads.
    pub(super) fn witnesses(&self) -> Vec<Witness> {
        let told = self
            .operations
            .iter()
            .filter_map(|operation| self.told_by(operation));
        let row = self.row.and_then(|row| {
            let value = serde_json::from_str::<String>(row.value.as_deref()?).unwrap_or_default();
            Some(self.witness(
                row.version.cast_unsigned(),
                &value,
                Duration::MAX,
                "the table".to_owned(),
            ))
        });
        let reads = self.last_reads.iter().filter_map(|read| {
            let (version, value) = read.found.as_ref()?;
            Some(self.witness(
                *version,
                value,
                Duration::MAX,
                format!("the last read of api-{}", read.api),
            ))
        });
        told.chain(row).chain(reads).collect()
    }

    fn told_by(&self, operation: &Operation) -> Option<Witness> {
        match (&operation.call, &operation.outcome) {
            (
                Call::Put { number, .. },
                Outcome::Written {
                    version: Some(version),
                    ..
                },
            ) => Some(Witness {
                version: *version,
                number: Some(*number),
                at: operation.ended,
                said: "its acknowledgement".to_owned(),
            }),
            (Call::Get { .. }, Outcome::Found { version, value, .. }) => {
                let said = format!("a read of api-{} at {:?}", operation.api, operation.ended);
                Some(self.witness(*version, value, operation.ended, said))
            }
            _ => None,
        }
    }

    fn witness(&self, version: u64, value: &str, at: Duration, said: String) -> Witness {
        Witness {
            version,
            number: number_in(self.key, value),
            at,
            said,
        }
    }

    /// Deletes that may have been made.
    pub(super) fn deletes(&self) -> impl Iterator<Item = &'a Operation> {
        let deletes = self
            .operations
            .iter()
            .filter(|operation| operation.call == Call::Delete);
        deletes.copied().filter(|delete| delete.may_have_written())
    }

    /// Whether a delete may have come after this write and before that time.
    pub(super) fn may_be_deleted(&self, write: &Operation, before: Duration) -> bool {
        self.deletes().any(|delete| {
            let ended = if delete.is_acknowledged() {
                delete.ended
            } else {
                Duration::MAX
            };
            let versions = delete.version().zip(write.version());
            let after = versions.map_or(ended > write.began, |(delete, write)| delete > write);
            after && delete.began < before
        })
    }

    /// Whether an acknowledged write may have gone with a store that was replaced.
    pub(super) fn may_have_gone(&self, write: &Operation) -> bool {
        self.losses.iter().any(|loss| {
            if write.is_persisted() {
                return false;
            }
            let during = write.ended >= loss.from && write.began <= loss.to;
            let kept = loss
                .kept
                .get(self.key)
                .map_or(0, |row| row.version.cast_unsigned());
            during && write.version().is_none_or(|version| version > kept)
        })
    }
}
