//! KEDA with its scaler for JetStream, and the `HorizontalPodAutoscaler` that it feeds, with their defaults:
//! <https://keda.sh/docs/latest/scalers/nats-jetstream/>,
//! <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>.

use std::collections::VecDeque;

use crate::world::{Rule, View};

/// Seconds between two looks of KEDA at the consumer.
pub const POLL: u64 = 30;
/// Seconds between two decisions of the autoscaler.
const SYNC: u64 = 15;
/// Seconds of which the autoscaler takes the largest recommendation before it removes a pod.
const STABILIZATION: u64 = 300;
/// Deviations up to a tenth change nothing.
const TOLERANCE: f64 = 0.1;
/// In one step a Deployment doubles, or grows by four pods, whichever is more.
const STEP: u32 = 4;

/// The thresholds that it is judged by: waiting messages per worker.
pub const THRESHOLDS: [u64; 10] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000,
];

/// KEDA with one threshold.
#[derive(Debug)]
pub struct Keda {
    threshold: u64,
    phase: u64,
    max: u32,
    workers: u32,
    lag: u64,
    recommendations: VecDeque<(u64, u32)>,
}

impl Keda {
    /// With at most so many workers. It looks for the first time after `phase` seconds, below [`POLL`].
    pub fn new(threshold: u64, max: u32, phase: u64) -> Self {
        Self {
            threshold,
            phase,
            max,
            workers: 1,
            lag: 0,
            recommendations: VecDeque::new(),
        }
    }

    /// An `AverageValue` target: the lag divided by the threshold.
    fn recommendation(&self) -> u32 {
        let per_worker = ratio(self.lag, u64::from(self.workers.max(1)) * self.threshold);
        if (per_worker - 1.0).abs() <= TOLERANCE {
            return self.workers;
        }
        u32::try_from(self.lag.div_ceil(self.threshold)).unwrap_or(u32::MAX)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a ratio that is compared with a tenth")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

impl Rule for Keda {
    fn decide(&mut self, view: &View) -> u32 {
        let since = view.at + POLL - self.phase;
        if since.is_multiple_of(POLL) {
            self.lag = view.depth;
        }
        if since.is_multiple_of(SYNC) {
            let wanted = self.recommendation().clamp(1, self.max);
            self.recommendations.push_back((view.at, wanted));
            self.recommendations
                .retain(|(at, _)| view.at - at < STABILIZATION);
            let largest = self.recommendations.iter().map(|(_, workers)| *workers).max();
            let stable = largest.unwrap_or(wanted);
            let step = (self.workers * 2).max(self.workers + STEP);
            self.workers = if wanted > self.workers {
                wanted.min(step)
            } else {
                stable.min(self.workers)
            };
        }
        self.workers
    }
}
