//! H: PostgreSQL's standby takes over and lacks the last commits.

use super::{Variant, breaks, calm, holds};
use crate::one_epoch::{
    Deed::{Delete, Get, Increment, Put},
    Faults, Rule, Setting,
};

const LOST: &str = "an acknowledged write is lost";

pub(super) fn variants() -> Vec<Variant> {
    let faults = Faults {
        failovers: 1,
        evictions: 1,
        ..Faults::default()
    };
    let written = Setting {
        janitor: true,
        faults,
        ..calm(&[(Put, 1), (Put, 1), (Get, 2)])
    };
    let without = |rules: &'static [Rule]| Setting {
        without: rules,
        ..written.clone()
    };
    let raised = Setting {
        faults: Faults {
            redis_errors: 2,
            ..faults
        },
        ..without(&[Rule::ReplayRaisesGeneration])
    };
    let deleted = Setting {
        clients: vec![(Put, 1), (Delete, 1), (Get, 1)],
        sweep: true,
        ..written.clone()
    };
    let incremented = Setting {
        clients: vec![(Increment, 1), (Increment, 1)],
        faults: Faults {
            evictions: 0,
            ..faults
        },
        ..written.clone()
    };
    vec![
        holds("H1 PostgreSQL fails over and loses commits", written.clone()),
        breaks("H2 nothing is replayed", LOST, without(&[Rule::FailoverReplays])),
        breaks(
            "H3 the janitor records what it observed before the failover",
            LOST,
            without(&[Rule::JanitorBoundToHistory]),
        ),
        breaks(
            "H4 the replay goes on with the same consumer",
            LOST,
            without(&[Rule::ReplayRenewsConsumer]),
        ),
        breaks(
            "H5 the standby lags behind by more than the horizon",
            LOST,
            without(&[Rule::LagBelowHorizon]),
        ),
        breaks(
            "H6 the cache generation goes back with the failover",
            "Redis stays stale",
            raised,
        ),
        holds("H7 with a delete and its sweep", deleted),
        holds("H8 with two who increment", incremented),
    ]
}
