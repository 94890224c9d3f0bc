//! What the operator counts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{pulse::is_watch, reconcile::NestId};

/// From what is answered from memory to a slow API server.
const SECONDS: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0];

/// The operator's metrics. Clones share one state.
#[derive(Clone)]
pub struct Metrics {
    reconciles: Family<Outcome, Counter>,
    duration: Histogram,
    leader: Gauge,
    depth: Family<Nest, Gauge>,
    desired: Family<Nest, Gauge>,
    ready: Family<Nest, Gauge>,
    decisions: Family<Scaling, Counter>,
    requests: Family<Request, Counter>,
    conditions: Family<Said, Gauge>,
    /// Which of these series there are: with its reason a condition changes its series.
    said: Arc<Mutex<HashMap<Nest, Vec<Said>>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Nest {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Scaling {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    verb: &'static str,
}

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Said {
    namespace: String,
    name: String,
    r#type: String,
    reason: String,
}

impl Nest {
    fn of(id: &NestId) -> Self {
        Self {
            namespace: id.namespace().to_owned(),
            name: id.name().to_owned(),
        }
    }
}

/// What scaling sees of one nest.
#[derive(Clone, Copy, Debug)]
pub struct Crew {
    /// Messages that PostgreSQL does not have yet.
    pub depth: u64,
    /// Workers that are wanted.
    pub desired: u32,
    /// Workers that are ready.
    pub ready: u32,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            duration: Histogram::new(SECONDS),
            leader: Gauge::default(),
            depth: Family::default(),
            desired: Family::default(),
            ready: Family::default(),
            decisions: Family::default(),
            requests: Family::default(),
            conditions: Family::default(),
            said: Arc::default(),
        };
        let operator = registry.sub_registry_with_prefix("birbnest_operator");
        operator.register(
            "reconciles",
            "Reconciliations, by outcome: ok, or the category of the error",
            metrics.reconciles.clone(),
        );
        operator.register_with_unit(
            "reconcile_duration",
            "How long a reconciliation took",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        operator.register("leader", "1 while this operator leads", metrics.leader.clone());
        operator.register(
            "queue_depth",
            "Writes that PostgreSQL does not have yet",
            metrics.depth.clone(),
        );
        operator.register(
            "workers_desired",
            "Workers that scaling wants",
            metrics.desired.clone(),
        );
        operator.register("workers_ready", "Workers that are ready", metrics.ready.clone());
        operator.register(
            "scaling_decisions",
            "Changes of a number of workers, by reason",
            metrics.decisions.clone(),
        );
        operator.register(
            "api_requests",
            "Requests to the API server, by verb: watch, read, create, patch or delete",
            metrics.requests.clone(),
        );
        operator.register(
            "nest_condition",
            "1 while the condition of that type is True, else 0; one series for each, with its reason",
            metrics.conditions.clone(),
        );
        metrics
    }

    /// A reconciliation ended: `ok`, or the category of its error.
    pub fn reconciled(&self, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&Outcome { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Whether this operator leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// What scaling saw last.
    pub fn crew(&self, id: &NestId, crew: Crew) {
        let nest = Nest::of(id);
        self.depth
            .get_or_create(&nest)
            .set(i64::try_from(crew.depth).unwrap_or(i64::MAX));
        self.desired.get_or_create(&nest).set(i64::from(crew.desired));
        self.ready.get_or_create(&nest).set(i64::from(crew.ready));
    }

    /// What the status of the nest says.
    pub fn conditions(&self, id: &NestId, conditions: &[Condition]) {
        let Nest { namespace, name } = Nest::of(id);
        let said = |condition: &Condition| Said {
            namespace: namespace.clone(),
            name: name.clone(),
            r#type: condition.type_.clone(),
            reason: condition.reason.clone(),
        };
        let now: Vec<Said> = conditions.iter().map(said).collect();
        for (said, condition) in now.iter().zip(conditions) {
            let holds = condition.status == "True";
            self.conditions.get_or_create(said).set(i64::from(holds));
        }
        // Only then: no scrape in between finds a condition missing.
        self.unsay(id, now);
    }

    fn unsay(&self, id: &NestId, still: Vec<Said>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in said.remove(&Nest::of(id)).unwrap_or_default() {
            if !still.contains(&gone) {
                self.conditions.remove(&gone);
            }
        }
        if !still.is_empty() {
            said.insert(Nest::of(id), still);
        }
    }

    /// A number of workers changed.
    pub fn decided(&self, reason: &'static str) {
        self.decisions.get_or_create(&Scaling { reason }).inc();
    }

    /// The API server is asked for something.
    pub fn asks<B>(&self, request: &http::Request<B>) {
        let verb = verb(request);
        self.requests.get_or_create(&Request { verb }).inc();
    }

    /// The nest is scaled no more: nothing is told about its workers.
    pub fn forget(&self, id: &NestId) {
        let nest = Nest::of(id);
        self.depth.remove(&nest);
        self.desired.remove(&nest);
        self.ready.remove(&nest);
    }

    /// As [`Metrics::forget`], what its conditions say as well.
    pub fn forget_all(&self, id: &NestId) {
        self.forget(id);
        self.unsay(id, vec![]);
    }
}

fn verb<B>(request: &http::Request<B>) -> &'static str {
    match *request.method() {
        Method::GET if is_watch(request) => "watch",
        Method::GET => "read",
        Method::POST => "create",
        Method::DELETE => "delete",
        _ => "patch",
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::reconcile::fixtures;

    #[test]
    fn requests_are_told_apart_by_what_they_ask_for() {
        let verb = |method: Method, query: &str| {
            let request = http::Request::builder()
                .method(method)
                .uri(format!("/api/v1/pods?{query}"));
            verb(&request.body(()).unwrap())
        };
        assert_eq!(verb(Method::GET, "limit=500"), "read");
        assert_eq!(verb(Method::GET, "&watch=true&timeoutSeconds=290"), "watch");
        assert_eq!(verb(Method::PATCH, "&fieldManager=birbnest-operator"), "patch");
    }

    #[test]
    fn figures_of_a_nest_that_is_gone_are_gone() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let id = NestId::of(&fixtures::managed()).unwrap();
        metrics.crew(
            &id,
            Crew {
                depth: 7,
                desired: 2,
                ready: 1,
            },
        );
        metrics.reconciled("ok", Duration::from_millis(20));
        metrics.conditions(&id, &[condition("True", "Complete")]);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("birbnest_operator_queue_depth{namespace=\"shop\",name=\"prices\"} 7"),
            "{text}"
        );
        assert!(
            text.contains("birbnest_operator_reconciles_total{outcome=\"ok\"} 1"),
            "{text}"
        );
        metrics.forget_all(&id);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(!text.contains("prices"), "{text}");
    }

    fn condition(status: &str, reason: &str) -> Condition {
        serde_json::from_value(serde_json::json!({
            "type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    #[test]
    fn a_condition_is_one_series_and_scaling_that_ends_leaves_it() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let id = NestId::of(&fixtures::managed()).unwrap();
        let series = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let lines = text
                .lines()
                .filter(|line| line.starts_with("birbnest_operator_nest_condition{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let line = |reason: &str, value: u8| {
            format!(
                r#"birbnest_operator_nest_condition{{namespace="shop",name="prices",type="Ready",reason="{reason}"}} {value}"#
            )
        };
        metrics.conditions(&id, &[condition("True", "Complete")]);
        assert_eq!(series(), [line("Complete", 1)]);
        metrics.conditions(&id, &[condition("False", "RollingOut")]);
        assert_eq!(series(), [line("RollingOut", 0)]);
        metrics.forget(&id);
        assert_eq!(series().len(), 1, "a paused nest still has a status");
        metrics.forget_all(&id);
        assert_eq!(series(), [""; 0]);
    }
}
