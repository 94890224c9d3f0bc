//! What the loading of entries counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// How it ended, as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

/// The metrics. Clones count together.
#[derive(Clone, Default)]
pub(crate) struct PrimeMetrics {
    keys: Family<ByOutcome, Counter>,
    requests: Family<ByOutcome, Counter>,
    paused: Gauge,
}

impl PrimeMetrics {
    /// Registers them under `birbnest_worker`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let worker = registry.sub_registry_with_prefix("birbnest_worker");
        worker.register(
            "primed_keys",
            "Keys that were to be loaded into Redis: filled, or passed over because they were there or are gone",
            metrics.keys.clone(),
        );
        worker.register(
            "prime_requests",
            "Requests to load entries into Redis that ended",
            metrics.requests.clone(),
        );
        worker.register(
            "prime_paused",
            "1 while loading waits for the queue of writes to become shorter",
            metrics.paused.clone(),
        );
        metrics
    }

    /// A batch was loaded.
    pub(super) fn loaded(&self, filled: u32, passed_over: u32) {
        for (outcome, keys) in [("filled", filled), ("passed_over", passed_over)] {
            self.keys
                .get_or_create(&ByOutcome { outcome })
                .inc_by(keys.into());
        }
    }

    /// A request ended.
    pub(super) fn ended(&self, failed: bool) {
        let outcome = if failed { "failed" } else { "done" };
        self.requests.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// Loading waits for the queue, or goes on.
    pub(super) fn paused(&self, paused: bool) {
        self.paused.set(paused.into());
    }
}
