//! The fourth stage: rolls a plan out, in its order, and keeps what was answered.
//!
//! ```text
//! backends that the operator runs ─► configuration, accounts ─► streams ─► migration ─► pods ─► orphans go
//! ```
//! Nothing after the migration can be called without [`Migrated`], which only a completed Job gives: a failed migration
//! leaves the old pods as they are.

mod contest;
mod managed;
mod migration;
mod orphans;
mod owner;
mod streams;
mod workloads;

use std::sync::Arc;

use birbnest_core::Layout;
use birbnest_crds::BirbNest;
use birbnest_stores::jetstream::provision::Provisioned;
use k8s_openapi::api::core::v1::ConfigMap;

use super::{
    build::{ConfigStage, Plan},
    dereference::Addresses,
    facts::{Rollout, Step, Why},
    validate::ValidNest,
};
use crate::{cluster::ClusterError, context::Context, posture::Facts};

pub(super) use managed::Backends;
pub(super) use migration::{Migrated, drop_schema};
pub(super) use owner::Owner;
pub(super) use streams::{Log, open};

/// What was answered. Only [`apply`] makes one.
pub(super) struct Applied {
    pub(super) backends: Backends,
    pub(super) streams: Step<Vec<Provisioned>>,
    pub(super) migration: Step<Migrated>,
    pub(super) api: Option<Rollout>,
    pub(super) worker: Option<Rollout>,
    pub(super) api_is_autoscaled: bool,
    pub(super) replicas_of_the_log: u8,
    /// The partitions, if NATS could be asked.
    pub(super) layout: Option<Layout>,
    /// What the backends that the operator does not run say of themselves.
    pub(super) facts: Arc<Facts>,
    /// Connections to PostgreSQL that all pods may open together.
    pub(super) connections: i64,
    pub(super) endpoint: String,
}

/// Rolls the plan out as far as it goes now.
pub(super) async fn apply(
    ctx: &Context,
    nest: &BirbNest,
    valid: &ValidNest,
    plan: Plan,
    addresses: &Addresses,
) -> Result<Applied, ClusterError> {
    let owner = Owner::of(nest);
    let planned = orphans::planned(&plan);
    let Plan {
        managed,
        config,
        streams: wanted,
        migration,
        workloads,
    } = plan;
    let backends = managed::apply(&ctx.cluster, &owner, &valid.id, managed).await?;
    if let Some(wanted) = &config.api_keys {
        managed::keep_api_keys(&ctx.cluster, &valid.id, wanted).await?;
    }
    let config_map = apply_config(ctx, &owner, config).await?;
    let (log, streams) = streams::apply(ctx, nest, &valid.id, &wanted, addresses, &backends).await;
    let layout = log.as_ref().map(|log| log.layout);
    // The migration's pod starts only where it can succeed; one that has completed needs nothing any more.
    let ready = backends
        .all_ready()
        .and(streams.as_ref().map(|_| ()).map_err(Clone::clone));
    let migration = migration::apply(&ctx.cluster, &owner, migration, ready, &config_map).await?;
    let autoscaled = workloads.autoscaler.is_some();
    let rolled = match &migration {
        Ok(migrated) => workloads::apply(ctx, &owner, valid, workloads, migrated, addresses).await?,
        Err(_) => workloads::leave(ctx, &valid.id).await?,
    };
    orphans::remove(ctx, nest, &planned, rolled.is_complete(&migration)).await?;
    let facts = posture(ctx, valid, addresses).await;
    workloads::hand_over(ctx, nest, valid, log, &facts, rolled.worker.as_ref());
    Ok(Applied {
        facts,
        connections: valid.most_connections(),
        backends,
        streams,
        migration,
        api: rolled.api,
        worker: rolled.worker,
        api_is_autoscaled: autoscaled,
        replicas_of_the_log: wanted.replicas,
        layout,
        endpoint: valid.endpoint(),
    })
}

/// What the pods mount and run as; needed before any pod is.
pub(super) async fn apply_config(
    ctx: &Context,
    owner: &Owner,
    config: ConfigStage,
) -> Result<ConfigMap, ClusterError> {
    for account in config.service_accounts {
        ctx.cluster.apply(&owner.own(account)).await?;
    }
    for policy in config.network_policies {
        ctx.cluster.apply(&owner.own(policy)).await?;
    }
    ctx.cluster.apply(&owner.own(config.config_map)).await
}

/// What scaling needs of a nest that is being deleted.
pub(super) fn follow(ctx: &Context, nest: &BirbNest, valid: &ValidNest, log: Log, worker: &Rollout) {
    workloads::hand_over(ctx, nest, valid, Some(log), &Facts::default(), Some(worker));
}

async fn posture(ctx: &Context, valid: &ValidNest, addresses: &Addresses) -> Arc<Facts> {
    let (postgres, redis) = (addresses.postgres.as_deref(), addresses.redis.as_deref());
    ctx.postures
        .of(&valid.id, postgres, redis, &valid.settings.postgres)
        .await
}

/// Nothing else to say than that it waits for what comes before it.
fn held(by: &Why) -> Why {
    Why {
        reason: by.reason,
        message: by.message.clone(),
        passes: by.passes,
    }
}
