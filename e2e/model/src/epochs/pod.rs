//! A pod passes the fence, and writes.

use super::{
    Rule, Steps,
    state::{At, Memory, Mode, State, Stored},
};

impl Steps<'_> {
    pub(super) fn pod(&mut self, now: &State, i: usize) {
        let pod = now.pods[i];
        match pod.at {
            At::Idle => {
                let known = pod.connected && (pod.epoch, pod.base) == (now.epoch, now.base);
                match now.mode {
                    Mode::Queue if !known || !pod.leased => self.pass_the_fence(now, i),
                    Mode::Through if !known => self.learn_of_the_switch(now, i),
                    _ => {}
                }
                if pod.connected && pod.leased && pod.writes > 0 {
                    self.begin(now, i, At::Publish);
                }
                if known && now.mode == Mode::Through && !pod.leased && pod.writes > 0 {
                    self.begin(now, i, At::Commit);
                }
            }
            At::Publish => {
                self.publish(now, i);
                self.drop_held(now, i);
            }
            At::Applied => self.acknowledge(now, i),
            At::Commit => self.commit(now, i),
        }
    }

    fn pass_the_fence(&mut self, now: &State, i: usize) {
        let went_back = if self.keeps(Rule::FenceNamesIncarnation) {
            now.fenced != now.incarnation
        } else {
            now.base + now.last < now.highest
        };
        let mut next = *now;
        if self.remembers_more(now)
            && now.memory.incarnation == now.incarnation
            && self.keeps(Rule::LostEpochGoesOn)
        {
            let memory = now.memory;
            (next.epoch, next.base, next.fenced) = (memory.epoch, memory.base, memory.incarnation);
            (next.floor, next.purged) = (0, 0);
            return self.push("the fence: the epoch was lost, it goes on", i, next.epoch, next);
        }
        if went_back || self.remembers_more(now) {
            self.raise(&mut next);
            next.pods[i].seen = 0;
            // PostgreSQL may lose it before anybody has passed. Where it loses nothing, both are one step.
            if self.setting.failovers > 0 {
                return self.push("the fence: a new epoch", i, next.epoch, next);
            }
        }
        let (epoch, base, incarnation) = (next.epoch, next.base, next.incarnation);
        if self.setting.failovers > 0 && epoch >= now.memory.epoch {
            next.memory = Memory {
                epoch,
                base,
                incarnation,
            };
        }
        next.pods[i].epoch = epoch;
        next.pods[i].base = base;
        next.pods[i].connected = true;
        next.pods[i].leased = true;
        self.push("the fence is passed", i, epoch, next);
    }

    fn learn_of_the_switch(&mut self, now: &State, i: usize) {
        let mut next = *now;
        next.pods[i].epoch = now.epoch;
        next.pods[i].base = now.base;
        next.pods[i].connected = true;
        next.pods[i].leased = false;
        self.push("it learns that PostgreSQL takes the writes", i, now.epoch, next);
    }

    fn begin(&mut self, now: &State, i: usize, at: At) {
        let mut next = *now;
        next.numbers += 1;
        let number = next.numbers;
        let pod = &mut next.pods[i];
        pod.writes -= 1;
        pod.low = now.told.version;
        pod.write = Stored {
            number,
            ..Stored::default()
        };
        pod.at = at;
        self.push("a write begins", i, number, next);
    }

    fn publish(&mut self, now: &State, i: usize) {
        let mut next = *now;
        if !now.pods[i].connected {
            next.pods[i].give_up();
            return self.push("the connection is gone: 503", i, 0, next);
        }
        next.last += 1;
        let (sequence, pod) = (next.last, &mut next.pods[i]);
        pod.write.version = pod.base + sequence;
        pod.write.sequence = sequence;
        pod.at = At::Applied;
        next.message = pod.write;
        self.push("published", i, next.message.version, next);
    }

    fn acknowledge(&mut self, now: &State, i: usize) {
        let pod = now.pods[i];
        let mut next = *now;
        next.pods[i].give_up();
        if !pod.connected {
            return self.push(
                "the acknowledgement comes over a broken connection: unknown",
                i,
                0,
                next,
            );
        }
        if self.keeps(Rule::LeasesEndFirst) && !pod.leased {
            return self.push("the acknowledgement comes after the lease: unknown", i, 0, next);
        }
        if !self.keeps(Rule::FenceNamesIncarnation) && pod.write.sequence < pod.seen {
            self.raise(&mut next);
            next.pods[i].epoch = next.epoch;
            next.pods[i].base = next.base;
            next.pods[i].seen = 0;
            return self.push(
                "an acknowledgement below one seen: a new epoch, 503",
                i,
                next.epoch,
                next,
            );
        }
        next.tell(pod.write, pod.low);
        next.pods[i].seen = pod.seen.max(pod.write.sequence);
        self.push("answered 201", i, pod.write.version, next);
    }
}
