//! The purge.

use super::{
    Rule, Steps,
    state::{Mode, Observation, State, Stored},
};

impl Steps<'_> {
    pub(super) fn purge(&mut self, now: &State) {
        let bound = self.keeps(Rule::JanitorBoundToEpoch);
        let known = now.mode == Mode::Queue && (!bound || now.fenced == now.incarnation);
        if let Some(observation) = now.observation {
            self.after_the_horizon(now, observation);
        } else if now.floor > now.purged && known {
            let (floor, incarnation, epoch) = (now.floor, now.incarnation, now.epoch);
            let observation = Some(Observation {
                floor,
                incarnation,
                epoch,
            });
            self.push(
                "janitor: observes the floor",
                0,
                floor,
                State { observation, ..*now },
            );
        }
        let leftover = now.message.exists() && now.message.sequence <= now.purged;
        if now.incarnation > 0 && known && leftover {
            let message = Stored::default();
            self.push("janitor: purges again", 0, now.purged, State { message, ..*now });
        }
    }

    fn after_the_horizon(&mut self, now: &State, observation: Observation) {
        let mut next = State {
            observation: None,
            ..*now
        };
        let same = observation.incarnation == now.incarnation && observation.epoch == now.epoch;
        if self.keeps(Rule::JanitorBoundToEpoch) && !same {
            return self.push("janitor: the stream is another one", 0, 0, next);
        }
        next.purged = observation.floor.min(now.last);
        next.mark = now.mark.max(self.mark(now, next.purged));
        if next.message.sequence <= next.purged {
            next.message = Stored::default();
        }
        if now.failovers > 0 {
            next.standby = next.database();
        }
        self.push("janitor: purges", 0, next.purged, next);
    }

    /// The version up to which everything is persisted when the messages up to this sequence are acknowledged.
    fn mark(&self, now: &State, settled: u8) -> u8 {
        let mark = now.base + settled;
        let waits = now.message.exists() && now.message.sequence > settled;
        if waits && self.keeps(Rule::MarkBelowWaiting) {
            mark.min(now.message.version - 1)
        } else {
            mark
        }
    }
}
