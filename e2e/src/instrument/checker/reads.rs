//! Reads: not older than they may be.

use std::time::Duration;

use super::{Kind, Verdict, key::KeyHistory};
use crate::instrument::history::{Call, Operation, Outcome};

/// What was acknowledged up to some time.
#[derive(Clone, Copy, Default)]
struct Known<'a> {
    /// The highest version.
    any: Option<&'a Operation>,
    /// The highest with 201: every reader must see it.
    fresh: Option<&'a Operation>,
}

impl<'a> Known<'a> {
    fn note(&mut self, write: &'a Operation) {
        let higher = |known: Option<&Operation>| known.is_none_or(|known| write.version() > known.version());
        if higher(self.any) {
            self.any = Some(write);
        }
        if matches!(write.outcome, Outcome::Written { fresh: true, .. }) && higher(self.fresh) {
            self.fresh = Some(write);
        }
    }
}

impl KeyHistory<'_> {
    pub(super) fn reads(&self, verdict: &mut Verdict) {
        let puts = self.puts.values().filter(|put| put.version().is_some());
        let mut ended: Vec<&Operation> = puts.copied().filter(|put| !self.may_have_gone(put)).collect();
        ended.sort_by_key(|write| write.ended);
        let mut ended = ended.into_iter().peekable();
        let mut known = Known::default();
        for read in &self.operations {
            while let Some(write) = ended.next_if(|write| write.ended < read.began) {
                known.note(write);
            }
            if let Call::Get { at_least } = read.call {
                self.read(read, at_least, known, verdict);
            }
        }
    }

    fn read(&self, read: &Operation, at_least: u64, known: Known<'_>, verdict: &mut Verdict) {
        let (version, partial) = match read.outcome {
            Outcome::Found { version, partial, .. } => (Some(version), partial),
            Outcome::Absent { partial } => (None, partial),
            _ => return,
        };
        if version.is_some_and(|version| version < at_least) {
            let what = format!("{version:?} was read where {at_least} was asked for: {read:?}");
            self.find(verdict, Kind::Regressed, what);
        }
        let misses = |write: &&Operation| match version {
            Some(version) => Some(version) < write.version(),
            None => !self.may_be_deleted(write, read.ended),
        };
        if let Some(write) = known.fresh.filter(misses).filter(|_| !partial) {
            let what = format!("{read:?} began after {write:?} was acknowledged");
            self.find(verdict, Kind::Stale, what);
        } else if known.any.as_ref().is_some_and(misses) {
            verdict.older_reads.push(self.key.to_owned());
        }
        if let (None, true) = (version, at_least > 0 && !partial) {
            self.absent_though_carried(read, at_least, verdict);
        }
    }

    /// A client carries a version and is told that there is nothing.
    fn absent_though_carried(&self, read: &Operation, at_least: u64, verdict: &mut Verdict) {
        let carried = self.puts.values().find(|put| put.version() == Some(at_least));
        let Some(write) = carried.filter(|write| !self.may_have_gone(write)) else {
            return;
        };
        let deleted = self.may_be_deleted(write, read.ended.max(Duration::from_nanos(1)));
        if !deleted {
            let what = format!("nothing was found where {at_least} was asked for: {read:?}");
            self.find(verdict, Kind::Regressed, what);
        }
    }
}
