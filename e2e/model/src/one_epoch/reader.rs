//! Reads: Redis, the stream, and only after that the table.

use super::{
    Deed, Rule, Slot, Steps,
    state::{At, Broken, CLIENTS, State},
};

/// What a reader takes as the truth, 0 for nothing: a message at or below the mark is a ghost, and of the rest the
/// higher version wins. `dataplane/api/src/read.rs` decides the same way; a test compares them.
#[must_use]
pub fn newest(queued: u8, stored: u8, mark: u8) -> u8 {
    if queued > mark { queued.max(stored) } else { stored }
}

impl Steps<'_> {
    pub(super) fn read(&mut self, now: &State, i: usize) {
        match now.clients[i].at {
            At::Idle if now.clients[i].runs > 0 => self.ask_redis(now, i),
            At::ReadStream => self.read_stream(now, i),
            At::ReadTable => self.read_table(now, i),
            At::Fill => self.fill(now, i),
            _ => {}
        }
    }

    fn ask_redis(&mut self, now: &State, i: usize) {
        let mut next = *now;
        next.clients[i].runs -= 1;
        next.clients[i].low = now.told_fresh;
        let wanted = if self.setting.carry {
            now.clients[i].seen
        } else {
            0
        };
        if let Some(version) = now.slot.hit(now.generation).filter(|version| *version >= wanted) {
            self.answered(&mut next, i, version);
            next.end(i);
            self.push("read: found in Redis", i, version, next);
            return;
        }
        self.join(&next, i);
        let token = token(now, i);
        if let Some(leased) = now.slot.lease(token, now.generation) {
            next.slot = leased;
            next.clients[i].lease = token;
        }
        next.clients[i].at = At::ReadStream;
        self.push("read: not in Redis", i, 0, next);
    }

    /// Joins the question of another reader.
    fn join(&mut self, begun: &State, i: usize) {
        if !self.setting.flights {
            return;
        }
        for leader in 0..CLIENTS {
            let open = match begun.clients[leader].at {
                At::ReadStream => true,
                At::ReadTable => !self.keeps(Rule::JoinBeforeStreamRead),
                _ => false,
            };
            if leader != i && self.setting.deed(leader) == Some(Deed::Get) && open {
                let mut next = *begun;
                next.clients[i].at = At::Joined(u8::try_from(leader).unwrap_or(u8::MAX));
                self.push("read: joins another's question", i, 0, next);
            }
        }
    }

    fn read_stream(&mut self, now: &State, i: usize) {
        let lagging = (!self.keeps(Rule::LeaderAnswers) && now.message > 1).then(|| now.message - 1);
        for message in [Some(now.message), lagging].into_iter().flatten() {
            let mut next = *now;
            next.clients[i].message = message;
            next.clients[i].at = At::ReadTable;
            self.push("read: last message read", i, message, next);
        }
        if self.setting.nats_cut {
            self.answer_from_one(now, i, now.row, "read: the table alone, marked");
        }
    }

    fn read_table(&mut self, now: &State, i: usize) {
        let client = now.clients[i];
        let mark = if self.keeps(Rule::ReaderIgnoresGhosts) {
            now.mark
        } else {
            0
        };
        let version = newest(client.message, now.row, mark);
        let mut next = *now;
        for other in 0..CLIENTS {
            if matches!(now.clients[other].at, At::Joined(leader) if usize::from(leader) == i) {
                self.answered(&mut next, other, version);
                next.end(other);
            }
        }
        self.answered(&mut next, i, version);
        let client = &mut next.clients[i];
        (client.at, client.version, client.low, client.message) = (At::Fill, version, 0, 0);
        self.push("read: table read, the higher version answered", i, version, next);
        if self.setting.postgres_cut && now.clients[i].message > 0 {
            self.answer_from_one(now, i, now.clients[i].message, "read: the stream alone, marked");
        }
    }

    /// The answer is marked, so it promises nothing.
    fn answer_from_one(&mut self, now: &State, i: usize, version: u8, action: &'static str) {
        let mut next = *now;
        if self.keeps(Rule::FillFromBoth) {
            next.end(i);
        } else {
            next.clients[i].version = version;
            next.clients[i].at = At::Fill;
        }
        self.push(action, i, version, next);
    }

    fn fill(&mut self, now: &State, i: usize) {
        let client = now.clients[i];
        let mut next = *now;
        next.slot = if self.keeps(Rule::FillNeedsLease) {
            now.slot.fill(client.lease, client.version)
        } else if now.slot.hit(now.generation).is_none() {
            Slot::filled(client.version, now.generation)
        } else {
            now.slot
        };
        next.end(i);
        self.push("read: Redis filled", i, client.version, next);
        let mut next = *now;
        next.end(i);
        self.push("read: the fill is dropped", i, client.version, next);
    }

    fn answered(&self, next: &mut State, i: usize, version: u8) {
        let client = next.clients[i];
        next.judge_read(client.low, version);
        if next.broken.is_none() && self.setting.carry && version > 0 && version < client.seen {
            next.broken = Some(Broken::Carried);
        }
        next.clients[i].seen = client.seen.max(version);
    }
}

/// A token that no other run has.
fn token(now: &State, i: usize) -> u8 {
    (u8::try_from(i).unwrap_or(u8::MAX >> 4) + 1) * 16 + now.clients[i].runs
}
