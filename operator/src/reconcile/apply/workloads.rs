//! The pods that serve, and what belongs to them.

use birbnest_crds::BirbNest;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::ResourceExt;

use super::{Migrated, contest::contest, owner::Owner, streams::Log};
use crate::{
    address::probe,
    answers::{ours, owns_replicas},
    cluster::ClusterError,
    context::Context,
    events::about,
    kinds::Foreign,
    posture::Facts,
    reconcile::{
        build::Workloads,
        dereference::Addresses,
        facts::{Rollout, Step, Why, refusal, selector},
        pods,
        validate::{Component, NestId, ValidNest},
    },
    scaling::{Rule, Target},
};

/// What was answered about the Deployments.
pub(super) struct Rolled {
    pub(super) api: Option<Rollout>,
    pub(super) worker: Option<Rollout>,
}

impl Rolled {
    /// Nothing of an older plan runs any more.
    pub(super) fn is_complete(&self, migration: &Step<Migrated>) -> bool {
        let complete = |rollout: &Option<Rollout>| rollout.as_ref().is_some_and(Rollout::is_complete);
        migration.is_ok() && complete(&self.api) && complete(&self.worker)
    }
}

/// Rolls them out. Whoever calls it has the schema that they need.
pub(super) async fn apply(
    ctx: &Context,
    owner: &Owner,
    valid: &ValidNest,
    plan: Workloads,
    _needed: &Migrated,
    addresses: &Addresses,
) -> Result<Rolled, ClusterError> {
    let cluster = &ctx.cluster;
    for service in plan.services {
        cluster.apply(&owner.own(service)).await?;
    }
    for budget in plan.disruption_budgets {
        cluster.apply(&owner.own(budget)).await?;
    }
    if let Some(ingress) = plan.ingress {
        cluster.apply(&owner.own(ingress)).await?;
    }
    let monitoring = plan.monitoring.into_iter().filter(|_| ctx.kinds.monitoring);
    for Foreign { kind, object } in plan.route.into_iter().chain(monitoring) {
        let object = owner.own(object);
        cluster.apply_foreign(&Foreign { kind, object }).await?;
    }
    let is_autoscaled = plan.autoscaler.is_some();
    if is_autoscaled {
        release_replicas(ctx, &plan.api).await?;
    }
    let api = cluster.apply_over(&owner.own(plan.api)).await?;
    if let Some(autoscaler) = plan.autoscaler {
        cluster.apply(&owner.own(autoscaler)).await?;
    }
    let least = i32::try_from(valid.worker_range.min).unwrap_or(i32::MAX);
    let worker = cluster.apply_over(&owner.own(plan.worker)).await?;
    let mut rolled_api = examine(ctx, &api.now, addresses).await?;
    if !is_autoscaled {
        rolled_api.contest = contest(ctx, &valid.id, Component::Api, 1, &api).await?;
    }
    let mut rolled_worker = examine(ctx, &worker.now, addresses).await?;
    rolled_worker.contest = contest(ctx, &valid.id, Component::Worker, least, &worker).await?;
    Ok(Rolled {
        api: Some(rolled_api),
        worker: Some(rolled_worker),
    })
}

/// Leaves them as they are, and looks.
pub(super) async fn leave(ctx: &Context, id: &NestId) -> Result<Rolled, ClusterError> {
    let look = async |component| {
        let found = ctx
            .cluster
            .read::<Deployment>(id.namespace(), &id.child(component))
            .await?;
        Ok::<_, ClusterError>(found.as_ref().map(Rollout::from))
    };
    Ok(Rolled {
        api: look(Component::Api).await?,
        worker: look(Component::Worker).await?,
    })
}

/// A field that nobody owns any more falls back to its default: without this, an API whose replicas are handed to an
/// autoscaler would shrink to one pod first.
async fn release_replicas(ctx: &Context, api: &Deployment) -> Result<(), ClusterError> {
    let (namespace, name) = (api.namespace().unwrap_or_default(), api.name_any());
    let Some(found) = ctx.cluster.read::<Deployment>(&namespace, &name).await? else {
        return Ok(());
    };
    let Some(replicas) = found.spec.as_ref().and_then(|spec| spec.replicas) else {
        return Ok(());
    };
    if ours(&found).into_iter().any(owns_replicas) {
        ctx.cluster
            .scale::<Deployment>(&namespace, &name, replicas)
            .await?;
    }
    Ok(())
}

/// How far a Deployment is and, when its pods are not ready, why.
async fn examine(
    ctx: &Context,
    deployment: &Deployment,
    addresses: &Addresses,
) -> Result<Rollout, ClusterError> {
    let mut rollout = Rollout::from(deployment);
    if rollout.is_complete() && rollout.is_full() {
        return Ok(rollout);
    }
    if let Some(refused) = refusal(deployment) {
        rollout.trouble = Some(Why::waiting("PodsRefused", refused));
        return Ok(rollout);
    }
    let labels = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.match_labels.clone())
        .unwrap_or_default();
    let namespace = deployment.namespace().unwrap_or_default();
    let pods = ctx.cluster.list::<Pod>(&namespace, &selector(&labels)).await?;
    rollout.trouble = match pods::trouble(&pods) {
        Some(trouble) => Some(Why::stuck("PodsCannotStart", trouble)),
        None => unreachable(addresses).await,
    };
    Ok(rollout)
}

/// The pods become ready when they have reached every backend once, so one that nobody can reach is the likely reason.
async fn unreachable(addresses: &Addresses) -> Option<Why> {
    let backends = [
        ("RedisUnreachable", "redis", addresses.redis.as_ref(), 6379),
        (
            "PostgresUnreachable",
            "postgres",
            addresses.postgres.as_ref(),
            5432,
        ),
    ];
    for (reason, field, address, port) in backends {
        if let Some(address) = address
            && let Err(trouble) = probe(address, port).await
        {
            let message =
                format!("{trouble}: start it, or correct the address that spec.{field}.urlFrom names");
            return Some(Why::waiting(reason, message));
        }
    }
    None
}

/// Hands the nest over to scaling, as soon as there are workers and streams.
pub(super) fn hand_over(
    ctx: &Context,
    nest: &BirbNest,
    valid: &ValidNest,
    log: Option<Log>,
    facts: &Facts,
    worker: Option<&Rollout>,
) {
    let (Some(log), Some(worker)) = (log, worker) else {
        return;
    };
    ctx.targets.follow(Target {
        id: valid.id.clone(),
        about: about(nest),
        log: log.js,
        streams: valid.settings.stream.clone(),
        layout: log.layout,
        rule: rule(valid, facts),
        deployment: valid.id.child(Component::Worker),
        replicas: u32::try_from(worker.desired).unwrap_or(0),
        ready: u32::try_from(worker.ready).unwrap_or(0),
    });
}

fn rule(valid: &ValidNest, facts: &Facts) -> Rule {
    let range = &valid.worker_range;
    let postgres = facts.postgres.as_ref().and_then(|answer| answer.told.as_ref());
    Rule {
        affordable: postgres.map(|postgres| valid.workers_within(postgres.connections)),
        min: range.min,
        max: range.max,
        target_queue_depth: range.target_queue_depth,
        drain_target: range.drain_target,
        stabilization: range.scale_down_stabilization,
    }
}
