//! The table for people and the file for tools.

use std::{env, fmt::Write as _, fs, path::Path};

use serde::Serialize;
use serde_json::json;

use crate::measure::{Comparison, Run, typical};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    rounds: usize,
    /// wrk against a route that does nothing.
    ceiling: Run,
    comparisons: Vec<Comparison>,
}

/// What the product promises on two cores.
struct Floor {
    name: &'static str,
    per_second: f64,
    p99_ms: f64,
}

const FLOORS: [Floor; 3] = [
    Floor {
        name: "GET hit",
        per_second: 10_000.0,
        p99_ms: 10.0,
    },
    Floor {
        name: "POST, synced",
        per_second: 5_000.0,
        p99_ms: 50.0,
    },
    Floor {
        name: "POST, draining",
        per_second: 5_000.0,
        p99_ms: 50.0,
    },
];

impl Report {
    pub(crate) fn new(rounds: usize) -> Self {
        Self {
            rounds,
            ceiling: Run::default(),
            comparisons: vec![],
        }
    }

    pub(crate) fn ceiling(&mut self, run: Run) {
        self.ceiling = run;
    }

    pub(crate) fn add(&mut self, comparison: Comparison) {
        self.comparisons.push(comparison);
    }

    /// One line for each comparison, and one for each floor.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "\nmedian of {} interleaved rounds; milliseconds\n{:<16}{:>7}{:>6}{:>12}{:>8}{:>8}{:>8}   {:<20}{:>12}{:>8}{:>8}{:>8}\n",
            self.rounds,
            "",
            "bytes",
            "conn",
            "per second",
            "p50",
            "p99",
            "p99.9",
            "beside",
            "per second",
            "p50",
            "p99",
            "ratio"
        );
        for comparison in &self.comparisons {
            let (ours, theirs) = (typical(&comparison.ours), typical(&comparison.theirs));
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{:<16}{:>7}{:>6}{:>12.0}{}   {:<20}{:>12.0}{}{:>8.2}{}",
                comparison.name,
                comparison.value_bytes,
                comparison.connections,
                ours.per_second,
                latencies(&[ours.p50_ms, ours.p99_ms, ours.p999_ms]),
                comparison.peer,
                theirs.per_second,
                latencies(&[theirs.p50_ms, theirs.p99_ms]),
                comparison.ratio(),
                if ours.errors > 0 {
                    format!("   {} ERRORS", ours.errors)
                } else {
                    String::new()
                },
            );
        }
        let _ = writeln!(
            text,
            "\nprocessor time of an operation in microseconds, peak memory in MB"
        );
        for comparison in self.comparisons.iter().filter(|one| !one.usage.is_empty()) {
            let costs = comparison
                .usage
                .iter()
                .map(|(process, spent)| format!("{process} {:.1} ({:.0} MB)", spent.micros, spent.peak_mb));
            let costs = costs.collect::<Vec<_>>().join("   ");
            let (name, bytes) = (&comparison.name, comparison.value_bytes);
            let _ = writeln!(
                text,
                "{name:<16}{bytes:>7}{:>6}   {costs}",
                comparison.connections
            );
        }
        let _ = writeln!(
            text,
            "\nwrk and HTTP alone (/livez): {:.0} per second",
            self.ceiling.per_second
        );
        for floor in self.floors() {
            let _ = writeln!(text, "{floor}");
        }
        text
    }

    fn floors(&self) -> Vec<String> {
        let judged = FLOORS.iter().flat_map(|floor| {
            let ours = self
                .comparisons
                .iter()
                .filter(move |comparison| comparison.name == floor.name);
            ours.map(move |comparison| floor.judge(comparison))
        });
        judged.collect()
    }

    /// Writes `target/bench.json`.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout.join("target"), Into::into);
        let mut json = json!({ "rounds": self.rounds, "ceiling": self.ceiling, "floors": self.floors() });
        json["comparisons"] = self
            .comparisons
            .iter()
            .map(|comparison| {
                json!({
                    "ours": typical(&comparison.ours),
                    "theirs": typical(&comparison.theirs),
                    "ratio": comparison.ratio(),
                    "runs": comparison,
                })
            })
            .collect();
        Ok(fs::write(
            target.join("bench.json"),
            serde_json::to_vec_pretty(&json)?,
        )?)
    }
}

impl Floor {
    fn judge(&self, comparison: &Comparison) -> String {
        let ours = typical(&comparison.ours);
        let met = ours.per_second >= self.per_second && ours.p99_ms < self.p99_ms && ours.errors == 0;
        format!(
            "{} {} of {} bytes: {:.0} per second (floor {:.0}) with p99 {:.1} ms (floor {:.0} ms)",
            if met { "pass" } else { "FAIL" },
            self.name,
            comparison.value_bytes,
            ours.per_second,
            self.per_second,
            ours.p99_ms,
            self.p99_ms,
        )
    }
}

/// Columns of milliseconds; what was not measured stays empty.
fn latencies(figures: &[f64]) -> String {
    let column = |ms: &f64| {
        if *ms > 0.0 {
            format!("{ms:>8.2}")
        } else {
            " ".repeat(8)
        }
    };
    figures.iter().map(column).collect()
}
