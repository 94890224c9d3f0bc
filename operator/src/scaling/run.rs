//! The loop that measures, decides and writes, for every nest.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use birbnest_core::Version;
use birbnest_crds::{BirbNest, PersistedThrough, QueueStatus, WorkersStatus};
use birbnest_service::Shutdown;
use birbnest_stores::jetstream::provision::{self, Figures};
use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Autoscaler, Decision, Sample, Target};
use crate::{
    cluster::{ClusterError, SCALER},
    context::SharedContext,
    events::Happening,
    metrics::Crew,
    reconcile::NestId,
};

/// How often each nest is measured.
const PERIOD: Duration = Duration::from_secs(1);
/// Figures that take longer are not fresh.
const FRESH_WITHIN: Duration = Duration::from_millis(800);
/// Figures change all the time; the status follows them this often.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How often reconciliation is asked to repair streams.
const NUDGE_EVERY: Duration = Duration::from_secs(5);
/// Nests that are measured at the same time: one whose NATS is silent takes its place for as long as figures may take.
const CONCURRENCY: usize = 64;
/// How long the API server may take with what was decided: the figures of all nests are waiting.
const CARRIED_OUT_WITHIN: Duration = Duration::from_secs(3);

/// Scales every nest that reconciliation handed over, while this operator leads, until the shutdown.
pub async fn run(ctx: SharedContext, shutdown: Shutdown) {
    let mut scalers = HashMap::<NestId, Scaler>::new();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.or(ticks.tick()).await.is_some() {
        let targets = if ctx.cluster.may_write() {
            ctx.targets.all()
        } else {
            Vec::new()
        };
        let mut kept = HashMap::with_capacity(targets.len());
        let due: Vec<_> = targets
            .into_iter()
            .map(|target| {
                let scaler = scalers.remove(&target.id).unwrap_or_else(|| Scaler::new(&target));
                (target, scaler)
            })
            .collect();
        let mut done = stream::iter(due)
            .map(async |(target, mut scaler)| {
                scaler.pass(&ctx, &target).await;
                (target.id.clone(), scaler)
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((id, scaler)) = done.next().await {
            kept.insert(id, scaler);
        }
        drop(done);
        // Whoever is left is not a target any more.
        for gone in scalers.keys() {
            ctx.metrics.forget(gone);
        }
        scalers = kept;
    }
}

/// The part of the status that scaling writes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<QueueStatus>,
    workers: WorkersStatus,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    persisted_through: Vec<PersistedThrough>,
}

/// What is remembered about one nest from pass to pass.
struct Scaler {
    autoscaler: Autoscaler,
    desired: u32,
    reported: Option<(Instant, Report)>,
    nudged: Option<Instant>,
}

impl Scaler {
    fn new(target: &Target) -> Self {
        Self {
            autoscaler: Autoscaler::new(Instant::now(), target.replicas),
            desired: target.replicas,
            reported: None,
            nudged: None,
        }
    }

    async fn pass(&mut self, ctx: &SharedContext, target: &Target) {
        let asked = provision::figures(&target.log, &target.streams, target.layout);
        let measured = timeout(FRESH_WITHIN, asked).await;
        let figures = measured.ok().and_then(Result::ok);
        // Streams that are missing or changed are reconciliation's business; why, is in its conditions.
        if figures
            .as_ref()
            .is_none_or(|figures| figures.iter().any(|partition| partition.drifted))
        {
            self.nudge(ctx, target);
        }
        let decision = match &figures {
            Some(figures) => self
                .autoscaler
                .decide(sample(figures, target.ready), &target.rule),
            None => self.autoscaler.hold(Instant::now(), &target.rule),
        };
        let carried_out = self.carry_out(ctx, target, decision, figures.as_deref());
        let error = match timeout(CARRIED_OUT_WITHIN, carried_out).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", CARRIED_OUT_WITHIN.as_secs()),
        };
        let (namespace, name) = (target.id.namespace(), target.id.name());
        tracing::warn!(namespace, name, error, "the workers could not be scaled");
    }

    fn nudge(&mut self, ctx: &SharedContext, target: &Target) {
        if self.nudged.is_none_or(|last| last.elapsed() >= NUDGE_EVERY) {
            self.nudged = Some(Instant::now());
            ctx.nudge(&target.id);
        }
    }

    async fn carry_out(
        &mut self,
        ctx: &SharedContext,
        target: &Target,
        decision: Decision,
        figures: Option<&[Figures]>,
    ) -> Result<(), ClusterError> {
        let desired = decision.desired;
        if target.replicas != desired {
            let replicas = i32::try_from(desired).unwrap_or(i32::MAX);
            ctx.cluster
                .scale::<Deployment>(target.id.namespace(), &target.deployment, replicas)
                .await?;
            ctx.targets.scaled(&target.id, desired);
        }
        let before = std::mem::replace(&mut self.desired, desired);
        let changed = before != desired;
        if changed {
            ctx.metrics.decided(decision.reason.name());
        }
        if let Some(figures) = figures {
            let depth = figures.iter().map(depth).sum();
            ctx.metrics.crew(
                &target.id,
                Crew {
                    depth,
                    desired,
                    ready: target.ready,
                },
            );
        }
        let ready_changed = self
            .reported
            .as_ref()
            .is_some_and(|(_, report)| report.workers.ready != ready(target));
        let reported = self.report(ctx, target, &decision, figures, changed || ready_changed);
        let reported = reported.await;
        // Last: what is slow to take events holds up nothing else.
        if changed {
            ctx.events.tell(&target.about, happening(before, &decision)).await;
        }
        reported
    }

    async fn report(
        &mut self,
        ctx: &SharedContext,
        target: &Target,
        decision: &Decision,
        figures: Option<&[Figures]>,
        at_once: bool,
    ) -> Result<(), ClusterError> {
        let due = self
            .reported
            .as_ref()
            .is_none_or(|(at, _)| at_once || at.elapsed() >= REPORT_EVERY);
        if !due {
            return Ok(());
        }
        let report = Report {
            queue: figures.map(|figures| self.queue(figures)),
            workers: WorkersStatus {
                ready: ready(target),
                desired: i32::try_from(decision.desired).unwrap_or(i32::MAX),
                reason: decision.reason.to_string(),
            },
            persisted_through: figures.into_iter().flatten().map(persisted).collect(),
        };
        if self
            .reported
            .as_ref()
            .is_none_or(|(_, reported)| *reported != report)
        {
            let status = serde_json::to_value(&report).unwrap_or_default();
            let (namespace, name) = (target.id.namespace(), target.id.name());
            ctx.cluster
                .apply_status::<BirbNest>(SCALER, namespace, name, &status)
                .await?;
        }
        self.reported = Some((Instant::now(), report));
        Ok(())
    }

    fn queue(&self, figures: &[Figures]) -> QueueStatus {
        let (arrival, service) = self.autoscaler.rates();
        QueueStatus {
            depth: whole(figures.iter().map(depth).sum()),
            oldest_age_seconds: figures
                .iter()
                .filter_map(|partition| partition.oldest_age_seconds)
                .max()
                .map(whole),
            arrival_per_second: rounded(arrival),
            service_per_second: rounded(service),
        }
    }
}

fn ready(target: &Target) -> i32 {
    i32::try_from(target.ready).unwrap_or(i32::MAX)
}

fn happening(before: u32, decision: &Decision) -> Happening {
    let (after, reason) = (decision.desired, decision.reason);
    Happening {
        warning: false,
        reason: if after > before {
            "WorkersScaledUp"
        } else {
            "WorkersScaledDown"
        }
        .to_owned(),
        // Its numbers are part of the action: events that share one are counted and keep the first note.
        action: format!("ScaleFrom{before}To{after}"),
        note: format!("workers from {before} to {after}: {reason} ({})", reason.name()),
    }
}

fn sample(figures: &[Figures], ready: u32) -> Sample {
    let sum = |count: fn(&Figures) -> u64| figures.iter().map(count).sum();
    Sample {
        at: Instant::now(),
        pending: sum(|partition| partition.pending),
        unacked: sum(|partition| partition.ack_pending),
        redelivered: sum(|partition| partition.redelivered),
        arrived: sum(|partition| partition.last_sequence),
        served: sum(|partition| partition.ack_floor),
        delivered: sum(|partition| partition.delivered),
        ready,
    }
}

fn depth(partition: &Figures) -> u64 {
    partition.pending + partition.ack_pending
}

fn persisted(partition: &Figures) -> PersistedThrough {
    PersistedThrough {
        partition: i32::from(partition.partition.0),
        epoch: partition.epoch,
        sequence: whole(partition.ack_floor),
        version: partition.persisted_through.map(Version::as_i64),
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a float is cast to the nearest value of the integer"
)]
fn rounded(rate: Option<f64>) -> i64 {
    rate.unwrap_or(0.0).round() as i64
}

#[cfg(test)]
mod tests {
    use birbnest_core::Partition;

    use super::*;
    use crate::scaling::Reason;

    fn figures(partition: u16, pending: u64, ack_floor: u64) -> Figures {
        Figures {
            partition: Partition(partition),
            pending,
            ack_pending: 2,
            redelivered: 1,
            ack_floor,
            epoch: 2,
            persisted_through: Version::new((1 << 32) + ack_floor).ok(),
            delivered: ack_floor + 2,
            last_sequence: ack_floor + pending + 2,
            oldest_age_seconds: None,
            drifted: false,
        }
    }

    #[test]
    fn a_sample_covers_all_partitions() {
        let sample = sample(&[figures(0, 10, 100), figures(1, 20, 200)], 3);
        assert_eq!(
            (sample.depth(), sample.served, sample.arrived, sample.redelivered),
            (34, 300, 334, 2)
        );
    }

    #[test]
    fn the_status_says_the_version_up_to_which_a_partition_is_persisted() {
        let said = persisted(&figures(1, 0, 7));
        assert_eq!(
            (said.partition, said.epoch, said.sequence, said.version),
            (1, 2, 7, Some((1 << 32) + 7))
        );
    }

    #[test]
    fn an_event_says_from_where_to_where_and_why() {
        let told = happening(
            1,
            &Decision {
                desired: 4,
                reason: Reason::Depth { depth: 35_000 },
            },
        );
        assert_eq!(told.reason, "WorkersScaledUp");
        assert!(
            told.note
                .starts_with("workers from 1 to 4: 35000 messages are queued"),
            "{}",
            told.note
        );
    }
}
