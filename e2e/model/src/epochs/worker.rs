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
                    self.settle_others(now);
                }
                return;
            }
            Drain::Upsert => {
                if now.row.version < message.version && now.mark < message.version {
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

    /// The messages before the key's own are those of other keys, or were overwritten.
    fn settle_others(&mut self, now: &State) {
        let floor = now.message.sequence - 1;
        if floor > now.floor {
            self.push(
                "worker: acknowledges what other keys have before",
                0,
                floor,
                State { floor, ..*now },
            );
        }
    }
}
