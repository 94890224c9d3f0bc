//! Whether the conditional writes of a key can be put in one order that explains every answer: a search after Wing and
//! Gong, with Lowe's memory of what was tried.
//!
//! It is our own because it must know of writes whose outcome nobody knows, and of thousands of operations on one key:
//! the testers that exist (stateright's, which also brings a web server) have no memory and take an operation without
//! an answer for one that may come anywhere, so they need exponential time here. It does not look at the versions of
//! acknowledgements, only at which value each write was to replace, so it is a second opinion on the order.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use super::{Kind, Verdict, key::KeyHistory};
use crate::instrument::history::{Call, Operation, Outcome};

/// Steps after which a search is given up. A history that is in order takes about one step per operation.
const STEPS: usize = 2_000_000;

/// An operation on a register that holds the number of a value, 0 for none.
#[derive(Clone, Copy, Debug)]
struct Step {
    began: Duration,
    /// `MAX` when nobody knows whether it happened.
    ended: Duration,
    expects: Option<u64>,
    /// `None`: it was refused, for the register did not hold what it expects.
    stores: Option<u64>,
}

impl KeyHistory<'_> {
    pub(super) fn register(&self, verdict: &mut Verdict) {
        let conditional = |write: &&&Operation| matches!(write.call, Call::Put { only_if: Some(_), .. });
        let any = self.operations.iter().any(|write| conditional(&write));
        if !any || self.operations.iter().any(|write| self.may_have_gone(write)) {
            return;
        }
        let numbers = self
            .witnesses()
            .iter()
            .filter_map(|w| Some((w.version, w.number?)))
            .collect();
        let steps: Vec<Step> = self
            .operations
            .iter()
            .filter_map(|write| step(write, &numbers))
            .collect();
        match linearizable(&steps) {
            Some(true) => {}
            Some(false) => {
                let what = format!("no order explains the {} conditional writes", steps.len());
                self.find(verdict, Kind::Unserializable, what);
            }
            None => verdict.undecided.push(self.key.to_owned()),
        }
    }
}

/// What a write does to the register, if it may have done or compared anything.
fn step(write: &Operation, numbers: &BTreeMap<u64, u64>) -> Option<Step> {
    let (number, expects) = match write.call {
        Call::Put {
            number,
            only_if: Some(0),
        } => (number, Some(0)),
        // A version of which nobody ever learned the value cannot be followed.
        Call::Put {
            number,
            only_if: Some(version),
        } => (number, Some(*numbers.get(&version)?)),
        Call::Put {
            number,
            only_if: None,
        } => (number, None),
        Call::Delete => (0, None),
        Call::Get { .. } => return None,
    };
    let Operation { began, ended, .. } = *write;
    match write.outcome {
        Outcome::Written { .. } => Some(Step {
            began,
            ended,
            expects,
            stores: Some(number),
        }),
        Outcome::Unknown => Some(Step {
            began,
            ended: Duration::MAX,
            expects,
            stores: Some(number),
        }),
        Outcome::Mismatch => Some(Step {
            began,
            ended,
            expects,
            stores: None,
        }),
        _ => None,
    }
}

/// What was done so far: how many of the steps from the first, which others, and what the register holds.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    first: usize,
    others: BTreeSet<usize>,
    holds: u64,
}

impl Place {
    fn done(&self, index: usize) -> bool {
        index < self.first || self.others.contains(&index)
    }

    fn after(&self, index: usize, holds: u64) -> Self {
        let mut next = Self {
            holds,
            ..self.clone()
        };
        next.others.insert(index);
        while next.others.remove(&next.first) {
            next.first += 1;
        }
        next
    }
}

/// Depth first over the steps that can be next; a step of unknown outcome need not happen. `None`: given up.
fn linearizable(steps: &[Step]) -> Option<bool> {
    let start = Place {
        first: 0,
        others: BTreeSet::new(),
        holds: 0,
    };
    let (mut open, mut tried) = (vec![start], HashSet::new());
    while let Some(place) = open.pop() {
        if is_complete(&place, steps) {
            return Some(true);
        }
        if tried.len() > STEPS {
            return None;
        }
        if tried.insert(place.clone()) {
            open.extend(followers(&place, steps));
        }
    }
    Some(false)
}

fn is_complete(place: &Place, steps: &[Step]) -> bool {
    let mut rest = steps.iter().enumerate().skip(place.first);
    rest.all(|(index, step)| step.ended == Duration::MAX || place.done(index))
}

/// The places one step on. Steps are by their begin, so those that can be next are at the front: none that began after
/// another ended can come before it. Known outcomes are tried first.
fn followers(place: &Place, steps: &[Step]) -> Vec<Place> {
    let rest = || {
        steps
            .iter()
            .enumerate()
            .skip(place.first)
            .filter(|(index, _)| !place.done(*index))
    };
    let mut earliest = Duration::MAX;
    let mut candidates = vec![];
    for (index, step) in rest() {
        if step.began > earliest {
            break;
        }
        earliest = earliest.min(step.ended);
        candidates.push((index, step));
    }
    candidates.retain(|(_, step)| step.began <= earliest);
    candidates.sort_by_key(|(_, step)| std::cmp::Reverse(step.ended));
    let next = candidates.into_iter().filter_map(|(index, step)| {
        let met = step.expects.is_none_or(|expected| expected == place.holds);
        match step.stores {
            Some(number) => met.then(|| place.after(index, number)),
            None => (!met).then(|| place.after(index, place.holds)),
        }
    });
    next.collect()
}
