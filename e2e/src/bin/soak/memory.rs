//! What the processes have in memory over time, and whether that is too much.

use std::{fmt, time::Instant};

use birbnest_e2e::{house::House, servers::Process};

/// What was seen so far.
pub(crate) struct Memory {
    began: Instant,
    /// MB of API and worker under the steady load.
    steady: Vec<[f64; 2]>,
    peaks: [f64; 2],
}

/// What is to be said about it.
pub(crate) struct Verdict(Vec<(&'static str, Figures)>);

/// In MB.
struct Figures {
    peak: f64,
    allowed_peak: f64,
    growth: f64,
    allowed_growth: f64,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            steady: vec![],
            peaks: [0.0; 2],
        }
    }
}

impl Memory {
    /// The head of the table.
    pub(crate) fn head() -> String {
        format!(
            "{:>8} {:<8} {:>10} {:>8} {:>8}",
            "seconds", "", "requests", "API MB", "worker MB"
        )
    }

    /// Looks once.
    pub(crate) fn look(&mut self, house: &House) {
        self.steady.push(processes(house).map(Process::resident_mb));
    }

    /// Prints a line of the table.
    pub(crate) fn line(&mut self, house: &House, phase: &str, requests: u64) {
        let [api, worker] = processes(house).map(Process::resident_mb);
        for (peak, process) in self.peaks.iter_mut().zip(processes(house)) {
            *peak = peak.max(process.peak_mb());
        }
        let seconds = self.began.elapsed().as_secs();
        println!("{seconds:>8} {phase:<8} {requests:>10} {api:>8.1} {worker:>8.1}");
    }

    /// Whether somebody had too much at any time, or grew in the second half of the steady load.
    pub(crate) fn verdict(&self, most_mb: f64, most_growth_mb: f64) -> Verdict {
        let figures = |index: usize| Figures {
            peak: self.peaks[index],
            allowed_peak: most_mb,
            growth: growth(&self.steady.iter().map(|seen| seen[index]).collect::<Vec<_>>()),
            allowed_growth: most_growth_mb,
        };
        Verdict(vec![("API", figures(0)), ("worker", figures(1))])
    }
}

fn processes(house: &House) -> [&Process; 2] {
    [house.api().process(), house.worker().process()]
}

/// The median of the last quarter less that of the third: what comes and goes with the slow clients does not count.
fn growth(seen: &[f64]) -> f64 {
    let quarter = seen.len() / 4;
    let last = median(&seen[seen.len() - quarter..]);
    let third = median(&seen[seen.len() - 2 * quarter..seen.len() - quarter]);
    last - third
}

fn median(seen: &[f64]) -> f64 {
    let mut sorted = seen.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

impl Verdict {
    /// Whether everything stayed within its bounds.
    pub(crate) fn is_good(&self) -> bool {
        self.0.iter().all(|(_, figures)| figures.are_good())
    }
}

impl Figures {
    fn are_good(&self) -> bool {
        self.peak <= self.allowed_peak && self.growth <= self.allowed_growth
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, figures) in &self.0 {
            let verdict = if figures.are_good() { "good" } else { "TOO MUCH" };
            writeln!(
                f,
                "{name:<7} at most {:.0} MB (allowed: {:.0}), {:+.1} MB in the second half (allowed: {:.0}): {verdict}",
                figures.peak, figures.allowed_peak, figures.growth, figures.allowed_growth,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::growth;

    #[test]
    fn growth_is_what_the_last_quarter_has_more_than_the_one_before() {
        assert!((growth(&[1.0, 9.0, 5.0, 5.0, 5.0, 5.0, 8.0, 8.0]) - 3.0).abs() < f64::EPSILON);
    }
}
