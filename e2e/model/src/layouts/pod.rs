//! A pod writes and reads in the layout that it knows.

use super::{
    Rule, Steps,
    state::{At, Copy, State},
};

impl Steps<'_> {
    pub(super) fn pod(&mut self, now: &State, i: usize) {
        let pod = now.pods[i];
        match pod.at {
            At::Idle => {
                if pod.knows < now.layout {
                    let mut next = *now;
                    next.pods[i].knows = now.layout;
                    self.push("it learns of the layout", i, 0, next);
                }
                self.begin(now, i);
            }
            At::Publish => self.publish(now, i),
            At::Copy(version) => {
                let mut next = *now;
                // It replaces an older copy of its layout, and otherwise deletes what is there.
                next.copy = match now.copy {
                    Some(Copy::Of {
                        version: there,
                        layout,
                    }) if layout == pod.layout => Some(Copy::Of {
                        version: there.max(version),
                        layout,
                    }),
                    _ => None,
                };
                next.pods[i].at = At::Answer(version);
                self.push("a write: Redis is told", i, version, next);
            }
            At::Answer(version) => {
                let mut next = *now;
                if version <= pod.low {
                    next.broken = Some("a later write has a lower version");
                }
                next.told = now.told.max(version);
                next.pods[i].end();
                self.push("a write: answered 201", i, version, next);
            }
            At::ReadStream { leased } => {
                let mut next = *now;
                let queued = now.streams[usize::from(pod.layout)].message;
                next.pods[i].at = At::ReadRow { leased, queued };
                self.push("a read: the stream answers", i, queued, next);
            }
            At::ReadRow { leased, queued } => self.read_row(now, i, leased, queued),
            At::Fill { found } => {
                let mut next = *now;
                if now.copy == Some(Copy::Lease(number(i))) {
                    next.copy = Some(Copy::Of {
                        version: found,
                        layout: pod.layout,
                    });
                }
                next.pods[i].end();
                self.push("a read: fills Redis over its lease", i, found, next);
            }
        }
    }

    fn begin(&mut self, now: &State, i: usize) {
        let mut next = *now;
        let pod = &mut next.pods[i];
        (pod.layout, pod.low) = (pod.knows, now.told);
        if now.pods[i].writes > 0 {
            let mut writing = next;
            writing.pods[i].writes -= 1;
            writing.pods[i].at = At::Publish;
            self.push("a write begins", i, 0, writing);
        }
        if now.pods[i].reads == 0 {
            return;
        }
        next.pods[i].reads -= 1;
        match now.copy {
            Some(Copy::Of { version, layout }) if layout == now.pods[i].knows => {
                self.answer_read(next, i, version, "a read: found in Redis");
            }
            held => {
                let leased = held.is_none();
                if leased {
                    next.copy = Some(Copy::Lease(number(i)));
                }
                next.pods[i].at = At::ReadStream { leased };
                self.push("a read: not in Redis", i, 0, next);
            }
        }
    }

    fn publish(&mut self, now: &State, i: usize) {
        let mut next = *now;
        let layout = now.pods[i].layout;
        if layout == 0 && !now.takes_writes {
            next.pods[i].end();
            return self.push("a write: the stream is sealed, 503", i, 0, next);
        }
        let stream = &mut next.streams[usize::from(layout)];
        stream.sequence += 1;
        let base = if self.keeps(Rule::BaseAbove) {
            8 * layout
        } else {
            0
        };
        let version = base + stream.sequence;
        stream.message = version;
        next.pods[i].at = At::Copy(version);
        self.push("a write: published", i, version, next);
    }

    fn read_row(&mut self, now: &State, i: usize, leased: bool, queued: u8) {
        let mut next = *now;
        if self.keeps(Rule::ReadTheFence) && now.pods[i].layout < now.layout {
            // It begins again where the key is now; what it may answer is as before.
            next.pods[i].knows = now.layout;
            next.pods[i].layout = now.layout;
            next.pods[i].at = At::ReadStream { leased: false };
            return self.push("a read: the partition has no fence any more", i, 0, next);
        }
        let found = queued.max(now.row);
        if leased {
            next.pods[i].at = At::Fill { found };
            if found < now.pods[i].low {
                next.broken = Some(STALE);
            }
            return self.push("a read: the row answers", i, found, next);
        }
        self.answer_read(next, i, found, "a read: the row answers");
    }

    fn answer_read(&mut self, mut next: State, i: usize, found: u8, action: &'static str) {
        if found < next.pods[i].low {
            next.broken = Some(STALE);
        }
        next.pods[i].end();
        self.push(action, i, found, next);
    }
}

const STALE: &str = "a read is older than an acknowledged write";

/// As leases name a pod.
fn number(pod: usize) -> u8 {
    u8::try_from(pod).unwrap_or(u8::MAX)
}
