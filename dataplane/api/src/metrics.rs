//! What the service counts.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use birbnest_core::Budget;
use birbnest_stores::fence::FenceWatch;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: Shed,
}

/// Of what there was too much when a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Shed {
    Connections,
    Requests,
    Memory,
}

/// The service's metrics. Clones count together.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Families>);

struct Families {
    requests: Family<Answered, Counter>,
    durations: Family<ByMethod, Histogram>,
    reads: Family<ByOutcome, Counter>,
    /// What nearly every request counts, looked up once.
    hits: OnceLock<Counter>,
    found: OnceLock<(Counter, Histogram)>,
    in_progress: Gauge,
    shed: Family<ByReason, Counter>,
    written_through: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry, budget: &Budget, fences: &FenceWatch) -> Self {
        let families = Families {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            reads: Family::default(),
            hits: OnceLock::new(),
            found: OnceLock::new(),
            in_progress: Gauge::default(),
            shed: Family::default(),
            written_through: Counter::default(),
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
            "Requests refused because too much is in progress",
            families.shed.clone(),
        );
        api.register(
            "writes_through",
            "Writes that PostgreSQL took because NATS was away",
            families.written_through.clone(),
        );
        registry.register_collector(Box::new(Held(budget.clone())));
        registry.register_collector(Box::new(Switched(fences.clone())));
        Self(Arc::new(families))
    }

    pub(crate) fn read(&self, outcome: Outcome) {
        let count = || self.0.reads.get_or_create_owned(&ByOutcome { outcome });
        if outcome == Outcome::Hit {
            self.0.hits.get_or_init(count).inc();
        } else {
            count().inc();
        }
    }

    pub(crate) fn shed(&self, reason: Shed) {
        self.0.shed.get_or_create_owned(&ByReason { reason }).inc();
    }

    pub(crate) fn written_through(&self, writes: u64) {
        self.0.written_through.inc_by(writes);
    }

    /// A request began; returns how many were in progress before it.
    pub(crate) fn started(&self) -> i64 {
        self.0.in_progress.inc()
    }

    /// A request ended, answered or not.
    pub(crate) fn ended(&self) {
        self.0.in_progress.dec();
    }

    pub(crate) fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        let count = || self.counters(method, status);
        if *method == Method::GET && status == StatusCode::OK {
            note(self.0.found.get_or_init(count), took);
        } else {
            note(&count(), took);
        }
    }

    fn counters(&self, method: &Method, status: StatusCode) -> (Counter, Histogram) {
        let (method, status) = (Verb::from(method), status.as_u16());
        let requests = self.0.requests.get_or_create_owned(&Answered { method, status });
        let durations = self.0.durations.get_or_create_owned(&ByMethod { method });
        (requests, durations)
    }
}

/// Shows what the budget says at the moment.
#[derive(Debug)]
struct Held(Budget);

impl Collector for Held {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let bytes = ConstGauge::new(i64::try_from(self.0.held()).unwrap_or(i64::MAX));
        let help = "Bytes of bodies and large answers in progress";
        let name = "birbnest_api_bytes_in_progress";
        bytes.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }
}

/// Shows who takes the writes, as the fences say.
struct Switched(FenceWatch);

impl fmt::Debug for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Switched")
    }
}

impl Collector for Switched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let through = ConstGauge::new(i64::from(self.0.is_written_through()));
        let help = "1 when PostgreSQL takes the writes because NATS is away";
        let name = "birbnest_api_write_through";
        through.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }
}

fn note((requests, durations): &(Counter, Histogram), took: Duration) {
    requests.inc();
    durations.observe(took.as_secs_f64());
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
