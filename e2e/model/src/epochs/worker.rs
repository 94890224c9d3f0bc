//! The drain.

use super::{
    Steps,
    state::{Drain, State, Worker},
};

impl Steps<'_> {
    pub(super) fn drain(&mut self, now: &State) {
        let Worker { at, message } = now.worker;
        let mut next = *now;
        match at {
            Drain::Idle => {
                if now.message.exists() && now.message.sequence > now.floor {
                    next.worker = Worker {
                        at: Drain::Upsert,
                        message: now.message,
                    };
                    self.push("worker: fetches", 0, now.message.version, next);
                }
                return;
            }
            Drain::Upsert => {
                if now.row.version < message.version {
                    next.row = message;
                }
                next.highest = now.highest.max(message.version);
                next.worker.at = Drain::Acknowledge;
                self.push("worker: commits", 0, message.version, next);
            }
            Drain::Acknowledge => {
                next.floor = now.floor.max(message.sequence.min(now.last));
                next.worker = Worker::default();
                self.push("worker: acknowledges", 0, message.version, next);
            }
        }
        let worker = Worker::default();
        self.push("worker: dies", 0, 0, State { worker, ..*now });
    }
}
