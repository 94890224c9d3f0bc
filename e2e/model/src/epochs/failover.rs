//! PostgreSQL's standby, which follows when it pleases and takes over without what it has not seen. What is purged it has
//! seen: it lags behind by less than the horizon.

use super::{
    Steps,
    state::{State, Worker},
};

impl Steps<'_> {
    pub(super) fn failover(&mut self, now: &State) {
        if now.failovers == 0 {
            return;
        }
        let standby = now.database();
        if standby != now.standby {
            self.push(
                "the standby catches up",
                0,
                now.row.version,
                State { standby, ..*now },
            );
        }
        let mut next = now.with_database(now.standby);
        next.failovers -= 1;
        // Everything that the stream holds comes again, by another consumer.
        next.floor = 0;
        next.observation = None;
        next.worker = Worker::default();
        self.push("the standby takes over", 0, next.row.version, next);
    }
}
