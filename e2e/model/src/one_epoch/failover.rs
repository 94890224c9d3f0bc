//! PostgreSQL's standby, which follows when it pleases and takes over without what it has not seen.

use super::{
    Rule, Steps,
    state::{Janitor, Purge, Standby, State},
};

impl Steps<'_> {
    pub(super) fn failover(&mut self, now: &State) {
        if now.left.failovers > 0 {
            self.follow(now);
            self.take_over(now);
        }
        if now.unreplayed {
            self.replay(now);
        }
    }

    fn follow(&mut self, now: &State) {
        let standby = Standby {
            row: now.row,
            mark: now.mark,
            generation: now.generation,
        };
        if standby != now.standby {
            self.push("the standby catches up", 0, now.row, State { standby, ..*now });
        }
    }

    fn take_over(&mut self, now: &State) {
        let mut next = *now;
        next.left.failovers -= 1;
        (next.row, next.mark) = (now.standby.row, now.standby.mark);
        next.unreplayed = self.keeps(Rule::FailoverReplays);
        // Its mark would be recorded where the commits are missing. What it has recorded before, it purges all the same.
        if now.janitor.at == Purge::Waiting && self.keeps(Rule::JanitorBoundToHistory) {
            next.janitor = Janitor::default();
        }
        self.push("the standby takes over", 0, now.standby.row, next);
    }

    /// Everything that the stream holds comes again, by another consumer.
    fn replay(&mut self, now: &State) {
        let mut next = *now;
        next.unreplayed = false;
        next.floor = 0;
        next.janitor = Janitor::default();
        for worker in &mut next.workers {
            worker.late = worker.is_busy() && self.keeps(Rule::ReplayRenewsConsumer);
        }
        next.generation = if self.keeps(Rule::ReplayRaisesGeneration) {
            now.generation + 1
        } else {
            now.standby.generation
        };
        self.push("the stream is replayed", 0, now.message, next);
    }
}
