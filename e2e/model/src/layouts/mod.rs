//! One key while the keys are spread over other partitions: its partition of the earlier layout ends, and one of the next
//! layout begins. Two pods write and read, each of which learns of it when it likes; workers drain both streams. A version
//! is eight times the layout plus the sequence.

mod pod;
mod state;

use crate::explore::{Label, Model};

pub use state::State;
use state::{Copy, Drain, Stream};

/// A rule of the change that can be left out, to see what breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The streams of the earlier layout are sealed before the next one begins.
    Seal,
    /// What they hold is persisted before the next one begins, as is seen after the seal.
    DrainAfterSeal,
    /// A reader's row comes with the fence of the partition in which it looked, which another layout does not have.
    ReadTheFence,
    /// Versions of the next layout are above all that were given before.
    BaseAbove,
}

/// One question to the model.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Writes of each pod.
    pub writes: [u8; 2],
    /// Reads of each pod.
    pub reads: [u8; 2],
    /// The rules that are left out.
    pub without: &'static [Rule],
}

struct Steps<'a> {
    setting: &'a Setting,
    found: Vec<(Label, State)>,
}

impl Steps<'_> {
    fn push(&mut self, action: &'static str, who: usize, version: u8, mut next: State) {
        next.judge();
        self.found.push((Label { action, who, version }, next));
    }

    fn keeps(&self, rule: Rule) -> bool {
        !self.setting.without.contains(&rule)
    }

    /// A worker's way with the message of one stream: it may be in hand while the layout changes.
    fn drain(&mut self, now: &State, place: usize) {
        let mut next = *now;
        let Stream { message, drain, .. } = now.streams[place];
        match drain {
            // Nobody starts to drain a layout that is over.
            Drain::Idle => {
                if message > now.streams[place].floor && place >= usize::from(now.layout) {
                    next.streams[place].drain = Drain::Commit(message);
                    self.push("worker: fetches", place, message, next);
                }
            }
            Drain::Commit(version) => {
                next.row = now.row.max(version);
                next.streams[place].drain = Drain::Refresh(version);
                self.push("worker: commits", place, version, next);
            }
            Drain::Refresh(version) => {
                next.invalidate(version);
                next.streams[place].drain = Drain::Acknowledge(version);
                self.push("worker: removes older copies", place, version, next);
            }
            Drain::Acknowledge(version) => {
                next.streams[place].floor = now.streams[place].floor.max(version);
                next.streams[place].drain = Drain::Idle;
                self.push("worker: acknowledges", place, version, next);
            }
        }
        if drain != Drain::Idle {
            let mut dead = *now;
            dead.streams[place].drain = Drain::Idle;
            self.push("worker: dies", place, 0, dead);
        }
    }

    /// Whoever changes the layout.
    fn change(&mut self, now: &State) {
        if now.layout > 0 {
            return;
        }
        let earlier = now.streams[0];
        let drained = earlier.floor >= earlier.message;
        if !now.sealed {
            let mut next = *now;
            (next.sealed, next.takes_writes) = (true, !self.keeps(Rule::Seal));
            self.push("the earlier stream is sealed", 0, earlier.message, next);
        }
        if now.sealed && (drained || !self.keeps(Rule::DrainAfterSeal)) {
            self.push("the next layout begins", 0, 0, State { layout: 1, ..*now });
        }
    }
}

impl Model for Setting {
    type State = State;

    fn start(&self) -> State {
        State::start(self)
    }

    fn steps(&self, state: &State) -> Vec<(Label, State)> {
        let mut steps = Steps {
            setting: self,
            found: vec![],
        };
        for pod in 0..state.pods.len() {
            steps.pod(state, pod);
        }
        for place in 0..state.streams.len() {
            steps.drain(state, place);
        }
        steps.change(state);
        if matches!(state.copy, Some(Copy::Of { .. })) {
            steps.push("Redis evicts the copy", 0, 0, State { copy: None, ..*state });
        }
        steps.found
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        state.broken
    }

    fn show(&self, state: &State) -> String {
        let State {
            streams,
            row,
            copy,
            layout,
            sealed,
            told,
            ..
        } = state;
        format!(
            "{streams:?}, row {row}, Redis {copy:?}; layout {layout}, sealed {sealed}; acknowledged {told}"
        )
    }
}
