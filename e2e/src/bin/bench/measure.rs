//! Figures of one run and of several.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{Settings, usage::Spent};

/// One run under load.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Run {
    /// Operations per second.
    pub(crate) per_second: f64,
    /// Latency below which half of the operations stayed, in milliseconds; and so on.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    /// Operations that failed.
    pub(crate) errors: u64,
}

/// The same thing done by two, round by round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    /// What BirbNest does.
    pub(crate) name: String,
    /// What it is compared with.
    pub(crate) peer: &'static str,
    /// Bytes of a value.
    pub(crate) value_bytes: usize,
    /// Connections of each.
    pub(crate) connections: usize,
    /// BirbNest's runs.
    pub(crate) ours: Vec<Run>,
    /// The peer's runs.
    pub(crate) theirs: Vec<Run>,
    /// What BirbNest's runs cost each process, where it was looked at.
    pub(crate) usage: BTreeMap<String, Spent>,
}

impl Comparison {
    pub(crate) fn new(name: &str, peer: &'static str, value_bytes: usize, settings: &Settings) -> Self {
        Self {
            name: name.to_owned(),
            peer,
            value_bytes,
            connections: settings.connections,
            ours: vec![],
            theirs: vec![],
            usage: BTreeMap::new(),
        }
    }

    /// The median of the rounds' ratios of throughput: each round's halves ran next to each other.
    pub(crate) fn ratio(&self) -> f64 {
        let ratios = self
            .ours
            .iter()
            .zip(&self.theirs)
            .map(|(ours, theirs)| ours.per_second / theirs.per_second);
        median(ratios.collect())
    }
}

/// Each figure's median over the runs; errors are summed.
pub(crate) fn typical(runs: &[Run]) -> Run {
    let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    Run {
        per_second: of(|run| run.per_second),
        p50_ms: of(|run| run.p50_ms),
        p99_ms: of(|run| run.p99_ms),
        p999_ms: of(|run| run.p999_ms),
        errors: runs.iter().map(|run| run.errors).sum(),
    }
}

/// The figures of operations whose latencies are known one by one.
pub(crate) fn run_of(mut latencies: Vec<Duration>, took: Duration) -> Run {
    latencies.sort_unstable();
    let at = |share: f64| {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a rank among some millions"
        )]
        let rank = (latencies.len() as f64 * share) as usize;
        latencies.get(rank).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    #[allow(clippy::cast_precision_loss, reason = "some millions")]
    let count = latencies.len() as f64;
    Run {
        per_second: count / took.as_secs_f64(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        errors: 0,
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_round_is_reported_and_errors_add_up() {
        let run = |per_second| Run {
            per_second,
            errors: 1,
            ..Run::default()
        };
        let typical = typical(&[run(3.0), run(100.0), run(1.0)]);
        assert!((typical.per_second - 3.0).abs() < f64::EPSILON);
        assert_eq!(typical.errors, 3);
    }

    #[test]
    fn percentiles_come_from_the_sorted_latencies() {
        let latencies = (1..=1_000).rev().map(Duration::from_millis).collect();
        let run = run_of(latencies, Duration::from_secs(10));
        assert!((run.per_second - 100.0).abs() < 1e-9);
        assert!((run.p50_ms - 501.0).abs() < 1e-9);
        assert!((run.p999_ms - 1_000.0).abs() < 1e-9);
    }
}
