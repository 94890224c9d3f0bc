//! The purge behind the acknowledgements, and the sweep of tombstones.

use super::{
    Rule, Steps, in_flight,
    state::{Janitor, Purge, State},
};

impl Steps<'_> {
    pub(super) fn purge(&mut self, now: &State) {
        let janitor = now.janitor;
        match janitor.at {
            Purge::Idle if now.floor > now.mark && !self.refuses(now) => self.observe(now),
            Purge::Waiting if janitor.waits_for == 0 && self.is_replicated(now) => {
                let mut next = *now;
                next.janitor.at = Purge::Halfway;
                half(&mut next, self.keeps(Rule::MarkBeforePurge));
                self.push("janitor: the horizon is over", 0, janitor.floor, next);
            }
            Purge::Halfway => {
                let mut next = *now;
                half(&mut next, !self.keeps(Rule::MarkBeforePurge));
                next.janitor = Janitor::default();
                self.push("janitor: purge complete", 0, janitor.floor, next);
            }
            _ => {}
        }
        if janitor.at != Purge::Idle {
            let mut next = *now;
            next.janitor = Janitor::default();
            self.push("janitor: dies", 0, 0, next);
        }
        if now.purge_again {
            let mut next = *now;
            next.purge_again = false;
            remove(&mut next, now.mark);
            self.push("janitor: purges up to the mark again", 0, now.mark, next);
        }
    }

    /// PostgreSQL failed over, and what was acknowledged before may be missing there.
    fn refuses(&self, now: &State) -> bool {
        now.unreplayed && self.keeps(Rule::JanitorBoundToHistory)
    }

    /// Whether the standby has what the janitor saw a horizon ago. Where none takes over, it does not matter.
    fn is_replicated(&self, now: &State) -> bool {
        let seen = now.standby.row.max(now.standby.mark);
        seen >= now.janitor.floor || now.left.failovers == 0 || !self.keeps(Rule::LagBelowHorizon)
    }

    fn observe(&mut self, now: &State) {
        let mut next = *now;
        let floor = now.floor.min(now.last);
        let waits_for = if self.keeps(Rule::Horizon) {
            in_flight(self.setting, now)
        } else {
            0
        };
        next.janitor = Janitor {
            at: Purge::Waiting,
            floor,
            waits_for,
        };
        self.push("janitor: observes the floor", 0, floor, next);
    }

    pub(super) fn sweep(&mut self, now: &State) {
        let behind = now.row <= now.mark || !self.keeps(Rule::SweepBehindMark);
        if now.is_tombstone(now.row) && behind {
            let mut next = *now;
            (next.swept, next.row) = (now.row, 0);
            self.push("the tombstone is swept", 0, now.row, next);
        }
    }
}

fn remove(next: &mut State, floor: u8) {
    if next.message <= floor {
        next.message = 0;
    }
}

/// The mark is recorded, or the messages go.
fn half(next: &mut State, mark: bool) {
    let floor = next.janitor.floor;
    if mark {
        next.mark = floor;
    } else {
        next.purged = next.purged.max(floor);
        remove(next, floor);
    }
}
