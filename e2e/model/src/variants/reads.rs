//! A to D: writes, reads, Redis and the drain.

use super::{Variant, breaks, calm, holds};
use crate::one_epoch::{
    Deed::{Delete, Get, Put},
    Faults, Rule, Setting,
};

const OLD_READ: &str = "a read is older than an acknowledged write";
const STALE: &str = "Redis stays stale";

pub(super) fn variants() -> Vec<Variant> {
    [basics(), copies(), flights_and_sources(), generations(), ghosts()].concat()
}

fn everyone() -> Setting {
    let faults = Faults {
        evictions: 1,
        ..Faults::default()
    };
    Setting {
        janitor: true,
        faults,
        ..calm(&[(Put, 1), (Delete, 1), (Get, 2)])
    }
}

fn two_writers() -> Setting {
    let faults = Faults {
        evictions: 2,
        ..Faults::default()
    };
    Setting {
        faults,
        ..calm(&[(Put, 1), (Put, 1), (Get, 2)])
    }
}

fn basics() -> Vec<Variant> {
    let all = Setting {
        workers: 2,
        ..everyone()
    };
    let crash = Faults {
        api_deaths: 1,
        redis_errors: 1,
        evictions: 2,
        ..Faults::default()
    };
    let crash_long = Setting {
        workers: 2,
        faults: crash,
        ..two_writers()
    };
    let late = Faults {
        late_publishes: 1,
        ..Faults::default()
    };
    let carry = Setting {
        carry: true,
        faults: late,
        ..all.clone()
    };
    let more = Setting {
        clients: vec![(Put, 2), (Delete, 1), (Get, 2)],
        ..all.clone()
    };
    vec![
        holds(
            "A1 writes, a delete, reads, eviction, two workers, a janitor",
            all,
        ),
        holds(
            "A2 the same with a publish that is late, readers carry their version",
            carry,
        ),
        holds("A3 the same with three writes", more).long(),
        holds(
            "A4 eviction, Redis away, an API that dies, two workers",
            crash_long,
        )
        .long(),
    ]
}

fn copies() -> Vec<Variant> {
    let without = |rule: &'static [Rule]| Setting {
        without: rule,
        ..two_writers()
    };
    let away = Faults {
        redis_errors: 2,
        ..Faults::default()
    };
    let kept_lease = Setting {
        faults: away,
        without: &[Rule::InvalidationEndsLeases],
        ..everyone()
    };
    let no_wait = Setting {
        faults: away,
        without: &[Rule::AckAfterInvalidation],
        ..everyone()
    };
    vec![
        holds("B1 two writers, eviction", two_writers()),
        breaks(
            "B2 a write stores into an absent key",
            OLD_READ,
            without(&[Rule::WriteReplacesOnly]),
        ),
        breaks(
            "B3 a fill needs no lease",
            OLD_READ,
            without(&[Rule::FillNeedsLease]),
        ),
        breaks("B4 leases survive the worker's invalidation", STALE, kept_lease),
        holds(
            "C1 Redis away for a moment",
            Setting {
                faults: away,
                ..everyone()
            },
        ),
        breaks("C2 the worker acknowledges though Redis was away", STALE, no_wait),
    ]
}

fn flights_and_sources() -> Vec<Variant> {
    let shared = Setting {
        flights: true,
        ..calm(&[(Put, 1), (Delete, 1), (Get, 1), (Get, 1)])
    };
    let late_join = Setting {
        without: &[Rule::JoinBeforeStreamRead],
        ..shared.clone()
    };
    let lagging = Setting {
        without: &[Rule::LeaderAnswers],
        ..everyone()
    };
    let no_nats = Setting {
        nats_cut: true,
        ..everyone()
    };
    let fills = Setting {
        without: &[Rule::FillFromBoth],
        ..no_nats.clone()
    };
    vec![
        holds("B5 readers share a question", shared),
        breaks(
            "B6 readers join a question that the stream was already asked",
            OLD_READ,
            late_join,
        ),
        breaks("B7 a follower of the stream answers", OLD_READ, lagging),
        holds("B8 reads while the stream is away", no_nats),
        breaks("B9 a read without the stream fills Redis", OLD_READ, fills),
    ]
}

fn generations() -> Vec<Variant> {
    let faults = Faults {
        redis_restarts: 1,
        ..Faults::default()
    };
    let restart = Setting {
        faults,
        ..calm(&[(Put, 1), (Put, 1), (Get, 2)])
    };
    let same = Setting {
        without: &[Rule::GenerationFollowsProcess],
        ..restart.clone()
    };
    let faults = Faults {
        redis_restarts: 1,
        evictions: 1,
        redis_errors: 1,
        ..Faults::default()
    };
    let more = Setting {
        workers: 2,
        faults,
        ..calm(&[(Put, 1), (Put, 1), (Get, 2)])
    };
    vec![
        holds("C3 Redis restarts with an old snapshot", restart),
        breaks("C4 a restarted Redis has the same generation", OLD_READ, same),
        holds("C5 the same with eviction, Redis away and two workers", more).long(),
    ]
}

fn ghosts() -> Vec<Variant> {
    let faults = Faults {
        nats_kills: 1,
        evictions: 1,
        ..Faults::default()
    };
    let killed = Setting {
        floor_goes_back: true,
        faults,
        ..everyone()
    };
    let after = Setting {
        without: &[Rule::MarkBeforePurge],
        ..killed.clone()
    };
    let away = Setting {
        postgres_cut: true,
        ..killed.clone()
    };
    let fills = Setting {
        without: &[Rule::FillFromBoth],
        ..away.clone()
    };
    vec![
        holds("D1 NATS is killed, purged messages come back", killed),
        holds("D2 the same, the mark recorded after the purge", after),
        holds("D3 the same, reads while PostgreSQL is away", away),
        breaks("D4 a read without PostgreSQL fills Redis", OLD_READ, fills),
    ]
}
