//! What must be true of a history. Shares no code with the product: it knows requests, answers, rows, and the promise.
//!
//! | finding | promise |
//! |---|---|
//! | `lost` | an acknowledged write is in PostgreSQL at the end, or a later one is |
//! | `undeleted` | what was deleted stays deleted |
//! | `doubled` | one version is one write, one write has one version |
//! | `disordered` | a write that began after another was acknowledged has a higher version |
//! | `phantom` | nobody reads what nobody wrote under that key, or what was refused |
//! | `stale` | a read that is not marked is no older than a write acknowledged with 201 before it began |
//! | `regressed` | a client that carries its version never reads an older one |
//! | `unserializable` | conditional writes of one key can be put in one order that explains every answer |
//! | `disagreeing` | in the end every API answers what PostgreSQL holds |
//! | `out of contract` | every answer is one that the API promises |

mod ending;
mod key;
mod order;
mod reads;
mod register;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use serde::Serialize;

use super::history::{Operation, Outcome};
use crate::table::Row;
use key::KeyHistory;

/// Everything the checker knows.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Every request, with its answer.
    pub operations: Vec<Operation>,
    /// PostgreSQL, after everything was drained.
    pub rows: BTreeMap<String, Row>,
    /// What each API answered after that.
    pub last_reads: Vec<LastRead>,
    /// Times in which something may be lost by declared posture.
    pub losses: Vec<Loss>,
}

/// A read after everything was drained.
#[derive(Clone, Debug)]
pub struct LastRead {
    /// Which API.
    pub api: usize,
    /// The key.
    pub key: String,
    /// Version and value, `None` for a 404.
    pub found: Option<(u64, String)>,
}

/// NATS' store was replaced by an older copy. What was acknowledged between the copy and the replacement is gone with
/// the store, unless PostgreSQL had it.
#[derive(Clone, Debug)]
pub struct Loss {
    /// When the copy was made.
    pub from: Duration,
    /// When the older store was in place.
    pub to: Duration,
    /// What PostgreSQL held by then.
    pub kept: BTreeMap<String, Row>,
}

/// A kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An acknowledged write is gone.
    Lost,
    /// A deleted entry is back.
    Undeleted,
    /// One version with two values, or one value with two versions.
    Doubled,
    /// Versions against real time.
    Disordered,
    /// A value that nobody wrote there.
    Phantom,
    /// A read older than what was acknowledged before it began.
    Stale,
    /// A read older than the version it asked for.
    Regressed,
    /// Conditional writes that no order explains.
    Unserializable,
    /// An API that answers something else than the table holds.
    Disagreeing,
    /// An answer that the API does not promise.
    OutOfContract,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which promise.
    pub kind: Kind,
    /// The key.
    pub key: String,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.kind, self.key, self.what)
    }
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Broken promises.
    pub findings: Vec<Finding>,
    /// Keys whose last acknowledged write went with a store that was replaced: declared, and no broken promise.
    pub declared: Vec<String>,
    /// Reads, by key, that were older than an acknowledged write and may be: they were marked, or the write was a 202.
    pub older_reads: Vec<String>,
    /// Keys whose order of conditional writes was not found and not excluded within the bounds of the search.
    pub undecided: Vec<String>,
}

/// Compares a history with its end.
pub fn check(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    let named = evidence.operations.iter().map(|operation| &*operation.key);
    let stored = evidence.rows.keys().map(String::as_str);
    let mut histories: BTreeMap<&str, Vec<&Operation>> =
        named.chain(stored).map(|key| (key, vec![])).collect();
    for operation in &evidence.operations {
        histories.entry(&operation.key).or_default().push(operation);
    }
    for (key, operations) in histories {
        let history = KeyHistory::new(key, operations, evidence);
        history.answers(&mut verdict);
        history.order(&mut verdict);
        history.reads(&mut verdict);
        history.ending(&mut verdict);
        history.register(&mut verdict);
    }
    verdict
}

impl Verdict {
    /// The kinds that were found.
    pub fn kinds(&self) -> BTreeSet<Kind> {
        self.findings.iter().map(|finding| finding.kind).collect()
    }
}

impl KeyHistory<'_> {
    fn find(&self, verdict: &mut Verdict, kind: Kind, what: String) {
        let key = self.key.to_owned();
        verdict.findings.push(Finding { kind, key, what });
    }

    fn answers(&self, verdict: &mut Verdict) {
        for operation in &self.operations {
            if let Outcome::OutOfContract(answer) = &operation.outcome {
                let what = format!("{:?} was answered {answer}", operation.call);
                self.find(verdict, Kind::OutOfContract, what);
            }
        }
    }
}
