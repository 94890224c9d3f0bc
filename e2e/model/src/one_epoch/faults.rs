//! What happens to Redis and NATS. What happens to clients and workers is among their own steps.

use super::{
    Rule, Slot, Steps,
    state::{At, CLIENTS, Janitor, State},
};

impl Steps<'_> {
    pub(super) fn faults(&mut self, now: &State) {
        if now.left.evictions > 0 && now.slot != Slot::Absent {
            let mut next = *now;
            next.left.evictions -= 1;
            next.slot = Slot::Absent;
            self.push("Redis loses the key", 0, 0, next);
        }
        if now.left.redis_restarts > 0 {
            self.restart_redis(now);
        }
        if now.left.nats_kills > 0 {
            self.kill_nats(now);
        }
    }

    fn restart_redis(&mut self, now: &State) {
        if now.snapshot != now.slot && matches!(now.slot, Slot::Copy { .. }) {
            let mut next = *now;
            next.snapshot = now.slot;
            self.push("Redis takes a snapshot", 0, 0, next);
        }
        let mut next = *now;
        next.left.redis_restarts -= 1;
        next.slot = now.snapshot;
        if self.keeps(Rule::GenerationFollowsProcess) {
            next.generation += 1;
        }
        self.push("Redis restarts with its snapshot", 0, 0, next);
    }

    /// What is held in connections is gone. The index is rebuilt, so one purged message may be back.
    fn kill_nats(&mut self, now: &State) {
        let mut next = *now;
        next.left.nats_kills -= 1;
        next.purge_again = true;
        next.janitor = Janitor::default();
        for client in 0..CLIENTS {
            if now.clients[client].at == At::Held {
                next.end(client);
            }
        }
        let floors = if self.setting.floor_goes_back {
            [Some(now.floor), Some(0)]
        } else {
            [Some(now.floor), None]
        };
        for floor in floors.into_iter().flatten() {
            let next = State { floor, ..next };
            self.push("NATS is killed", 0, 0, next);
            let back = if now.message == 0 { now.purged } else { 0 };
            for message in 1..=back {
                self.push(
                    "NATS is killed, a purged message is back",
                    0,
                    message,
                    State { message, ..next },
                );
            }
        }
    }
}
