//! The last stage: reports what was answered, and only when it changed.

mod conditions;
mod durability;

use std::time::Duration;

use birbnest_core::Layout;
use birbnest_crds::{ApiStatus, BirbNest, BirbNestStatus, PartitionsStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, ResourceExt, runtime::controller::Action};
use serde::Serialize;
use serde_json::json;

use super::{NestId, apply::Applied};
use crate::{
    GuardedNest,
    cluster::{ClusterError, FIELD_MANAGER},
    context::Context,
    error::ReconcileError,
    events::{Happening, about},
};

use conditions::{Finding, stamp, transitions};

/// Nothing is left to do: Secrets are looked at again, and whatever no watch tells.
const STEADY_LOOK: Duration = Duration::from_mins(1);
/// Something outside the cluster is waited for.
const RESTLESS_LOOK: Duration = Duration::from_secs(3);

/// How the nest is, and so when to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Everything that the spec asks for is there.
    Ready,
    /// Something is missing.
    Unready,
}

impl Health {
    pub(super) fn next_look(self) -> Duration {
        match self {
            Self::Ready => STEADY_LOOK,
            Self::Unready => RESTLESS_LOOK,
        }
    }
}

/// The part of the status that reconciliation writes; scaling writes the rest, with a field manager of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_generation: Option<i64>,
    conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<ApiStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<PartitionsStatus>,
}

impl Report {
    /// What stands in the status now.
    fn written(status: &BirbNestStatus) -> Self {
        Self {
            observed_generation: status.observed_generation,
            conditions: status.conditions.clone(),
            schema_version: status.schema_version,
            api: status.api.clone(),
            endpoint: status.endpoint.clone(),
            partitions: status.partitions.clone(),
        }
    }

    /// The same with some conditions changed.
    fn with(mut self, nest: &BirbNest, findings: &[Finding]) -> Self {
        self.conditions = stamp(findings, &self.conditions, nest.metadata.generation);
        self.observed_generation = nest.metadata.generation;
        self
    }
}

/// Reports how far the nest is. Consumes what was applied, so nothing else can be reported.
pub(super) async fn update_status(
    ctx: &Context,
    nest: &BirbNest,
    applied: Applied,
) -> Result<Health, ClusterError> {
    let findings = conditions::assess(nest, &applied);
    let ready = findings
        .iter()
        .any(|finding| finding.type_ == conditions::READY && finding.holds);
    let written = Report::written(&status_of(nest));
    let report = Report {
        schema_version: applied
            .migration
            .as_ref()
            .map_or(written.schema_version, |done| Some(done.schema_version())),
        api: applied.api.as_ref().map(|api| ApiStatus {
            ready: api.ready,
            desired: api.desired,
        }),
        endpoint: Some(applied.endpoint),
        partitions: applied.layout.map(partitions).or(written.partitions.clone()),
        ..written.clone()
    };
    for repaired in applied.streams.iter().flatten().filter_map(conditions::repair) {
        ctx.events.tell(&about(nest), repaired).await;
    }
    write(ctx, nest, &written, report.with(nest, &findings)).await?;
    Ok(if ready { Health::Ready } else { Health::Unready })
}

/// Reports that the nest is left as it is.
pub(super) async fn pause(ctx: &Context, nest: &BirbNest) -> Result<Action, ReconcileError> {
    let id = NestId::of(nest)?;
    ctx.targets.forget(&id);
    ctx.contests.forget(&id);
    let written = Report::written(&status_of(nest));
    let report = written.clone().with(nest, &conditions::paused());
    write(ctx, nest, &written, report).await?;
    Ok(Action::await_change())
}

/// Reports what the deletion waits for.
pub(super) async fn leaving(ctx: &Context, nest: &BirbNest, message: &str) -> Result<(), ClusterError> {
    let written = Report::written(&status_of(nest));
    let report = written.clone().with(nest, &conditions::leaving(message));
    write(ctx, nest, &written, report).await
}

/// Reports why a reconciliation ended early. What cannot be reported is logged.
pub(super) async fn report(ctx: &Context, nest: &GuardedNest, error: &ReconcileError) {
    let (namespace, name) = (nest.namespace().unwrap_or_default(), nest.name_any());
    tracing::warn!(namespace, name, category = error.category(), %error, "the BirbNest could not be reconciled");
    let findings = conditions::failed(error.reason(), &error.to_string(), error.stalls());
    let reported = match &nest.0 {
        Ok(nest) => {
            let written = Report::written(&status_of(nest));
            write(ctx, nest, &written, written.clone().with(nest, &findings)).await
        }
        Err(_) => report_malformed(ctx, nest, error, &findings).await,
    };
    if let Err(error) = reported {
        tracing::warn!(namespace, name, %error, "the status could not be reported");
    }
}

/// Of an object that cannot be read, nothing but its metadata is known: not even what its status said.
async fn report_malformed(
    ctx: &Context,
    nest: &GuardedNest,
    error: &ReconcileError,
    findings: &[Finding],
) -> Result<(), ClusterError> {
    let warning = Happening {
        warning: true,
        reason: error.reason().to_owned(),
        action: "Reconcile".to_owned(),
        note: error.to_string(),
    };
    ctx.events.tell(&about(nest), warning).await;
    let generation = nest.meta().generation;
    let conditions = stamp(findings, &[], generation);
    let (namespace, name) = (nest.namespace().unwrap_or_default(), nest.name_any());
    ctx.metrics
        .conditions(&NestId::named(&namespace, &name), &conditions);
    let status = json!({"observedGeneration": generation, "conditions": conditions});
    ctx.cluster
        .apply_status::<BirbNest>(FIELD_MANAGER, &namespace, &name, &status)
        .await
}

fn partitions(layout: Layout) -> PartitionsStatus {
    PartitionsStatus {
        first: layout.first().0.into(),
        count: layout.count().into(),
    }
}

fn status_of(nest: &BirbNest) -> BirbNestStatus {
    nest.status.clone().unwrap_or_default()
}

/// Writes the report if it differs from what stands there, and tells what changed.
async fn write(ctx: &Context, nest: &BirbNest, written: &Report, report: Report) -> Result<(), ClusterError> {
    let (namespace, name) = (nest.namespace().unwrap_or_default(), nest.name_any());
    ctx.metrics
        .conditions(&NestId::named(&namespace, &name), &report.conditions);
    if report == *written {
        return Ok(());
    }
    let status = serde_json::to_value(&report).unwrap_or_default();
    ctx.cluster
        .apply_status::<BirbNest>(FIELD_MANAGER, &namespace, &name, &status)
        .await?;
    for happening in transitions(&written.conditions, &report.conditions) {
        ctx.events.tell(&about(nest), happening).await;
    }
    Ok(())
}
