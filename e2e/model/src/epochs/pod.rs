//! A pod passes the fence, and writes.

use super::{
    Rule, Steps,
    state::{At, Mode, State, Stored},
};

impl Steps<'_> {
    pub(super) fn pod(&mut self, now: &State, i: usize) {
        let pod = now.pods[i];
        match pod.at {
            At::Idle => {
                let known = pod.connected && pod.epoch == now.epoch;
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
            8 * now.epoch + now.last < now.highest
        };
        let mut next = *now;
        if went_back {
            self.raise(&mut next);
            next.pods[i].seen = 0;
        }
        next.pods[i].epoch = next.epoch;
        next.pods[i].connected = true;
        next.pods[i].leased = true;
        let action = if went_back {
            "the fence: the stream went back, a new epoch"
        } else {
            "the fence is passed"
        };
        self.push(action, i, next.epoch, next);
    }

    fn learn_of_the_switch(&mut self, now: &State, i: usize) {
        let mut next = *now;
        next.pods[i].epoch = now.epoch;
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
        pod.write.version = 8 * pod.epoch + sequence;
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
