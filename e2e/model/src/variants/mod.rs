//! The questions to the model, and what the answers must be.

mod conditional;
mod epochs;
mod failovers;
mod layouts;
mod reads;
mod sweeps;
mod through;

use crate::{
    epochs as several,
    explore::{Bounds, Report, explore},
    layouts as changes, one_epoch,
};

/// A question with a name.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Letter and number as in `docs/protocol.md`, and what it is about.
    pub name: &'static str,
    /// What it asks.
    pub question: Question,
    /// What the answer must be.
    pub verdict: Verdict,
    /// How long it takes.
    pub length: Length,
}

/// What is explored.
#[derive(Clone, Debug)]
pub enum Question {
    /// Inside one epoch.
    OneEpoch(one_epoch::Setting),
    /// Over several.
    Epochs(several::Setting),
    /// While the partitions become others.
    Layouts(changes::Setting),
}

/// What must come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every property holds in every state.
    Holds,
    /// This property is violated: the rule that is left out is needed.
    Breaks(&'static str),
}

/// Whether the tests explore it or only `make model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Some seconds at most.
    Short,
    /// Up to minutes, and gigabytes.
    Long,
}

impl Variant {
    /// Explores it.
    pub fn explore(&self, bounds: Bounds) -> Report {
        match &self.question {
            Question::OneEpoch(setting) => explore(setting, bounds),
            Question::Epochs(setting) => explore(setting, bounds),
            Question::Layouts(setting) => explore(setting, bounds),
        }
    }

    /// Whether this is what had to come out. A cut exploration proves nothing that holds.
    pub fn is_confirmed_by(&self, report: &Report) -> bool {
        match self.verdict {
            Verdict::Holds => report.complete && report.broken.is_empty(),
            Verdict::Breaks(property) => report.broken.contains_key(property),
        }
    }
}

/// Every variant.
pub fn all() -> Vec<Variant> {
    [
        reads::variants(),
        sweeps::variants(),
        conditional::variants(),
        epochs::variants(),
        failovers::variants(),
        through::variants(),
        layouts::variants(),
    ]
    .concat()
}

/// Everybody there, nothing goes wrong, every rule kept: what the variants change.
fn calm(clients: &[(one_epoch::Deed, u8)]) -> one_epoch::Setting {
    one_epoch::Setting {
        clients: clients.to_vec(),
        workers: 1,
        janitor: false,
        sweep: false,
        carry: false,
        flights: false,
        nats_cut: false,
        postgres_cut: false,
        floor_goes_back: false,
        faults: one_epoch::Faults::default(),
        without: &[],
    }
}

fn holds(name: &'static str, setting: one_epoch::Setting) -> Variant {
    variant(name, Question::OneEpoch(setting), Verdict::Holds)
}

fn breaks(name: &'static str, property: &'static str, setting: one_epoch::Setting) -> Variant {
    variant(name, Question::OneEpoch(setting), Verdict::Breaks(property))
}

fn variant(name: &'static str, question: Question, verdict: Verdict) -> Variant {
    Variant {
        name,
        question,
        verdict,
        length: Length::Short,
    }
}

impl Variant {
    fn long(self) -> Self {
        Self {
            length: Length::Long,
            ..self
        }
    }
}
