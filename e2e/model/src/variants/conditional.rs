//! F: increments by conditional writes.

use super::{Variant, breaks, calm, holds};
use crate::one_epoch::{
    Deed::{Delete, Increment},
    Faults, Rule, Setting,
};

const LOST: &str = "an update is lost";

pub(super) fn variants() -> Vec<Variant> {
    let faults = Faults {
        lost_acks: 1,
        late_publishes: 1,
        nats_kills: 1,
        ..Faults::default()
    };
    let both = Setting {
        janitor: true,
        faults,
        ..calm(&[(Increment, 2), (Increment, 1)])
    };
    let without = |rules: &'static [Rule]| Setting {
        without: rules,
        ..both.clone()
    };
    let kept = Faults {
        lost_acks: 0,
        ..faults
    };
    let ghosts = without(&[Rule::CompareWithBoth, Rule::ReaderIgnoresGhosts]);
    let ghosts = Setting {
        faults: Faults {
            nats_kills: 2,
            ..kept
        },
        ..ghosts
    };
    let early = Setting {
        faults: kept,
        ..without(&[Rule::Horizon])
    };
    let clients = vec![(Increment, 1), (Increment, 1), (Delete, 1)];
    let deleted = Setting {
        clients,
        sweep: true,
        floor_goes_back: true,
        ..both.clone()
    };
    vec![
        holds(
            "F1 two who increment, a lost acknowledgement, a late publish, NATS killed",
            both.clone(),
        ),
        breaks(
            "F2 a repetition looks for its own write alone",
            "an update is applied twice",
            without(&[Rule::OperationIds]),
        ),
        breaks("F3 the purge does not wait for the horizon", LOST, early),
        breaks(
            "F4 compared with the stream's message alone, be it a ghost",
            LOST,
            ghosts,
        ),
        holds(
            "F5 a follower of the stream answers the comparison",
            without(&[Rule::LeaderAnswers]),
        )
        .long(),
        holds("F6 with a delete and its sweep", deleted).long(),
    ]
}
