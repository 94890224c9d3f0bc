//! J: the keys are spread over other partitions.

use super::{Question, Variant, Verdict, variant};
use crate::layouts::{Rule, Setting};

const LOST: &str = "an acknowledged write is lost";

pub(super) fn variants() -> Vec<Variant> {
    let ask = |name, verdict, without| {
        let setting = Setting {
            writes: [2, 1],
            reads: [1, 2],
            without,
        };
        variant(name, Question::Layouts(setting), verdict)
    };
    let breaks = |name, property, without| ask(name, Verdict::Breaks(property), without);
    vec![
        ask("J1 the partitions change", Verdict::Holds, &[]),
        breaks("J2 the streams are not sealed", LOST, &[Rule::Seal]),
        breaks(
            "J3 nobody looks after the seal whether they are drained",
            LOST,
            &[Rule::DrainAfterSeal],
        ),
        breaks(
            "J4 a reader does not ask for the fence",
            "a read is older than an acknowledged write",
            &[Rule::ReadTheFence],
        ),
        breaks(
            "J5 versions begin again",
            "a later write has a lower version",
            &[Rule::BaseAbove],
        ),
    ]
}
