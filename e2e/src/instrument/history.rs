//! What was asked and answered.

use std::{sync::Arc, time::Duration};

/// One request and its answer. Times are since the start of the run, by one monotonic clock.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Which API it went to.
    pub api: usize,
    /// The key.
    pub key: Arc<str>,
    /// What was asked.
    pub call: Call,
    /// Before the request was sent.
    pub began: Duration,
    /// After the answer was complete, or it was clear that there is none.
    pub ended: Duration,
    /// What was answered.
    pub outcome: Outcome,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Store the value of this number. No two writes of a run have the same number.
    Put {
        /// The number.
        number: u64,
        /// Only if the entry has this version, 0 for "only if there is none".
        only_if: Option<u64>,
    },
    /// Delete the entry.
    Delete,
    /// Read the entry.
    Get {
        /// Of at least this version, 0 for any.
        at_least: u64,
    },
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged: 201, 202 or 204.
    Written {
        /// The version, when the answer named it.
        version: Option<u64>,
        /// Whether the answer was 201: the copy in Redis was told too.
        fresh: bool,
        /// Whether the answer says that PostgreSQL has committed it.
        persisted: bool,
    },
    /// 200 with an entry.
    Found {
        /// Its version.
        version: u64,
        /// Its value, a text.
        value: String,
        /// Whether the answer says that a source could not be asked.
        partial: bool,
    },
    /// 404: there is nothing, and a delete has written nothing.
    Absent {
        /// Whether the answer says that a source could not be asked.
        partial: bool,
    },
    /// 412: the condition does not hold, nothing was written.
    Mismatch,
    /// Nothing was written, or a read got no answer.
    Refused,
    /// A write may or may not have been made.
    Unknown,
    /// An answer that the API does not promise.
    OutOfContract(String),
}

/// The value that a write of this number stores under the key: it names both, so that none can be taken for another.
pub fn value_of(key: &str, number: u64) -> String {
    format!("{key}#{number}")
}

/// The number in a value that was stored under this key, `None` when it never was.
pub fn number_in(key: &str, value: &str) -> Option<u64> {
    value.strip_prefix(key)?.strip_prefix('#')?.parse().ok()
}

impl Operation {
    /// Whether it asks for a change.
    pub fn is_write(&self) -> bool {
        !matches!(self.call, Call::Get { .. })
    }

    /// Whether it was a write that was acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        matches!(self.outcome, Outcome::Written { .. })
    }

    /// Whether it may have changed something.
    pub fn may_have_written(&self) -> bool {
        self.is_write() && matches!(self.outcome, Outcome::Written { .. } | Outcome::Unknown)
    }

    /// Whether it was answered as it should be when nothing is wrong.
    pub fn is_served(&self) -> bool {
        !matches!(
            self.outcome,
            Outcome::Refused | Outcome::Unknown | Outcome::OutOfContract(_)
        )
    }

    /// Whether its acknowledgement says that PostgreSQL has committed it.
    pub fn is_persisted(&self) -> bool {
        matches!(self.outcome, Outcome::Written { persisted: true, .. })
    }

    /// The version that it was acknowledged with.
    pub fn version(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Written { version, .. } => version,
            _ => None,
        }
    }

    /// The number that it stores.
    pub fn number(&self) -> Option<u64> {
        match self.call {
            Call::Put { number, .. } => Some(number),
            _ => None,
        }
    }
}
