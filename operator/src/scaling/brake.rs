//! Stops adding workers when they do not drain faster: the database is the bottleneck then.

use std::time::{Duration, Instant};

use super::rates::{Rates, Sample};

/// More workers must raise the drain rate by at least this factor.
const WORTHWHILE: f64 = 1.1;
/// How long a ceiling holds before one more is tried again.
const CEILING_HOLDS: Duration = Duration::from_mins(5);

/// Watches what each addition of workers brought.
#[derive(Debug, Default)]
pub(super) struct Brake {
    trial: Option<Trial>,
    ceiling: Option<Ceiling>,
}

#[derive(Debug)]
struct Trial {
    /// Drain rate with fewer workers, per second.
    rate_before: f64,
    /// Workers that the trial added up to.
    workers: u32,
}

#[derive(Debug)]
struct Ceiling {
    workers: u32,
    since: Instant,
}

impl Brake {
    /// The number of workers above which more did not help.
    pub(super) fn ceiling(&self) -> Option<u32> {
        self.ceiling.as_ref().map(|ceiling| ceiling.workers)
    }

    /// Workers are being added.
    pub(super) fn added(&mut self, workers: u32, rates: &Rates) {
        if let Some(trial) = &mut self.trial {
            trial.workers = workers;
        } else if let Some(rate_before) = rates.busy_service().filter(|rate| *rate > 0.0) {
            self.trial = Some(Trial { rate_before, workers });
        }
    }

    /// Workers are being removed: there is nothing to compare any more.
    pub(super) fn removed(&mut self) {
        self.trial = None;
    }

    /// Judges a trial once all its workers were ready and busy for long enough.
    pub(super) fn observe(&mut self, sample: &Sample, rates: &Rates) {
        let expired = |ceiling: &Ceiling| sample.at.duration_since(ceiling.since) > CEILING_HOLDS;
        if !sample.is_busy() {
            // Without a backlog there is nothing that more workers could drain faster.
            self.trial = None;
            self.ceiling = None;
        } else if self.ceiling.as_ref().is_some_and(expired) {
            self.ceiling = None;
        }
        let complete = self
            .trial
            .take_if(|trial| sample.ready >= trial.workers && rates.busy_service().is_some());
        let Some(trial) = complete else { return };
        let gained = rates
            .busy_service()
            .is_some_and(|rate| rate >= trial.rate_before * WORTHWHILE);
        if !gained {
            self.ceiling = Some(Ceiling {
                workers: trial.workers,
                since: sample.at,
            });
        }
    }
}
