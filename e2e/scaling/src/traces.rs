//! What arrives, and what the database can take.

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Messages that a worker persists per second when nothing else is in its way.
pub const SPEED: u64 = 1_000;
/// Messages that PostgreSQL takes per second, however many workers there are.
pub const DATABASE: u64 = 8_000;

/// One second of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// Messages that arrive.
    pub arrivals: u64,
    /// Messages that all workers together can persist.
    pub database: u64,
    /// Of a hundred messages so many are rejected and delivered again.
    pub poisoned: u64,
}

/// A course of events with a name.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What happens.
    pub name: &'static str,
    /// Second by second.
    pub seconds: Vec<Second>,
}

/// Every trace.
pub fn all() -> Vec<Trace> {
    let quiet = |arrivals| Second {
        arrivals,
        database: DATABASE,
        poisoned: 0,
    };
    vec![
        trace("steady", 3_600, |_| quiet(1_500)),
        trace("a day in four hours", 14_400, |at| quiet(day(at))),
        trace("a spike of ten times", 3_600, |at| {
            quiet(if (600..720).contains(&at) { 5_000 } else { 500 })
        }),
        trace("a staircase", 3_600, |at| quiet(500 + 500 * (at / 450) as u64)),
        trace("random bursts", 7_200, {
            let bursts = bursts(7_200);
            move |at| quiet(bursts[at])
        }),
        trace("the database browns out", 3_600, |at| Second {
            database: if (1_200..1_800).contains(&at) {
                700
            } else {
                DATABASE
            },
            ..quiet(1_500)
        }),
        trace("the database is away", 3_600, |at| Second {
            database: if (1_200..1_500).contains(&at) { 0 } else { DATABASE },
            ..quiet(1_500)
        }),
        trace("a storm of poison", 3_600, |at| Second {
            poisoned: if (1_200..1_500).contains(&at) { 60 } else { 0 },
            ..quiet(1_500)
        }),
    ]
}

fn trace(name: &'static str, length: usize, second: impl Fn(usize) -> Second) -> Trace {
    Trace {
        name,
        seconds: (0..length).map(second).collect(),
    }
}

/// From 200 at night to 4,000 at noon.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "between 200 and 4,000"
)]
fn day(at: usize) -> u64 {
    let turn = at as f64 / 14_400.0 * std::f64::consts::TAU;
    (2_100.0 - 1_900.0 * turn.cos()) as u64
}

/// Quiet for one to three minutes, then four to seven thousand a second for half a minute.
fn bursts(length: usize) -> Vec<u64> {
    let mut random = StdRng::seed_from_u64(7);
    let mut arrivals = Vec::with_capacity(length);
    while arrivals.len() < length {
        let quiet: usize = random.random_range(60..180);
        let height = random.random_range(4_000..7_000);
        arrivals.extend(std::iter::repeat_n(300, quiet));
        arrivals.extend(std::iter::repeat_n(height, 30));
    }
    arrivals.truncate(length);
    arrivals
}
