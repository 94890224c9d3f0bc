//! What must hold holds, and without its rule it breaks.

use birbnest_model::{
    explore::Bounds,
    variants::{self, Length, Verdict},
};

/// Enough for each short variant.
const STATES: usize = 20_000_000;

fn bounds(verdict: Verdict) -> Bounds {
    let until = match verdict {
        Verdict::Holds => None,
        Verdict::Breaks(property) => Some(property),
    };
    Bounds {
        states: STATES,
        until,
    }
}

fn check(wanted: impl Fn(Verdict) -> bool) {
    let short = variants::all()
        .into_iter()
        .filter(|variant| variant.length == Length::Short && wanted(variant.verdict));
    for variant in short {
        let report = variant.explore(bounds(variant.verdict));
        assert!(variant.is_confirmed_by(&report), "{}: {report}", variant.name);
    }
}

#[test]
fn the_protocol_holds_under_every_fault() {
    check(|verdict| verdict == Verdict::Holds);
}

#[test]
fn without_one_of_its_rules_the_protocol_breaks() {
    check(|verdict| verdict != Verdict::Holds);
}

#[test]
fn a_trace_leads_to_the_violation_step_by_step() {
    let variant = variants::all()
        .into_iter()
        .find(|variant| variant.name.starts_with("B3"))
        .unwrap();
    let report = variant.explore(bounds(variant.verdict));
    let trace = &report.broken["a read is older than an acknowledged write"];
    assert_eq!(trace.len(), report.depth, "{trace:#?}");
    let last = trace.last().unwrap();
    assert!(last.starts_with("read: found in Redis"), "{trace:#?}");
}
