//! When an observed ack floor may be acted on.

use std::{collections::VecDeque, time::Duration};

use birbnest_core::{DrainTerm, Incarnation};
use tokio::time::Instant;

/// The consumer and the stream at which something was observed. Sequences of two streams are not comparable, and what was
/// acknowledged to one consumer may be lost for the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Era {
    pub(crate) term: DrainTerm,
    pub(crate) incarnation: Incarnation,
}

/// Observed ack floors of one partition that wait until they are older than the horizon: only then can no publish that
/// was held back somewhere still be decided against what is purged.
#[derive(Debug, Default)]
pub(crate) struct Ripening {
    era: Option<Era>,
    floors: VecDeque<(Instant, u64)>,
    ripe: u64,
}

impl Ripening {
    /// Notes a floor whose reply came at `now`. Everything from another era is forgotten.
    pub(crate) fn note(&mut self, era: &Era, floor: u64, now: Instant) {
        if self.era.as_ref() != Some(era) {
            *self = Self {
                era: Some(era.clone()),
                ..Self::default()
            };
        }
        // While nothing changes, the first observation says it all.
        if self.floors.back().map_or(self.ripe, |(_, last)| *last) < floor {
            self.floors.push_back((now, floor));
        }
    }

    /// The highest floor that was observed at least `horizon` before `now`; 0 when there is none.
    pub(crate) fn ripe(&mut self, now: Instant, horizon: Duration) -> u64 {
        while let Some((_, floor)) = self
            .floors
            .pop_front_if(|(seen, _)| now.saturating_duration_since(*seen) >= horizon)
        {
            self.ripe = floor;
        }
        self.ripe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HORIZON: Duration = Duration::from_secs(15);

    fn era(epoch: i64, replay: i64) -> Era {
        Era {
            term: DrainTerm { epoch, replay },
            incarnation: Incarnation::new("now", "one"),
        }
    }

    #[test]
    fn a_floor_is_ripe_after_the_horizon_and_not_before() {
        let (mut ripening, start) = (Ripening::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        ripening.note(&era(1, 0), 10, at(0));
        ripening.note(&era(1, 0), 20, at(5));
        ripening.note(&era(1, 0), 20, at(14));
        assert_eq!(ripening.ripe(at(14), HORIZON), 0);
        assert_eq!(ripening.ripe(at(15), HORIZON), 10);
        assert_eq!(ripening.ripe(at(20), HORIZON), 20);
        assert_eq!(ripening.ripe(at(99), HORIZON), 20);
    }

    #[test]
    fn floors_of_another_epoch_or_stream_are_forgotten() {
        let (mut ripening, start) = (Ripening::default(), Instant::now());
        ripening.note(&era(1, 0), 10, start);
        ripening.note(&era(2, 0), 3, start + HORIZON);
        assert_eq!(ripening.ripe(start + HORIZON, HORIZON), 0);
        assert_eq!(ripening.ripe(start + HORIZON * 2, HORIZON), 3);
        let other = Era {
            incarnation: Incarnation::new("later", "one"),
            ..era(2, 0)
        };
        ripening.note(&other, 0, start + HORIZON * 2);
        assert_eq!(ripening.ripe(start + HORIZON * 4, HORIZON), 0);
    }

    #[test]
    fn what_was_acknowledged_before_a_failover_of_postgresql_is_forgotten() {
        let (mut ripening, start) = (Ripening::default(), Instant::now());
        ripening.note(&era(1, 0), 10, start);
        ripening.note(&era(1, 7), 4, start + HORIZON);
        assert_eq!(ripening.ripe(start + HORIZON, HORIZON), 0);
        assert_eq!(ripening.ripe(start + HORIZON * 2, HORIZON), 4);
    }

    #[test]
    fn a_floor_that_goes_back_is_not_taken() {
        let (mut ripening, start) = (Ripening::default(), Instant::now());
        ripening.note(&era(1, 0), 10, start);
        assert_eq!(ripening.ripe(start + HORIZON, HORIZON), 10);
        ripening.note(&era(1, 0), 7, start + HORIZON);
        assert_eq!(ripening.ripe(start + HORIZON * 3, HORIZON), 10);
    }
}
