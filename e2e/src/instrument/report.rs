//! The table, and the same as JSON.

use std::{collections::BTreeSet, fmt, fs, path::Path, time::Duration};

use serde::Serialize;

use super::{
    checker::{Finding, Kind},
    history::{Operation, Outcome},
    run::{Finished, Round},
};

/// What happened in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What went wrong.
    pub fault: String,
    /// For how many milliseconds.
    pub length_ms: u128,
    /// Requests.
    pub operations: usize,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Requests that were refused.
    pub refused: usize,
    /// Writes of unknown outcome.
    pub unknown: usize,
    /// The longest time without an acknowledged write, in milliseconds.
    pub writes_away_ms: u128,
    /// The longest time without an answered read, in milliseconds.
    pub reads_away_ms: u128,
    /// From the end of the fault until every API served again, in milliseconds.
    pub recovered_ms: u128,
    /// Acknowledged writes that are gone.
    pub lost: usize,
    /// Keys whose last write went with a store that was replaced: declared.
    pub declared: usize,
    /// Reads that were older than an acknowledged write, and may be.
    pub older_reads: usize,
    /// Broken promises of every kind.
    pub broken: usize,
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Gives the same schedule again.
    pub seed: u64,
    /// Round after round.
    pub lines: Vec<Line>,
    /// Broken promises.
    pub findings: Vec<Finding>,
    /// Keys for which the search for an order was given up.
    pub undecided: Vec<String>,
}

impl Report {
    /// From a run.
    pub fn new(seed: u64, finished: &Finished) -> Self {
        Self {
            seed,
            lines: finished
                .rounds
                .iter()
                .map(|round| line(round, finished))
                .collect(),
            findings: finished.verdict.findings.clone(),
            undecided: finished.verdict.undecided.clone(),
        }
    }

    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Writes it as JSON, into a folder that need not be there yet.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(path, serde_json::to_string_pretty(self)?)?)
    }
}

fn line(round: &Round, finished: &Finished) -> Line {
    let mine = |key: &str| key.split_once('-').is_some_and(|(name, _)| name == round.name);
    let operations: Vec<&Operation> = finished
        .evidence
        .operations
        .iter()
        .filter(|operation| mine(&operation.key))
        .collect();
    let count = |is: fn(&Operation) -> bool| operations.iter().filter(|operation| is(operation)).count();
    let findings = || {
        finished
            .verdict
            .findings
            .iter()
            .filter(|finding| mine(&finding.key))
    };
    let declared: BTreeSet<_> = finished.verdict.declared.iter().filter(|key| mine(key)).collect();
    Line {
        fault: round.fault.to_string(),
        length_ms: (round.mended.saturating_sub(round.struck)).as_millis(),
        operations: operations.len(),
        acknowledged: count(Operation::is_acknowledged),
        refused: count(|operation| operation.outcome == Outcome::Refused),
        unknown: count(|operation| operation.outcome == Outcome::Unknown),
        writes_away_ms: away(round, &operations, Operation::is_acknowledged),
        reads_away_ms: away(round, &operations, |read| !read.is_write() && read.is_served()),
        recovered_ms: round.recovered.saturating_sub(round.mended).as_millis(),
        lost: findings().filter(|finding| finding.kind == Kind::Lost).count(),
        declared: declared.len(),
        older_reads: finished
            .verdict
            .older_reads
            .iter()
            .filter(|key| mine(key))
            .count(),
        broken: findings().count(),
    }
}

/// The longest time in a round without a success.
fn away(round: &Round, operations: &[&Operation], success: fn(&Operation) -> bool) -> u128 {
    let ended = operations
        .iter()
        .filter(|operation| success(operation))
        .map(|operation| operation.ended);
    let mut times: Vec<Duration> = ended.chain([round.began, round.ended]).collect();
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    gaps.max().unwrap_or_default().as_millis()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| fault | for | requests | acknowledged | refused | unknown | writes away | reads away | recovered after \
             | lost | older reads | broken promises |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|---|---|---|")?;
        for line in &self.lines {
            line.fmt(f)?;
        }
        for finding in self.findings.iter().take(20) {
            writeln!(f, "BROKEN: {finding}")?;
        }
        for key in &self.undecided {
            writeln!(f, "UNDECIDED: the order of the conditional writes of {key}")?;
        }
        let requests: usize = self.lines.iter().map(|line| line.operations).sum();
        let acknowledged: usize = self.lines.iter().map(|line| line.acknowledged).sum();
        let (rounds, broken, seed) = (self.lines.len(), self.findings.len(), self.seed);
        write!(
            f,
            "{requests} requests ({acknowledged} writes acknowledged) in {rounds} rounds, {broken} broken promises, seed {seed}"
        )
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            fault,
            operations,
            acknowledged,
            refused,
            unknown,
            lost,
            older_reads,
            broken,
            ..
        } = self;
        let [length, writes, reads, recovered] = [
            self.length_ms,
            self.writes_away_ms,
            self.reads_away_ms,
            self.recovered_ms,
        ]
        .map(seconds);
        let declared = if self.declared > 0 {
            format!(" ({} declared)", self.declared)
        } else {
            String::new()
        };
        writeln!(
            f,
            "| {fault} | {length} | {operations} | {acknowledged} | {refused} | {unknown} | {writes} | {reads} \
             | {recovered} | {lost}{declared} | {older_reads} | {broken} |"
        )
    }
}

/// With one decimal, without floating point.
fn seconds(milliseconds: u128) -> String {
    let tenths = (milliseconds + 50) / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}
