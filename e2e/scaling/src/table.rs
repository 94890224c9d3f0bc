//! Both rules side by side.

use std::fmt::Write as _;

use crate::{
    keda::{Keda, POLL, THRESHOLDS},
    ours::Ours,
    traces::{self, SPEED, Trace},
    world::{Cost, play},
};

/// Most workers that either may have: enough to outrun the database.
pub const MAX: u32 = 10;

/// What both made of a trace.
#[derive(Clone, Debug)]
pub struct Line {
    /// The trace.
    pub name: &'static str,
    /// What the operator's rule cost.
    pub ours: Cost,
    /// What KEDA cost with each threshold.
    pub keda: Vec<(u64, Cost)>,
    /// Worker-seconds that suffice when the number is right in every second, at least one worker.
    pub needed: u64,
}

impl Line {
    fn of(trace: &Trace) -> Self {
        let keda = |threshold| (threshold, keda(trace, threshold));
        Self {
            name: trace.name,
            ours: play(trace, &mut Ours::new(MAX)),
            keda: THRESHOLDS.map(keda).into(),
            needed: trace
                .seconds
                .iter()
                .map(|second| second.arrivals.div_ceil(SPEED).max(1))
                .sum(),
        }
    }

    /// The threshold with the least waiting for at most a tenth more workers than ours, or else with the fewest workers.
    pub fn best(&self) -> (u64, Cost) {
        let most = self.ours.worker_seconds * 11 / 10;
        let affordable = self.keda.iter().filter(|(_, cost)| cost.worker_seconds <= most);
        let best = affordable.min_by_key(|(_, cost)| cost.backlog_seconds);
        let frugal = || self.keda.iter().min_by_key(|(_, cost)| cost.worker_seconds);
        best.or_else(frugal).copied().unwrap_or_default()
    }
}

/// What KEDA costs on average, for a spike may come right before a look or right after one.
fn keda(trace: &Trace, threshold: u64) -> Cost {
    let phases = (0..POLL).step_by(5);
    let costs: Vec<_> = phases
        .map(|phase| play(trace, &mut Keda::new(threshold, MAX, phase)))
        .collect();
    Cost::mean(&costs)
}

/// Every trace.
pub fn lines() -> Vec<Line> {
    traces::all().iter().map(Line::of).collect()
}

/// The table as Markdown.
pub fn markdown(lines: &[Line]) -> String {
    let mut table = String::from(
        "| trace | | backlog-seconds | oldest, s | worker-seconds | turns per hour |\n|---|---|--:|--:|--:|--:|\n",
    );
    for line in lines {
        let (threshold, best) = line.best();
        row(&mut table, line.name, "BirbNest", &line.ours);
        row(&mut table, "", &format!("KEDA, {threshold} a worker"), &best);
    }
    table
}

fn row(table: &mut String, name: &str, who: &str, cost: &Cost) {
    let Cost {
        backlog_seconds,
        oldest,
        worker_seconds,
        ..
    } = cost;
    let turns = cost.turns_per_hour();
    // Writing to a String does not fail.
    let _ = writeln!(
        table,
        "| {name} | {who} | {backlog_seconds} | {oldest} | {worker_seconds} | {turns:.1} |"
    );
}
