//! The end: what PostgreSQL holds after the drain, and what every API answers then.

use std::time::Duration;

use super::{Kind, Verdict, key::KeyHistory};
use crate::instrument::history::{Operation, number_in};

impl KeyHistory<'_> {
    pub(super) fn ending(&self, verdict: &mut Verdict) {
        let stored = self.row.map_or(0, |row| row.version.cast_unsigned());
        let value = self.row.is_some_and(|row| !row.tombstone);
        for write in self.puts.values().filter(|put| put.is_acknowledged()) {
            let gone = if value {
                write.version() > Some(stored)
            } else {
                self.is_missing(write, stored)
            };
            if gone && self.may_have_gone(write) {
                verdict.declared.push(self.key.to_owned());
            } else if gone {
                let what = format!("{write:?} was acknowledged, the table has {:?}", self.row);
                self.find(verdict, Kind::Lost, what);
            }
        }
        if value {
            self.is_deleted_for_good(stored, verdict);
        }
        self.everybody_agrees(verdict);
    }

    /// Without a value in the table: whether no delete can have come after the write.
    fn is_missing(&self, write: &Operation, stored: u64) -> bool {
        write.version() > Some(stored) && stored > 0 || !self.may_be_deleted(write, Duration::MAX)
    }

    /// A value in the table was not deleted after it was written.
    fn is_deleted_for_good(&self, stored: u64, verdict: &mut Verdict) {
        let value = self
            .row
            .and_then(|row| serde_json::from_str::<String>(row.value.as_deref()?).ok());
        let number = value.and_then(|value| number_in(self.key, &value));
        let Some(write) = number.and_then(|number| self.puts.get(&number)) else {
            return; // a phantom, which is found elsewhere
        };
        let since = self
            .deletes()
            .filter(|delete| delete.is_acknowledged())
            .find(|delete| {
                delete.version().map_or_else(
                    || write.is_acknowledged() && write.ended < delete.began,
                    |version| version > stored,
                )
            });
        if let Some(delete) = since {
            if self.may_have_gone(delete) {
                verdict.declared.push(self.key.to_owned());
            } else {
                let what = format!("{delete:?} was acknowledged, the table has {:?}", self.row);
                self.find(verdict, Kind::Undeleted, what);
            }
        }
    }

    fn everybody_agrees(&self, verdict: &mut Verdict) {
        let stored = self.row.filter(|row| !row.tombstone).map(|row| {
            let value = row
                .value
                .as_deref()
                .and_then(|text| serde_json::from_str(text).ok());
            (row.version.cast_unsigned(), value.unwrap_or_default())
        });
        for read in self.last_reads.iter().filter(|read| read.found != stored) {
            let what = format!(
                "api-{} answers {:?}, the table has {stored:?}",
                read.api, read.found
            );
            self.find(verdict, Kind::Disagreeing, what);
        }
    }
}
