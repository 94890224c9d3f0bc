//! How many workers a nest needs. Pure: time and figures come in.
//!
//! Up at once, down by the largest recommendation of the stabilisation window, never on a guess: without fresh figures,
//! while nothing drains, or while deliveries fail, the number stays.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    brake::Brake,
    rates::{Rates, Sample, real},
    reason::Reason,
};

/// Workers above the load, in square roots of the load: the more there are, the less slack each needs. A whole root would
/// let half of the messages through without waiting, at the price of a worker more for a small nest; this is a queue that
/// has a drain target (docs/scaling.md).
const SLACK: f64 = 0.4;
/// How long nothing must have been queued before the last worker goes, and before the speed of one is forgotten.
const IDLE_BEFORE_ZERO: Duration = Duration::from_mins(1);

/// What the spec asks of scaling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Least number of workers.
    pub min: u32,
    /// Greatest number of workers.
    pub max: u32,
    /// Workers for which PostgreSQL has connections to give, where that is known.
    pub affordable: Option<u32>,
    /// Queued messages per worker while the speed of a worker is not known.
    pub target_queue_depth: u64,
    /// Time in which a backlog should be drained.
    pub drain_target: Duration,
    /// How long fewer must have been enough before their number goes down.
    pub stabilization: Duration,
}

impl Rule {
    /// No more, whatever is wanted. One more than the database can serve would take connections from the others.
    fn most(&self) -> u32 {
        self.affordable
            .map_or(self.max, |workers| workers.min(self.max))
            .max(self.min)
    }

    fn clamp(&self, workers: u32) -> u32 {
        workers.clamp(self.min, self.most())
    }
}

/// How many workers there should be, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Workers.
    pub desired: u32,
    /// Why so many.
    pub reason: Reason,
}

/// Decides for one nest; remembers what it saw.
#[derive(Debug)]
pub struct Autoscaler {
    desired: u32,
    rates: Rates,
    brake: Brake,
    recommendations: VecDeque<(Instant, u32)>,
    idle_since: Option<Instant>,
}

impl Autoscaler {
    /// Starts with as many workers as there are; they count as recommended now, so a restart shrinks nothing.
    pub fn new(now: Instant, running: u32) -> Self {
        Self {
            desired: running,
            rates: Rates::default(),
            brake: Brake::default(),
            recommendations: VecDeque::from([(now, running)]),
            idle_since: None,
        }
    }

    /// Messages that arrive and are persisted per second, as far as that is known.
    pub fn rates(&self) -> (Option<f64>, Option<f64>) {
        (self.rates.arrival(), self.rates.service())
    }

    /// No figures could be had: the number stays, within the spec's bounds.
    pub fn hold(&mut self, now: Instant, rule: &Rule) -> Decision {
        self.rates.forget_samples();
        self.idle_since = None;
        self.desired = rule.clamp(self.desired);
        // What stood through the gap counts as recommended, so the first figures after it shrink nothing.
        self.recommend(now, self.desired, rule);
        Decision {
            desired: self.desired,
            reason: Reason::NoFigures,
        }
    }

    /// Decides by fresh figures.
    pub fn decide(&mut self, sample: Sample, rule: &Rule) -> Decision {
        self.observe(sample);
        let (wanted, reason) = self.wanted(&sample, rule);
        let bounded = rule.clamp(wanted);
        let largest = self.recommend(sample.at, bounded, rule);
        let current = rule.clamp(self.desired);
        let decision = if bounded > current {
            self.grow(&sample, current, bounded, reason)
        } else if largest < current {
            Decision {
                desired: largest,
                reason,
            }
        } else if bounded < current {
            Decision {
                desired: current,
                reason: Reason::Stabilizing { wanted: bounded },
            }
        } else if wanted > rule.most() {
            let reason = if rule.most() < rule.max {
                Reason::NoConnections { wanted }
            } else {
                Reason::AtMaximum { wanted }
            };
            Decision {
                desired: current,
                reason,
            }
        } else {
            Decision {
                desired: current,
                reason,
            }
        };
        if decision.desired < self.desired {
            self.brake.removed();
        }
        self.desired = decision.desired;
        decision
    }

    fn observe(&mut self, sample: Sample) {
        self.rates.observe(sample);
        self.brake.observe(&sample, &self.rates);
        let arrives = self.rates.arrival().is_some_and(|rate| rate > 0.0);
        if sample.depth() > 0 || arrives {
            self.idle_since = None;
        } else {
            let since = *self.idle_since.get_or_insert(sample.at);
            if sample.at.duration_since(since) >= IDLE_BEFORE_ZERO {
                self.rates.forget_speed();
            }
        }
    }

    /// The recommendation of this moment, before bounds, brakes and stabilisation.
    fn wanted(&self, sample: &Sample, rule: &Rule) -> (u32, Reason) {
        let depth = sample.depth();
        let (workers, reason) = match (self.rates.per_worker(), self.rates.arrival()) {
            (Some(per_worker), arrival) => {
                let arrival = arrival.unwrap_or(0.0);
                let workers = by_load(arrival, depth, per_worker, rule.drain_target);
                (
                    workers,
                    Reason::Load {
                        depth,
                        arrival,
                        per_worker,
                    },
                )
            }
            (None, _) => (by_depth(depth, rule.target_queue_depth), Reason::Depth { depth }),
        };
        match self.idle_since {
            Some(since) if sample.at.duration_since(since) >= IDLE_BEFORE_ZERO => (0, Reason::Idle),
            Some(_) => (workers.max(1), Reason::Idle),
            None => (workers.max(1), reason),
        }
    }

    fn grow(&mut self, sample: &Sample, current: u32, bounded: u32, reason: Reason) -> Decision {
        let stay = |reason| Decision {
            desired: current,
            reason,
        };
        // The first worker is never refused: without one nothing drains at all.
        if current == 0 {
            return Decision {
                desired: bounded,
                reason,
            };
        }
        if sample.ready == 0 {
            return stay(Reason::NotReady);
        }
        if !self.rates.drains(sample.at) {
            return stay(Reason::NotDraining);
        }
        if self.rates.redeliveries_rise() {
            return stay(Reason::Redelivering);
        }
        if self
            .brake
            .ceiling()
            .is_some_and(|ceiling| bounded > ceiling && current >= ceiling)
        {
            return stay(Reason::Saturated);
        }
        let desired = self
            .brake
            .ceiling()
            .map_or(bounded, |ceiling| bounded.min(ceiling));
        self.brake.added(desired, &self.rates);
        Decision { desired, reason }
    }

    /// Remembers a recommendation and gives the largest of the stabilisation window.
    fn recommend(&mut self, now: Instant, workers: u32, rule: &Rule) -> u32 {
        self.recommendations
            .retain(|(at, _)| now.duration_since(*at) < rule.stabilization);
        // Of a run of equal ones the first is kept for its time and the last moves: two are enough.
        let run = self
            .recommendations
            .iter()
            .rev()
            .take_while(|(_, earlier)| *earlier == workers)
            .count();
        if run > 1 {
            self.recommendations.pop_back();
        }
        self.recommendations.push_back((now, workers));
        self.recommendations
            .iter()
            .map(|(_, workers)| *workers)
            .max()
            .unwrap_or(workers)
    }
}

/// Enough for the arrivals, with some slack, and enough to drain the backlog in time.
fn by_load(arrival: f64, depth: u64, per_worker: f64, drain_target: Duration) -> u32 {
    let steady = arrival / per_worker;
    let drain = (arrival + real(depth) / drain_target.as_secs_f64()) / per_worker;
    round_up((steady + SLACK * steady.sqrt()).max(drain))
}

fn by_depth(depth: u64, target_queue_depth: u64) -> u32 {
    u32::try_from(depth.div_ceil(target_queue_depth.max(1))).unwrap_or(u32::MAX)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float is cast to the nearest value of the integer, and NaN to 0"
)]
fn round_up(workers: f64) -> u32 {
    workers.ceil() as u32
}

#[cfg(test)]
mod tests;
