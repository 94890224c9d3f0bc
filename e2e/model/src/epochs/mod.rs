//! One key over several epochs: a stream's store is replaced by an older copy, and the fence notices. Two pods write,
//! one worker drains, one janitor purges; while the stream is away PostgreSQL may take the writes, and its standby may take
//! over without what it has not seen. A version is the epoch's base plus the sequence, and eight stands for 2^32.

mod failover;
mod janitor;
mod pod;
mod state;
mod through;
mod worker;

use crate::explore::{Label, Model};

pub use state::State;

/// A rule of the fence that can be left out, to see what breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The fence names the stream's incarnation. Without: a sequence that went back tells of a restore.
    FenceNamesIncarnation,
    /// A raise makes the consumer anew.
    RaiseRenewsConsumer,
    /// A raise forgets the purge sequence.
    RaiseForgetsPurge,
    /// The janitor's observation is bound to incarnation and epoch, and both are compared again before the purge.
    JanitorBoundToEpoch,
    /// Connections break when the store is replaced.
    RestoreBreaksConnections,
    /// The mark stays below what an earlier epoch left in the stream.
    MarkBelowWaiting,
    /// PostgreSQL takes writes only when every lease has ended, and an acknowledgement that comes after the own lease is
    /// answered to nobody.
    LeasesEndFirst,
    /// The queue takes the writes again only when nothing can arrive any more that was published before.
    WaitForHeld,
    /// NATS remembers the latest epoch that anybody passed with, and who passes the fence compares.
    NatsRemembersEpoch,
    /// An epoch that PostgreSQL has lost goes on. Without: another one begins above it.
    LostEpochGoesOn,
    /// While PostgreSQL takes the writes, a condition is decided only against a row of that epoch.
    DecideInTheEpoch,
}

/// One question to the model.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Writes of each pod.
    pub writes: [u8; 2],
    /// How often the store is replaced.
    pub restores: u8,
    /// How often the stream's server comes back with everything that it had.
    pub restarts: u8,
    /// How often PostgreSQL's standby takes over.
    pub failovers: u8,
    /// How often PostgreSQL takes the writes.
    pub switches: u8,
    /// How many of the writes it then takes may be conditional.
    pub conditional: u8,
    /// The rules that are left out.
    pub without: &'static [Rule],
}

/// Sequences and epochs stay below these.
const SEQUENCES: u8 = 7;
const EPOCHS: u8 = 16;
/// Between the bases of two epochs.
const SPACING: u8 = 8;

/// The base of an epoch above this version.
const fn above(version: u8) -> u8 {
    (version / SPACING + 1) * SPACING
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

    /// A new epoch for the stream as it is, above those that are known.
    fn raise(&self, next: &mut State) {
        next.highest = next.highest.max(next.base + next.last);
        if self.remembers_more(next) {
            next.epoch = next.memory.epoch;
            next.highest = next.highest.max(next.memory.base + next.last);
        }
        next.epoch += 1;
        next.base = above(next.highest);
        next.fenced = next.incarnation;
        if self.keeps(Rule::RaiseRenewsConsumer) {
            next.floor = 0;
        }
        if self.keeps(Rule::RaiseForgetsPurge) {
            next.purged = 0;
        }
    }

    /// Whether NATS knows an epoch that PostgreSQL does not.
    fn remembers_more(&self, now: &State) -> bool {
        self.keeps(Rule::NatsRemembersEpoch) && now.memory.epoch > now.epoch
    }

    fn break_connections(&self, next: &mut State) {
        if self.keeps(Rule::RestoreBreaksConnections) {
            for pod in &mut next.pods {
                pod.break_connection();
            }
            next.worker = state::Worker::default();
        }
    }

    /// The server comes back with everything that it had.
    fn restart(&mut self, now: &State) {
        if now.restarts == 0 {
            return;
        }
        let mut next = *now;
        next.restarts -= 1;
        next.incarnation += 1;
        self.break_connections(&mut next);
        self.push("the server is restarted", 0, next.last, next);
    }

    /// The store becomes an older copy of itself, or empty.
    fn restore(&mut self, now: &State) {
        if now.left == 0 {
            return;
        }
        if now.copy.is_none() && now.last > 0 {
            let mut next = *now;
            next.copy = Some((now.last, now.message, now.memory));
            self.push("the store is copied", 0, now.last, next);
        }
        let mut next = *now;
        next.left -= 1;
        next.incarnation += 1;
        (next.last, next.message, next.memory) = now.copy.unwrap_or_default();
        next.forgive();
        if let Some(first) = next.message.sequence.checked_sub(1) {
            // What is left is delivered again.
            next.floor = next.floor.min(first);
        }
        self.break_connections(&mut next);
        self.push("the store is replaced by its copy", 0, next.last, next);
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
        if state.last < SEQUENCES && state.epoch < EPOCHS {
            for pod in 0..state.pods.len() {
                steps.pod(state, pod);
            }
            steps.drain(state);
            steps.purge(state);
            steps.restore(state);
            steps.restart(state);
            steps.failover(state);
            steps.switch(state);
        }
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
            incarnation,
            row,
            epoch,
            base,
            purged,
            told,
            mode,
            ..
        } = state;
        format!(
            "stream: last {last}, {message:?}, floor {floor}, incarnation {incarnation}; row {row:?}; \
             epoch {epoch} from {base} ({mode:?}), purged {purged}; acknowledged {told:?}"
        )
    }
}
