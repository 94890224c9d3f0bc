//! Writes, deletes and increments.

use super::{
    Deed, Rule, Slot, Steps, newest,
    state::{At, Broken, MESSAGES, Sent, State},
};

/// Attempts of an increment before its client gets a 412.
const ATTEMPTS: u8 = 2;

impl Steps<'_> {
    pub(super) fn write(&mut self, now: &State, i: usize, deed: Deed) {
        match now.clients[i].at {
            At::Idle if now.clients[i].runs > 0 => self.begin(now, i, deed),
            At::CompareStream => self.compare_stream(now, i),
            At::CompareTable => self.compare_table(now, i),
            At::Publish => self.publish(now, i, deed),
            At::Held => self.release(now, i, deed),
            At::Applied => self.acknowledge(now, i, deed),
            At::Cache => self.tell_redis(now, i),
            _ => {}
        }
    }

    fn begin(&mut self, now: &State, i: usize, deed: Deed) {
        let mut next = *now;
        let client = &mut next.clients[i];
        client.runs -= 1;
        client.low = now.told;
        client.at = if deed == Deed::Increment {
            At::CompareStream
        } else {
            At::Publish
        };
        self.push("a write begins", i, 0, next);
    }

    fn compare_stream(&mut self, now: &State, i: usize) {
        let lagging = (!self.keeps(Rule::LeaderAnswers) && now.message > 1).then(|| now.message - 1);
        for message in [Some(now.message), lagging].into_iter().flatten() {
            let mut next = *now;
            next.clients[i].message = message;
            next.clients[i].at = At::CompareTable;
            self.push("increment: last message read", i, message, next);
        }
    }

    fn compare_table(&mut self, now: &State, i: usize) {
        let mut next = *now;
        let client = now.clients[i];
        let mark = if self.keeps(Rule::ReaderIgnoresGhosts) {
            now.mark
        } else {
            0
        };
        let current = if self.keeps(Rule::CompareWithBoth) || client.message <= mark {
            newest(client.message, now.row, mark)
        } else {
            client.message
        };
        if client.tried > 0 && self.is_own(now, i, current) {
            next.clients[i].version = current;
            next.clients[i].at = At::Cache;
            self.push("increment: finds itself applied", i, current, next);
        } else {
            next.clients[i].base = current;
            next.clients[i].at = At::Publish;
            self.push("increment: table read, compared", i, current, next);
        }
    }

    /// Whether this version holds what an earlier attempt of the run sent.
    fn is_own(&self, now: &State, i: usize, version: u8) -> bool {
        let Some(index) = usize::from(version).checked_sub(1) else {
            return false;
        };
        let sent = now.history[index];
        if self.keeps(Rule::OperationIds) {
            (sent.counted >> bit(now, i)) & 3 > 0
        } else {
            sent.by == operation(now, i)
        }
    }

    fn publish(&mut self, now: &State, i: usize, deed: Deed) {
        let mut next = *now;
        if apply(&mut next, i, deed) {
            next.clients[i].version = next.last;
            next.clients[i].at = At::Applied;
            self.push("published", i, next.last, next);
        } else if deed == Deed::Increment {
            self.refused(now, i);
        }
        if now.left.late_publishes > 0 {
            let mut next = *now;
            next.left.late_publishes -= 1;
            next.clients[i].at = At::Held;
            self.push("publish held in the connection, answer unknown", i, 0, next);
        }
        self.api_dies(now, i);
    }

    fn refused(&mut self, now: &State, i: usize) {
        let mut next = *now;
        if now.clients[i].tried < ATTEMPTS {
            next.clients[i].tried += 1;
            next.clients[i].at = At::CompareStream;
        } else {
            next.end(i);
        }
        self.push("publish refused: another message is the last", i, 0, next);
    }

    fn release(&mut self, now: &State, i: usize, deed: Deed) {
        let mut next = *now;
        let applied = apply(&mut next, i, deed);
        if !applied {
            next = *now;
        }
        next.end(i);
        let action = if applied {
            "held publish applied late"
        } else {
            "held publish refused late"
        };
        self.push(action, i, next.last, next);
    }

    fn acknowledge(&mut self, now: &State, i: usize, deed: Deed) {
        let version = now.clients[i].version;
        let mut next = *now;
        next.clients[i].at = At::Cache;
        self.push("acknowledged by the stream", i, version, next);
        if now.left.lost_acks > 0 {
            let mut next = *now;
            next.left.lost_acks -= 1;
            if deed == Deed::Increment && now.clients[i].tried < ATTEMPTS {
                next.clients[i].tried += 1;
                next.clients[i].at = At::CompareStream;
            } else {
                next.end(i);
            }
            self.push("the acknowledgement is lost", i, version, next);
        }
        self.api_dies(now, i);
    }

    fn api_dies(&mut self, now: &State, i: usize) {
        if now.left.api_deaths > 0 {
            let mut next = *now;
            next.left.api_deaths -= 1;
            next.end(i);
            self.push("the API dies", i, now.clients[i].version, next);
        }
    }

    fn tell_redis(&mut self, now: &State, i: usize) {
        let version = now.clients[i].version;
        let mut next = *now;
        let written = now.slot.write(version, now.generation);
        let stores = !self.keeps(Rule::WriteReplacesOnly) && written == Slot::Absent;
        next.slot = if stores {
            Slot::filled(version, now.generation)
        } else {
            written
        };
        next.told_fresh = next.told_fresh.max(version);
        answer(&mut next, i);
        self.push("Redis told, answer 201", i, version, next);
        if now.left.redis_errors > 0 {
            let mut next = *now;
            next.left.redis_errors -= 1;
            answer(&mut next, i);
            self.push("Redis does not answer, answer 202", i, version, next);
        }
    }
}

fn answer(next: &mut State, i: usize) {
    let client = next.clients[i];
    if client.version <= client.low && client.tried == 0 {
        next.broken = Some(Broken::Order);
    }
    next.told = next.told.max(client.version);
    next.end(i);
}

/// The stream takes the message, unless it is conditional and another one is the key's last. False also when the
/// model's history is full.
fn apply(next: &mut State, i: usize, deed: Deed) -> bool {
    let client = next.clients[i];
    let mut counted = 0;
    if deed == Deed::Increment {
        if next.message != client.message {
            return false;
        }
        counted = count(next, i);
    }
    if usize::from(next.last) >= MESSAGES {
        return false;
    }
    next.history[usize::from(next.last)] = Sent {
        by: operation(next, i),
        counted,
        tombstone: deed == Deed::Delete,
    };
    next.last += 1;
    next.message = next.last;
    true
}

/// The base with this increment counted in; whoever counts twice, or on an old base, has broken the promise.
fn count(next: &mut State, i: usize) -> u8 {
    let (base, shift) = (next.clients[i].base, bit(next, i));
    let before = usize::from(base)
        .checked_sub(1)
        .map_or(0, |index| next.history[index].counted);
    if (before >> shift) & 3 > 0 {
        next.broken = Some(Broken::Doubled);
    } else if base != next.last && !(base == 0 && next.swept == next.last) {
        next.broken = Some(Broken::LostUpdate);
    }
    before + (1 << shift)
}

/// A name for the client's present run.
fn operation(state: &State, i: usize) -> u8 {
    let client = u8::try_from(i).unwrap_or(u8::MAX / 4);
    2 * client + state.clients[i].runs + 1
}

fn bit(state: &State, i: usize) -> u8 {
    2 * (operation(state, i) - 1)
}
