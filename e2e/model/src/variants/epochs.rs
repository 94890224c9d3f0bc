//! G: a stream whose store comes back older.

use super::{Question, Variant, Verdict, variant};
use crate::epochs::{Rule, Setting};

const LOST: &str = "an acknowledged write is lost";
const ORDER: &str = "a later write has a lower version";
const NEVER_DELIVERED: &str = "an acknowledged write is never delivered";

pub(super) fn variants() -> Vec<Variant> {
    let ask = |name, verdict, restores, without| {
        let setting = Setting {
            writes: [2, 1],
            restores,
            restarts: 0,
            failovers: 0,
            switches: 0,
            conditional: 0,
            without,
        };
        variant(name, Question::Epochs(setting), verdict)
    };
    let breaks = |name, property, rules| ask(name, Verdict::Breaks(property), 1, rules);
    vec![
        ask(
            "G1 the store is replaced by an older copy",
            Verdict::Holds,
            1,
            &[],
        ),
        ask("G2 twice", Verdict::Holds, 2, &[]),
        breaks(
            "G3 a sequence that went back tells of it",
            "one version has two values",
            &[Rule::FenceNamesIncarnation],
        ),
        breaks(
            "G4 the consumer is kept",
            NEVER_DELIVERED,
            &[Rule::RaiseRenewsConsumer],
        ),
        breaks("G5 the purge sequence is kept", LOST, &[Rule::RaiseForgetsPurge]),
        breaks(
            "G6 the janitor is not bound to the epoch",
            LOST,
            &[Rule::JanitorBoundToEpoch],
        ),
        breaks(
            "G7 connections survive the restore",
            LOST,
            &[Rule::RestoreBreaksConnections],
        ),
        breaks(
            "G8 the mark passes what an earlier epoch left",
            NEVER_DELIVERED,
            &[Rule::MarkBelowWaiting],
        ),
        failing_over("G9 PostgreSQL fails over and loses an epoch", Verdict::Holds, &[]),
        failing_over(
            "G10 NATS does not remember it",
            Verdict::Breaks(ORDER),
            &[Rule::NatsRemembersEpoch],
        ),
        failing_over(
            "G11 another epoch begins above it",
            Verdict::Breaks(ORDER),
            &[Rule::LostEpochGoesOn],
        ),
    ]
}

/// The server is restarted, which begins an epoch, and the standby may not have heard of it.
fn failing_over(name: &'static str, verdict: Verdict, without: &'static [Rule]) -> Variant {
    let setting = Setting {
        writes: [2, 2],
        restores: 0,
        restarts: 1,
        failovers: 1,
        switches: 0,
        conditional: 0,
        without,
    };
    variant(name, Question::Epochs(setting), verdict)
}
