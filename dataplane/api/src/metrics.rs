//! What the service counts.

use std::{sync::Arc, time::Duration};

use axum::http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Seconds; from well below a hit to the longest request.
const BUCKETS: [f64; 14] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: Verb,
    status: u16,
}

/// Methods as labels: whatever clients invent is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByMethod {
    method: Verb,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: Outcome,
}

/// What the cache had for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    /// The entry.
    Hit,
    /// The knowledge that there is none.
    NegativeHit,
    /// Nothing.
    Miss,
}

/// The service's metrics. Clones count together.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Families>);

struct Families {
    requests: Family<Answered, Counter>,
    durations: Family<ByMethod, Histogram>,
    reads: Family<ByOutcome, Counter>,
    in_progress: Gauge,
    shed: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let families = Families {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            reads: Family::default(),
            in_progress: Gauge::default(),
            shed: Counter::default(),
        };
        let api = registry.sub_registry_with_prefix("birbnest_api");
        api.register("requests", "Requests answered", families.requests.clone());
        api.register_with_unit(
            "request_duration",
            "Time from the head of a request to its answer",
            Unit::Seconds,
            families.durations.clone(),
        );
        api.register("reads", "Reads, by what the cache had", families.reads.clone());
        api.register(
            "requests_in_progress",
            "Requests not yet answered",
            families.in_progress.clone(),
        );
        api.register(
            "requests_shed",
            "Requests refused because too many are in progress",
            families.shed.clone(),
        );
        Self(Arc::new(families))
    }

    pub(crate) fn read(&self, outcome: Outcome) {
        self.0.reads.get_or_create(&ByOutcome { outcome }).inc();
    }

    pub(crate) fn shed(&self) {
        self.0.shed.inc();
    }

    pub(crate) fn started(&self) {
        self.0.in_progress.inc();
    }

    /// A request ended, answered or not.
    pub(crate) fn ended(&self) {
        self.0.in_progress.dec();
    }

    pub(crate) fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        let method = Verb::from(method);
        self.0
            .requests
            .get_or_create(&Answered {
                method,
                status: status.as_u16(),
            })
            .inc();
        self.0
            .durations
            .get_or_create(&ByMethod { method })
            .observe(took.as_secs_f64());
    }
}

impl From<&Method> for Verb {
    fn from(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }
}
