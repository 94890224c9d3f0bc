//! E: tombstones are swept.

use super::{Variant, breaks, calm, holds};
use crate::one_epoch::{
    Deed::{Delete, Get, Put},
    Faults, Rule, Setting,
};

const UNDELETED: &str = "a deleted entry is in the table again";

pub(super) fn variants() -> Vec<Variant> {
    let faults = Faults {
        nats_kills: 1,
        ..Faults::default()
    };
    let calm = calm(&[(Put, 1), (Delete, 1), (Get, 2)]);
    let sweep = Setting {
        workers: 2,
        janitor: true,
        sweep: true,
        floor_goes_back: true,
        faults,
        ..calm
    };
    let without = |rules: &'static [Rule]| Setting {
        without: rules,
        ..sweep.clone()
    };
    let evicted = Faults {
        nats_kills: 1,
        evictions: 2,
        ..Faults::default()
    };
    let evicted = Setting {
        workers: 1,
        faults: evicted,
        ..sweep.clone()
    };
    let reader = Setting {
        workers: 1,
        ..without(&[Rule::ReaderIgnoresGhosts])
    };
    vec![
        holds("E1 tombstones are swept behind the mark", sweep.clone()),
        breaks(
            "E2 swept before the mark has passed",
            UNDELETED,
            without(&[Rule::SweepBehindMark]),
        ),
        breaks(
            "E3 the worker takes ghosts for writes",
            UNDELETED,
            without(&[Rule::WorkerIgnoresGhosts]),
        ),
        breaks(
            "E4 readers take ghosts for writes",
            "a deleted entry is read again",
            reader,
        ),
        breaks(
            "E5 the worker reads the mark before its upsert",
            UNDELETED,
            without(&[Rule::MarkReadWithUpsert]),
        ),
        holds(
            "E6 the mark recorded after the purge",
            without(&[Rule::MarkBeforePurge]),
        ),
        holds("E7 with eviction", evicted),
    ]
}
