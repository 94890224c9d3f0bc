//! The drain: fetch, upsert, invalidate, acknowledge.

use super::{
    Rule, Slot, Steps,
    state::{Drain, State, Worker},
};

impl Steps<'_> {
    pub(super) fn drain(&mut self, now: &State, i: usize) {
        let worker = now.workers[i];
        match worker.at {
            Drain::Idle => self.fetch(now, i),
            Drain::Snapshot => {
                let mut next = *now;
                next.workers[i] = Worker {
                    at: Drain::Upsert,
                    mark: now.mark,
                    ..worker
                };
                self.push("worker: reads the mark", i, now.mark, next);
            }
            Drain::Upsert => self.upsert(now, i),
            Drain::Invalidate => self.invalidate(now, i),
            Drain::Acknowledge => {
                let mut next = *now;
                if !worker.late {
                    next.floor = now.floor.max(worker.message);
                }
                next.workers[i] = Worker::default();
                self.push("worker: acknowledges", i, worker.message, next);
            }
        }
        if worker.is_busy() {
            let mut next = *now;
            next.workers[i] = Worker::default();
            self.push("worker: dies", i, worker.message, next);
        }
    }

    fn fetch(&mut self, now: &State, i: usize) {
        let same_as_first = i == 1 && now.workers[0] == now.workers[1];
        if now.message > now.floor && !same_as_first {
            let at = if self.keeps(Rule::MarkReadWithUpsert) {
                Drain::Upsert
            } else {
                Drain::Snapshot
            };
            let mut next = *now;
            next.workers[i] = Worker {
                at,
                message: now.message,
                ..Worker::default()
            };
            self.push("worker: fetches", i, now.message, next);
        }
    }

    fn upsert(&mut self, now: &State, i: usize) {
        let worker = now.workers[i];
        let Worker { message, mark, .. } = worker;
        let mark = if self.keeps(Rule::MarkReadWithUpsert) {
            now.mark
        } else {
            mark
        };
        let ghost = self.keeps(Rule::WorkerIgnoresGhosts) && message <= mark;
        let mut next = *now;
        let at = if ghost {
            Drain::Acknowledge
        } else {
            Drain::Invalidate
        };
        if !ghost {
            next.row = now.row.max(message);
        }
        next.workers[i] = Worker {
            at,
            mark: 0,
            ..worker
        };
        self.push("worker: commits", i, message, next);
    }

    fn invalidate(&mut self, now: &State, i: usize) {
        let message = now.workers[i].message;
        let mut next = *now;
        next.workers[i].at = Drain::Acknowledge;
        let spared = matches!(now.slot, Slot::Lease { .. }) && !self.keeps(Rule::InvalidationEndsLeases);
        if !spared {
            next.slot = now.slot.invalidate(message, now.generation);
        }
        self.push("worker: removes an older copy", i, message, next);
        if now.left.redis_errors > 0 {
            self.invalidation_fails(now, i);
        }
    }

    fn invalidation_fails(&mut self, now: &State, i: usize) {
        let message = now.workers[i].message;
        let mut held = *now;
        held.left.redis_errors -= 1;
        let mut acknowledged = held;
        held.workers[i] = Worker::default();
        self.push("worker: Redis is away, the message stays", i, message, held);
        acknowledged.workers[i].at = Drain::Acknowledge;
        if self.keeps(Rule::AckAfterInvalidation) {
            acknowledged.generation += 1;
        }
        self.push(
            "worker: Redis is away, the generation is raised",
            i,
            message,
            acknowledged,
        );
    }
}
