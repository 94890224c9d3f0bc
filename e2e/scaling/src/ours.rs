//! The operator's own rule, as the operator runs it.

use std::time::{Duration, Instant};

use birbnest_crds::WorkerAutoscalingSpec;
use birbnest_operator::scaling::{Autoscaler, Rule as Bounds, Sample};

use crate::world::{Rule, View};

/// The operator's rule with the defaults of the resource.
#[derive(Debug)]
pub struct Ours {
    began: Instant,
    autoscaler: Autoscaler,
    bounds: Bounds,
}

impl Ours {
    /// With at most so many workers.
    pub fn new(max: u32) -> Self {
        let spec = WorkerAutoscalingSpec::default();
        let began = Instant::now();
        Self {
            began,
            autoscaler: Autoscaler::new(began, 1),
            bounds: Bounds {
                min: 1,
                max,
                affordable: None,
                target_queue_depth: spec.target_queue_depth.cast_unsigned(),
                drain_target: spec.drain_target.get(),
                stabilization: spec.scale_down_stabilization.get(),
            },
        }
    }
}

impl Rule for Ours {
    fn decide(&mut self, view: &View) -> u32 {
        let sample = Sample {
            at: self.began + Duration::from_secs(view.at),
            pending: view.depth - view.redelivered,
            unacked: view.redelivered,
            redelivered: view.redelivered,
            arrived: view.arrived,
            served: view.served,
            delivered: view.delivered,
            ready: view.ready,
        };
        self.autoscaler.decide(sample, &self.bounds).desired
    }
}
