//! Versions: each is one write, and they follow real time.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Verdict, key::KeyHistory};
use crate::instrument::history::{Call, Operation};

impl KeyHistory<'_> {
    pub(super) fn order(&self, verdict: &mut Verdict) {
        self.one_version_one_write(verdict);
        self.versions_follow_time(verdict);
        self.conditions_held(verdict);
    }

    fn one_version_one_write(&self, verdict: &mut Verdict) {
        let (mut numbers, mut versions) = (BTreeMap::new(), BTreeMap::new());
        for witness in self.witnesses() {
            let Some(number) = witness
                .number
                .filter(|number| self.is_possible(*number, witness.at))
            else {
                let what = format!(
                    "{} has version {} of a value that was not written",
                    witness.said, witness.version
                );
                self.find(verdict, Kind::Phantom, what);
                continue;
            };
            let known = *numbers.entry(witness.version).or_insert(number);
            let first = *versions.entry(number).or_insert(witness.version);
            if known != number {
                let what = format!(
                    "{} says that {} is #{number}, it was #{known}",
                    witness.said, witness.version
                );
                self.find(verdict, Kind::Doubled, what);
            } else if first != witness.version {
                let what = format!(
                    "{} says that #{number} is {}, it was {first}",
                    witness.said, witness.version
                );
                self.find(verdict, Kind::Doubled, what);
            }
        }
    }

    /// Whether the value of this number can be there at that time: a write of it had begun, and was not refused.
    fn is_possible(&self, number: u64, at: std::time::Duration) -> bool {
        self.puts
            .get(&number)
            .is_some_and(|put| put.may_have_written() && put.began <= at)
    }

    fn versions_follow_time(&self, verdict: &mut Verdict) {
        let acknowledged = || {
            self.operations
                .iter()
                .filter(|write| write.version().is_some() && write.is_write())
        };
        let mut ended: Vec<&&Operation> = acknowledged().collect();
        ended.sort_by_key(|write| write.ended);
        let mut ended = ended.into_iter().peekable();
        let mut highest: Option<&Operation> = None;
        for write in acknowledged() {
            while let Some(earlier) = ended.next_if(|earlier| earlier.ended < write.began) {
                if highest.is_none_or(|highest| earlier.version() > highest.version()) {
                    highest = Some(earlier);
                }
            }
            if let Some(earlier) = highest.filter(|earlier| earlier.version() >= write.version()) {
                let what = format!("{write:?} began after {earlier:?} was acknowledged");
                self.find(verdict, Kind::Disordered, what);
            }
        }
    }

    /// A conditional write that was acknowledged follows the very version that it names: nothing lies between.
    fn conditions_held(&self, verdict: &mut Verdict) {
        let versions = self.versions_that_stayed();
        for write in &self.operations {
            let (
                Call::Put {
                    only_if: Some(base), ..
                },
                Some(version),
            ) = (write.call, write.version())
            else {
                continue;
            };
            let next = versions.range(base + 1..).next();
            if let Some(between) = next.filter(|next| **next < version && base > 0) {
                let what = format!(
                    "version {version} was written on the condition of {base}, but {between} was there"
                );
                self.find(verdict, Kind::Unserializable, what);
            }
        }
    }

    /// Every version that somebody was told of, apart from what went with a store that was replaced.
    fn versions_that_stayed(&self) -> BTreeSet<u64> {
        let seen = self.witnesses().into_iter().filter(|witness| {
            let put = witness.number.and_then(|number| self.puts.get(&number));
            put.is_none_or(|put| !self.may_have_gone(put))
        });
        let deletes = self.deletes().filter(|delete| !self.may_have_gone(delete));
        let tombstones = deletes.filter_map(Operation::version);
        seen.map(|witness| witness.version).chain(tombstones).collect()
    }
}
