//! The stages of a reconciliation, in the order in which an object passes them.

mod apply;
pub mod build;
mod dereference;
mod facts;
mod finalizer;
#[cfg(test)]
pub(crate) mod fixtures;
mod pods;
mod status;
pub mod validate;

use std::{sync::Arc, time::Instant};

use birbnest_crds::BirbNest;
use kube::{Resource, ResourceExt, runtime::controller::Action};

use crate::{
    GuardedNest,
    context::{Context, SharedContext},
    error::{ReconcileError, Retry},
};

pub use build::BuildError;
pub use validate::{Category, Digest, Images, Invalid, NestId, Release};

/// Failures in a row that pass by themselves before the status speaks of them.
const TOLERATED: u32 = 3;

/// Brings the cluster one step closer to what the object asks for.
///
/// # Errors
/// What [`failed`] decides about.
pub async fn reconcile(nest: Arc<GuardedNest>, ctx: SharedContext) -> Result<Action, ReconcileError> {
    if !ctx.cluster.may_write() {
        return Ok(Action::await_change());
    }
    let started = Instant::now();
    let outcome = course(&nest, &ctx).await;
    let label = outcome.as_ref().map_or_else(ReconcileError::category, |_| "ok");
    ctx.metrics.reconciled(label, started.elapsed());
    match &outcome {
        Ok(_) => ctx.failures.forget(&id(&nest)),
        // Two writers that met, or an API server that restarts: no reason to call a nest that serves unready.
        Err(error) if !error.stalls() && ctx.failures.count(&id(&nest)) < TOLERATED => {
            let (namespace, name) = (nest.namespace().unwrap_or_default(), nest.name_any());
            tracing::info!(namespace, name, category = error.category(), %error, "tried again in a moment");
        }
        Err(error) => status::report(&ctx, &nest, error).await,
    }
    outcome
}

/// When a reconciliation that failed is tried again.
pub fn failed(nest: &GuardedNest, error: &ReconcileError, ctx: &Context) -> Action {
    match error.retry() {
        Retry::OnChange => Action::await_change(),
        Retry::After(pause) => Action::requeue(pause),
        Retry::Backoff => Action::requeue(ctx.failures.failed(&id(nest))),
    }
}

async fn course(nest: &GuardedNest, ctx: &Context) -> Result<Action, ReconcileError> {
    let is_deleted = nest.meta().deletion_timestamp.is_some();
    let nest = match &nest.0 {
        Ok(nest) => nest,
        Err(invalid) if is_deleted => return finalizer::leave_unread(ctx, nest, &invalid.error).await,
        Err(invalid) => return Err(ReconcileError::Malformed(invalid.error.clone())),
    };
    if is_deleted {
        finalizer::leave(ctx, nest).await
    } else if nest.spec.paused {
        status::pause(ctx, nest).await
    } else {
        serve(ctx, nest).await
    }
}

async fn serve(ctx: &Context, nest: &BirbNest) -> Result<Action, ReconcileError> {
    finalizer::keep(&ctx.cluster, nest).await?;
    let seen = dereference::dereference(&ctx.cluster, nest).await?;
    let valid = validate::validate(nest, &seen.secrets, &ctx.release)?;
    let plan = build::build(&valid)?;
    ctx.kinds.allow(&plan)?;
    // Consumes the plan, so nobody can report what was only intended.
    let applied = apply::apply(ctx, nest, &valid, plan, &seen.addresses).await?;
    let health = status::update_status(ctx, nest, applied).await?;
    Ok(Action::requeue(health.next_look()))
}

fn id(nest: &GuardedNest) -> NestId {
    NestId::named(&nest.namespace().unwrap_or_default(), &nest.name_any())
}
