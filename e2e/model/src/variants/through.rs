//! I: PostgreSQL takes the writes while the stream is away.

use super::{Question, Variant, Verdict, variant};
use crate::epochs::{Rule, Setting};

const CALM: Setting = Setting {
    writes: [2, 2],
    restores: 0,
    restarts: 0,
    failovers: 0,
    switches: 1,
    conditional: 0,
    without: &[],
};

pub(super) fn variants() -> Vec<Variant> {
    let ask = |name, verdict, setting| variant(name, Question::Epochs(setting), verdict);
    let breaks = |name, property, conditional, without| {
        let setting = Setting {
            conditional,
            without,
            ..CALM
        };
        ask(name, Verdict::Breaks(property), setting)
    };
    let twice = Setting {
        writes: [2, 1],
        restores: 1,
        switches: 2,
        ..CALM
    };
    let conditional = Setting {
        conditional: 1,
        ..CALM
    };
    vec![
        ask(
            "I1 PostgreSQL takes the writes and gives them back",
            Verdict::Holds,
            CALM,
        ),
        ask("I2 twice, and the store is replaced", Verdict::Holds, twice).long(),
        breaks(
            "I3 nobody waits for the leases",
            "a later write has a lower version",
            0,
            &[Rule::LeasesEndFirst],
        ),
        breaks(
            "I4 nobody waits for what is held",
            "an acknowledged write is lost",
            0,
            &[Rule::WaitForHeld],
        ),
        ask("I5 conditions", Verdict::Holds, conditional),
        breaks(
            "I6 a condition is decided against an older row",
            "an update past the queue is lost",
            1,
            &[Rule::DecideInTheEpoch],
        ),
    ]
}
