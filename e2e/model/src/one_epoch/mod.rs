//! One key, one stream, one epoch. A version is the sequence of its message.

mod cache;
mod failover;
mod faults;
mod janitor;
mod reader;
mod setting;
mod state;
mod worker;
mod writer;

use crate::explore::{Label, Model};

pub use cache::Slot;
pub use reader::newest;
pub use setting::{Deed, Faults, Rule, Setting};
pub use state::State;
use state::{At, CLIENTS};

/// Collects the steps from one state.
struct Steps<'a> {
    setting: &'a Setting,
    found: Vec<(Label, State)>,
}

impl Steps<'_> {
    fn push(&mut self, action: &'static str, who: usize, version: u8, mut next: State) {
        // Which of two workers does it makes no difference.
        if self.setting.workers == 2 && next.workers[0] > next.workers[1] {
            next.workers.swap(0, 1);
        }
        next.janitor.waits_for &= in_flight(self.setting, &next);
        next.judge();
        self.found.push((Label { action, who, version }, next));
    }

    fn keeps(&self, rule: Rule) -> bool {
        self.setting.keeps(rule)
    }
}

/// Bits of the clients with a write in flight.
fn in_flight(setting: &Setting, state: &State) -> u8 {
    let writes = |client: &usize| !matches!(setting.deed(*client), None | Some(Deed::Get));
    let busy = (0..CLIENTS).filter(|client| writes(client) && state.clients[*client].at != At::Idle);
    busy.map(|client| 1 << client).sum()
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
        for (client, (deed, _)) in self.clients.iter().enumerate() {
            match deed {
                Deed::Get => steps.read(state, client),
                _ => steps.write(state, client, *deed),
            }
        }
        for worker in 0..self.workers {
            steps.drain(state, worker);
        }
        if self.janitor {
            steps.purge(state);
        }
        if self.sweep {
            steps.sweep(state);
        }
        steps.faults(state);
        steps.failover(state);
        steps.found
    }

    fn broken(&self, state: &State) -> Option<&'static str> {
        state.broken.map(state::Broken::name)
    }

    fn show(&self, state: &State) -> String {
        let State {
            last,
            message,
            floor,
            row,
            mark,
            slot,
            generation,
            told,
            ..
        } = state;
        let deleted = if state.is_tombstone(*row) {
            " (tombstone)"
        } else {
            ""
        };
        format!(
            "stream: last {last}, message {message}, floor {floor}; row {row}{deleted}, mark {mark}; \
             redis {slot:?} in generation {generation}; acknowledged {told}"
        )
    }
}
