//! PostgreSQL takes the writes while the stream is away, and gives them back.

use super::{
    Rule, Steps, above,
    state::{At, Broken, Mode, State, Stored},
};

impl Steps<'_> {
    /// The steps between stream and PostgreSQL, by whoever notices.
    pub(super) fn switch(&mut self, now: &State) {
        match now.mode {
            Mode::Queue if now.switches > 0 => {
                let mut next = *now;
                next.switches -= 1;
                next.mode = Mode::Closing;
                self.push("the queue is closed", 0, now.epoch, next);
            }
            Mode::Queue => {}
            Mode::Closing => self.begin_writing_through(now),
            Mode::Through => self.take_back(now),
        }
    }

    fn begin_writing_through(&mut self, now: &State) {
        for i in 0..now.pods.len() {
            if now.pods[i].leased {
                let mut next = *now;
                next.pods[i].leased = false;
                self.push("its lease ends", i, 0, next);
            }
        }
        let ended = now.pods.iter().all(|pod| !pod.leased);
        if ended || !self.keeps(Rule::LeasesEndFirst) {
            let mut next = *now;
            next.mode = Mode::Through;
            next.epoch += 1;
            next.base = above(next.highest.max(next.base));
            next.highest = next.base;
            next.given = 0;
            self.push("PostgreSQL takes the writes", 0, next.epoch, next);
        }
    }

    fn take_back(&mut self, now: &State) {
        let held = now.pods.iter().any(|pod| pod.at == At::Publish);
        if held && self.keeps(Rule::WaitForHeld) {
            return;
        }
        let mut next = *now;
        next.mode = Mode::Queue;
        self.raise(&mut next);
        self.push("the queue takes the writes again", 0, next.epoch, next);
    }

    /// What was sent and is held somewhere is lost on its way.
    pub(super) fn drop_held(&mut self, now: &State, i: usize) {
        if now.pods[i].epoch != now.epoch || !now.pods[i].leased {
            let mut next = *now;
            next.pods[i].give_up();
            self.push("a held publish is lost: unknown", i, 0, next);
        }
    }

    pub(super) fn commit(&mut self, now: &State, i: usize) {
        let mut refused = *now;
        refused.pods[i].give_up();
        if now.mode != Mode::Through || now.epoch != now.pods[i].epoch {
            return self.push("PostgreSQL does not take the write: 503", i, 0, refused);
        }
        self.push("written through: 201", i, now.epoch, committed(now, i));
        if now.conditional > 0 {
            let decidable = now.row.version > now.base;
            if !decidable && self.keeps(Rule::DecideInTheEpoch) {
                return self.push("a condition that nobody can decide: 503", i, 0, refused);
            }
            let mut next = committed(now, i);
            next.conditional -= 1;
            // It was compared with the row, and what it should have been compared with is in the stream.
            let unseen = now.message.exists() && now.message.version > now.row.version;
            if unseen && now.told.version == now.message.version {
                next.broken = Some(Broken::Update);
            }
            self.push("written through on a condition: 201", i, now.epoch, next);
        }
    }
}

fn committed(now: &State, i: usize) -> State {
    let mut next = *now;
    next.given += 1;
    let written = Stored {
        version: now.base + next.given,
        sequence: 0,
        number: now.pods[i].write.number,
    };
    if now.row.version < written.version {
        next.row = written;
    }
    next.highest = next.highest.max(written.version);
    next.tell(written, now.pods[i].low);
    next.pods[i].give_up();
    next
}
