//! What the worker counts.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use birbnest_core::{Layout, Partition};
use birbnest_stores::jetstream::Progress;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::breaker::Phase;

/// A partition as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPartition {
    partition: u16,
}

/// The category of an error as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCategory {
    category: &'static str,
}

/// No label: a gauge that is only there where somebody has set it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Alone {}

/// Why a message was set aside, as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

/// The worker's metrics. Clones count together.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Families>);

struct Families {
    batch_size: Histogram,
    batch_size_limit: Gauge,
    upsert_duration: Histogram,
    rows: Counter,
    ghosts: Counter,
    acknowledged: Counter,
    redelivered: Counter,
    set_aside: Family<ByReason, Counter>,
    dead_letters: Family<ByReason, Counter>,
    dead_letters_failed: Counter,
    dead_letters_waiting: Family<Alone, Gauge>,
    upsert_errors: Family<ByCategory, Counter>,
    generations: Counter,
    database_breaker: Gauge,
    queue_depth: Family<ByPartition, Gauge>,
    mark: Family<ByPartition, Gauge>,
    persisted_through: Family<ByPartition, Gauge>,
    persistence_lag: Family<ByPartition, Gauge<f64, AtomicU64>>,
    purged: Counter,
    swept: Counter,
}

impl Metrics {
    /// Registers them all under `birbnest_worker`. `batch_size` is the configured one.
    pub(crate) fn register(registry: &mut Registry, batch_size: u32) -> Self {
        let families = Families {
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 15)),
            batch_size_limit: Gauge::default(),
            upsert_duration: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            rows: Counter::default(),
            ghosts: Counter::default(),
            acknowledged: Counter::default(),
            redelivered: Counter::default(),
            set_aside: Family::default(),
            dead_letters: Family::default(),
            dead_letters_failed: Counter::default(),
            dead_letters_waiting: Family::default(),
            upsert_errors: Family::default(),
            generations: Counter::default(),
            database_breaker: Gauge::default(),
            queue_depth: Family::default(),
            mark: Family::default(),
            persisted_through: Family::default(),
            persistence_lag: Family::default(),
            purged: Counter::default(),
            swept: Counter::default(),
        };
        families.batch_size_limit.set(batch_size.into());
        families.register(registry.sub_registry_with_prefix("birbnest_worker"));
        Self(Arc::new(families))
    }

    /// A batch was pulled.
    pub(crate) fn pulled(&self, messages: usize, redelivered: usize) {
        self.0.batch_size.observe(f64::from(count(messages)));
        self.0.redelivered.inc_by(count(redelivered).into());
    }

    /// A statement was committed.
    pub(crate) fn upserted(&self, took: Duration, rows: u64, ghosts: usize) {
        self.0.upsert_duration.observe(took.as_secs_f64());
        self.0.rows.inc_by(rows);
        self.0.ghosts.inc_by(count(ghosts).into());
    }

    /// A statement failed.
    pub(crate) fn upsert_failed(&self, category: &'static str) {
        self.0.upsert_errors.get_or_create(&ByCategory { category }).inc();
    }

    /// Messages were acknowledged.
    pub(crate) fn acknowledged(&self, messages: usize) {
        self.0.acknowledged.inc_by(count(messages).into());
    }

    /// A message that PostgreSQL or this release cannot take was handed back, to be tried again.
    pub(crate) fn set_aside(&self, reason: &'static str) {
        self.0.set_aside.get_or_create(&ByReason { reason }).inc();
    }

    /// A message became a dead letter.
    pub(crate) fn dead_letter(&self, reason: &'static str) {
        self.0.dead_letters.get_or_create(&ByReason { reason }).inc();
    }

    /// Messages could not be moved to the dead letters.
    pub(crate) fn dead_letters_failed(&self, messages: usize) {
        self.0.dead_letters_failed.inc_by(count(messages).into());
    }

    /// Dead letters that wait for somebody's decision, as the janitor saw it.
    pub(crate) fn dead_letters_waiting(&self, letters: u64) {
        let gauge = self.0.dead_letters_waiting.get_or_create_owned(&Alone {});
        gauge.set(i64::try_from(letters).unwrap_or(i64::MAX));
    }

    /// The breaker of the database is in this phase now.
    pub(crate) fn breaker(&self, phase: Phase) {
        self.0.database_breaker.set(match phase {
            Phase::Closed => 0,
            Phase::HalfOpen => 1,
            Phase::Open => 2,
        });
    }

    /// All copies in Redis were made void.
    pub(crate) fn generation_raised(&self) {
        self.0.generations.inc();
    }

    /// Messages not acknowledged yet, as the janitor saw it.
    pub(crate) fn depth(&self, partition: Partition, depth: u64) {
        let gauge = self.0.queue_depth.get_or_create_owned(&ByPartition {
            partition: partition.0,
        });
        gauge.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// The mark, as the janitor recorded it.
    pub(crate) fn mark(&self, partition: Partition, mark: i64) {
        self.0
            .mark
            .get_or_create_owned(&ByPartition {
                partition: partition.0,
            })
            .set(mark);
    }

    /// How far the workers are, as the janitor saw it.
    pub(crate) fn persisted(&self, partition: Partition, progress: &Progress) {
        let labels = ByPartition {
            partition: partition.0,
        };
        let through = self.0.persisted_through.get_or_create_owned(&labels);
        through.set(progress.persisted_through.as_i64());
        let age = progress.oldest.map_or(Duration::ZERO, |oldest| oldest.age());
        let lag = self.0.persistence_lag.get_or_create_owned(&labels);
        lag.set(age.as_secs_f64());
    }

    /// Another worker leads, and shows what it sees: what this one saw last is not shown any more.
    pub(crate) fn forget_lead(&self) {
        self.0.dead_letters_waiting.clear();
        self.0.queue_depth.clear();
        self.0.mark.clear();
        self.0.persisted_through.clear();
        self.0.persistence_lag.clear();
    }

    /// There are these partitions from now on: figures of others are not shown any more.
    pub(crate) fn forget_all_but(&self, layout: Layout) {
        let earlier = (0..layout.first().0).map(|partition| ByPartition { partition });
        for labels in earlier {
            self.0.queue_depth.remove(&labels);
            self.0.mark.remove(&labels);
            self.0.persisted_through.remove(&labels);
            self.0.persistence_lag.remove(&labels);
        }
    }

    /// Messages were purged from a stream.
    pub(crate) fn purged(&self, messages: u64) {
        self.0.purged.inc_by(messages);
    }

    /// Rows were removed from the table.
    pub(crate) fn swept(&self, rows: u64) {
        self.0.swept.inc_by(rows);
    }
}

impl Families {
    fn register(&self, worker: &mut Registry) {
        worker.register("batch_size", "Messages per batch", self.batch_size.clone());
        let limit = self.batch_size_limit.clone();
        worker.register(
            "batch_size_limit",
            "Messages a batch may have, as configured",
            limit,
        );
        worker.register_with_unit(
            "upsert_duration",
            "Time from sending a batch to PostgreSQL to its commit",
            Unit::Seconds,
            self.upsert_duration.clone(),
        );
        worker.register("rows", "Rows inserted or replaced", self.rows.clone());
        let ghosts = self.ghosts.clone();
        worker.register(
            "ghosts",
            "Messages ignored because they are at or below the mark",
            ghosts,
        );
        let acknowledged = self.acknowledged.clone();
        worker.register("messages_acknowledged", "Messages acknowledged", acknowledged);
        worker.register(
            "messages_redelivered",
            "Messages that had been delivered before",
            self.redelivered.clone(),
        );
        worker.register(
            "messages_set_aside",
            "Messages handed back because PostgreSQL rejects the row or nobody can read it",
            self.set_aside.clone(),
        );
        worker.register(
            "dead_letters",
            "Messages moved to the dead letters",
            self.dead_letters.clone(),
        );
        worker.register(
            "dead_letters_failed",
            "Messages that cannot be persisted and could not be moved to the dead letters either",
            self.dead_letters_failed.clone(),
        );
        worker.register(
            "dead_letters_waiting",
            "Dead letters; shown by the worker that leads",
            self.dead_letters_waiting.clone(),
        );
        worker.register(
            "upsert_errors",
            "Statements that failed, by category",
            self.upsert_errors.clone(),
        );
        worker.register(
            "database_breaker",
            "0 closed: batches are written; 1 half open: the database is asked; 2 open: nothing is pulled",
            self.database_breaker.clone(),
        );
        worker.register(
            "cache_generations_raised",
            "Times that all copies in Redis were made void because it could not be refreshed",
            self.generations.clone(),
        );
        worker.register(
            "queue_depth",
            "Messages not acknowledged yet; shown by the worker that leads",
            self.queue_depth.clone(),
        );
        worker.register(
            "mark",
            "Version up to which everything is in PostgreSQL; shown by the worker that leads",
            self.mark.clone(),
        );
        worker.register(
            "persisted_through_version",
            "Version up to which no write waits any more; shown by the worker that leads",
            self.persisted_through.clone(),
        );
        worker.register_with_unit(
            "persistence_lag",
            "Age of the oldest write that PostgreSQL does not have; shown by the worker that leads",
            Unit::Seconds,
            self.persistence_lag.clone(),
        );
        worker.register(
            "messages_purged",
            "Persisted messages purged",
            self.purged.clone(),
        );
        worker.register(
            "rows_swept",
            "Tombstones and expired rows removed",
            self.swept.clone(),
        );
    }
}

/// Batches have at most some thousand messages.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn who_leads_no_more_shows_no_figures_of_the_lead() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, 500);
        let shown = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            let told = |name: &str| {
                text.lines()
                    .any(|line| line.starts_with(&format!("birbnest_worker_{name}")))
            };
            ["queue_depth", "dead_letters_waiting"].map(told)
        };
        metrics.depth(Partition(3), 7);
        metrics.dead_letters_waiting(1);
        assert_eq!(shown(), [true, true]);
        metrics.forget_lead();
        assert_eq!(shown(), [false, false]);
    }
}
