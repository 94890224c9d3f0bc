//! The end of a nest.
//!
//! With `Retain` there is nothing to wait for: Kubernetes removes the children, streams, tables and volumes stay. With
//! `Delete` a finalizer holds the nest until its queue is drained and its data is gone:
//!
//! ```text
//! no API ─► queue empty ─► no workers ─► streams deleted ─► schema dropped ─► volumes and passwords deleted
//! ```
//! In a namespace that is being deleted itself this cannot be done: Kubernetes takes workers and Secrets away and lets nobody
//! make a Job. The nest is let go as with `Retain`, so that what is queued stays in its streams.
//!
//! Each pass goes as far as it can and starts from the beginning, so a restart in the middle changes nothing. The way
//! out for whoever cannot wait is the annotation [`FORCE`].

use std::time::Duration;

use birbnest_core::Layout;
use birbnest_crds::{BirbNest, DeletionPolicy};
use birbnest_stores::jetstream::provision::{self, ProvisionError};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::Job,
    core::v1::{ObjectReference, PersistentVolumeClaim, Pod, Secret},
};
use kube::{Resource, ResourceExt, api::ApiResource, runtime::controller::Action};
use serde_json::json;

use super::{
    apply::{self, Backends, Log, Owner},
    build::{ConfigStage, build, schema_removal},
    dereference::{Addresses, dereference, text},
    facts::{Rollout, Step, Why, selector},
    status,
    validate::{Component, NestId, ValidNest, validate},
};
use crate::{
    GuardedNest,
    cluster::{Cluster, ClusterError, Namespaced},
    context::Context,
    error::ReconcileError,
    events::{Happening, about},
};

/// The finalizer of a nest whose data is deleted with it.
pub(super) const FINALIZER: &str = "birbnest.dev/drain";
/// The annotation that ends the waiting: what is queued is then lost.
const FORCE: &str = "birbnest.dev/force-delete";

/// Looks at a nest that waits come at the beginning this soon after each other, and in the end this late: it may wait for days.
const LOOKS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// In between after this part of the time that it has waited.
const PART: u32 = 10;

/// Puts the finalizer on where the data is to be deleted, and takes it off where it is not.
pub(super) async fn keep(cluster: &Cluster, nest: &BirbNest) -> Result<(), ClusterError> {
    let wanted = nest.spec.deletion_policy == DeletionPolicy::Delete;
    if wanted == holds(nest) {
        return Ok(());
    }
    let mut finalizers = of_others(nest);
    finalizers.extend(wanted.then(|| FINALIZER.to_owned()));
    set_finalizers(cluster, nest, &finalizers).await
}

fn holds(nest: &impl ResourceExt) -> bool {
    nest.finalizers().iter().any(|name| name == FINALIZER)
}

async fn set_finalizers(
    cluster: &Cluster,
    nest: &impl ResourceExt,
    finalizers: &[String],
) -> Result<(), ClusterError> {
    // The resource version makes the API server refuse when somebody else changed the list meanwhile.
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": nest.resource_version()}});
    cluster
        .merge::<BirbNest>(&nest.namespace().unwrap_or_default(), &nest.name_any(), &patch)
        .await
}

/// One pass over a nest that is being deleted.
pub(super) async fn leave(ctx: &Context, nest: &BirbNest) -> Result<Action, ReconcileError> {
    let id = NestId::of(nest)?;
    if !holds(nest) {
        ctx.forget(&id).await;
        return Ok(Action::await_change());
    }
    let progress = if nest.spec.deletion_policy == DeletionPolicy::Retain {
        call_off(ctx, nest, &id).await
    } else if is_forced(nest) {
        force(ctx, nest, &id).await
    } else if ctx.cluster.is_ending(id.namespace()).await {
        tell_what_stays(ctx, nest, &id, Some("the namespace is being deleted")).await;
        Ok(Ok(()))
    } else {
        wind_up(ctx, nest).await
    };
    match progress? {
        Ok(()) => {
            set_finalizers(&ctx.cluster, nest, &of_others(nest)).await?;
            ctx.forget(&id).await;
            Ok(Action::await_change())
        }
        Err(why) => {
            status::leaving(ctx, nest, &with_way_out(&why.message)).await?;
            Ok(Action::requeue(next_look(waited(nest))))
        }
    }
}

/// One pass over a nest that is being deleted and cannot be read: whatever its data is, nobody knows where. So it waits until it
/// can be read, or is told not to wait.
pub(super) async fn leave_unread(
    ctx: &Context,
    nest: &GuardedNest,
    malformed: &str,
) -> Result<Action, ReconcileError> {
    let id = NestId::named(&nest.namespace().unwrap_or_default(), &nest.name_any());
    if holds(nest) {
        if !is_forced(nest) && !ctx.cluster.is_ending(id.namespace()).await {
            let error = ReconcileError::Malformed(with_way_out(malformed));
            status::report(ctx, nest, &error).await;
            // Its namespace may be deleted later, of which nobody tells.
            return Ok(Action::requeue(LOOKS.1));
        }
        tell_left_behind(
            ctx,
            &about(nest),
            "whatever its spec names, which could not be read",
        )
        .await;
        set_finalizers(&ctx.cluster, nest, &of_others(nest)).await?;
    }
    ctx.forget(&id).await;
    Ok(Action::await_change())
}

fn of_others(nest: &impl ResourceExt) -> Vec<String> {
    let others = nest.finalizers().iter().filter(|name| *name != FINALIZER);
    others.cloned().collect()
}

/// Since its deletion was asked for.
fn waited(nest: &BirbNest) -> Duration {
    let since = nest.meta().deletion_timestamp.as_ref();
    since
        .and_then(|since| Timestamp::now().duration_since(since.0).try_into().ok())
        .unwrap_or_default()
}

fn next_look(waited: Duration) -> Duration {
    let (soonest, latest) = LOOKS;
    (waited / PART).clamp(soonest, latest)
}

fn is_forced(nest: &impl ResourceExt) -> bool {
    nest.annotations().get(FORCE).is_some_and(|value| value == "true")
}

fn with_way_out(why: &str) -> String {
    format!("{why}; to delete without waiting, losing what is queued, set the annotation {FORCE}: \"true\"")
}

/// It was changed to `Retain` while it waited: whatever is left stays, also what a Job was about to take away.
async fn call_off(ctx: &Context, nest: &BirbNest, id: &NestId) -> Result<Step<()>, ReconcileError> {
    let jobs = ApiResource::erase::<Job>(&());
    let children = ctx.children.of(id.namespace(), &nest.uid().unwrap_or_default());
    for job in children.iter().filter(|child| child.resource == jobs) {
        ctx.cluster
            .delete(&jobs, id.namespace(), &job.name, job.uid.as_deref())
            .await?;
    }
    let pods = ctx
        .cluster
        .list::<Pod>(id.namespace(), &selector(&id.selector(Component::Migrate)))
        .await?;
    if pods.iter().any(|pod| !has_ended(pod)) {
        return Ok(Err(Why::waiting(
            "Deleting",
            "waiting for the last Job to end, which may be dropping the schema",
        )));
    }
    tell_what_stays(ctx, nest, id, Some("spec.deletionPolicy is Retain")).await;
    Ok(Ok(()))
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Deletes what can be reached, and waits for nothing.
async fn force(ctx: &Context, nest: &BirbNest, id: &NestId) -> Result<Step<()>, ReconcileError> {
    let seen = dereference(&ctx.cluster, nest).await?;
    let deleted = match validate(nest, &seen.secrets, &ctx.release) {
        Ok(valid) => {
            let backends = managed_backends(ctx, id).await?;
            match apply::open(ctx, id, &seen.addresses, &backends).await {
                Ok(log) => provision::delete(&log, &valid.settings.stream)
                    .await
                    .map_err(|error| error.to_string()),
                Err(why) => Err(why.message),
            }
        }
        Err(invalid) => Err(invalid.to_string()),
    };
    tell_what_stays(ctx, nest, id, deleted.as_ref().err().map(String::as_str)).await;
    delete_volumes(&ctx.cluster, id).await?;
    Ok(Ok(()))
}

/// Says which data stays in backends that are not the nest's own. The streams stay only if `streams_because` says why.
async fn tell_what_stays(ctx: &Context, nest: &BirbNest, id: &NestId, streams_because: Option<&str>) {
    let mut left = Vec::new();
    if nest.spec.nats.managed.is_none()
        && let Some(because) = streams_because
    {
        let prefix = id.stream_prefix();
        left.push(format!("the streams {prefix}_* in NATS ({because})"));
    }
    if nest.spec.postgres.managed.is_none() {
        left.push(format!("the schema {} in PostgreSQL", nest.spec.postgres.schema));
    }
    if left.is_empty() {
        return;
    }
    tell_left_behind(ctx, &about(nest), &left.join(", and ")).await;
}

async fn tell_left_behind(ctx: &Context, nest: &ObjectReference, left: &str) {
    tracing::warn!(
        namespace = nest.namespace,
        name = nest.name,
        left,
        "data stays behind"
    );
    let happening = Happening {
        warning: true,
        reason: "DataLeftBehind".to_owned(),
        action: "Delete".to_owned(),
        note: format!("{left}: drop what is not wanted, or the next nest of this name finds it"),
    };
    ctx.events.tell(nest, happening).await;
}

async fn wind_up(ctx: &Context, nest: &BirbNest) -> Result<Step<()>, ReconcileError> {
    let seen = dereference(&ctx.cluster, nest).await?;
    let valid = match validate(nest, &seen.secrets, &ctx.release) {
        Ok(valid) => valid,
        Err(invalid) => return Ok(Err(Why::waiting(invalid.reason(), invalid.to_string()))),
    };
    let (plan, removal) = (build(&valid)?, schema_removal(&valid)?);
    if !is_wound_up(&ctx.cluster, &valid).await?
        && let Err(why) = drain(ctx, nest, &valid, &seen.addresses).await?
    {
        return Ok(Err(why));
    }
    if let Err(why) = drop_tables(ctx, nest, &valid, plan.config, removal).await? {
        return Ok(Err(why));
    }
    for component in [Component::Redis, Component::Nats, Component::Postgres] {
        remove_own::<StatefulSet>(&ctx.cluster, nest, &valid.id, component).await?;
    }
    delete_volumes(&ctx.cluster, &valid.id).await?;
    Ok(Ok(()))
}

/// Whether an earlier pass came to the end of the queue, and took away the NATS that it was in: workers go when it is empty, and
/// the server after them.
async fn is_wound_up(cluster: &Cluster, valid: &ValidNest) -> Result<bool, ClusterError> {
    let id = &valid.id;
    if !valid.backends.nats.is_managed() {
        return Ok(false);
    }
    let (worker, nats) = (id.child(Component::Worker), id.child(Component::Nats));
    Ok(cluster
        .read::<Deployment>(id.namespace(), &worker)
        .await?
        .is_none()
        && cluster
            .read::<StatefulSet>(id.namespace(), &nats)
            .await?
            .is_none())
}

/// No API, then an empty queue, then no workers, then no streams.
async fn drain(
    ctx: &Context,
    nest: &BirbNest,
    valid: &ValidNest,
    addresses: &Addresses,
) -> Result<Step<()>, ReconcileError> {
    let (id, cluster) = (&valid.id, &ctx.cluster);
    remove_own::<HorizontalPodAutoscaler>(cluster, nest, id, Component::Api).await?;
    if let Err(why) = retire(cluster, nest, id, Component::Api).await? {
        return Ok(Err(why));
    }
    let log = match apply::open(ctx, id, addresses, &managed_backends(ctx, id).await?).await {
        Ok(log) => log,
        Err(why) => return Ok(Err(why)),
    };
    let streams = &valid.settings.stream;
    let layout = match provision::layout(&log, streams).await {
        Ok(layout) => layout.unwrap_or_else(|| Layout::of_new_nest(streams.partitions)),
        Err(error) => return Ok(Err(undrained(&error))),
    };
    match provision::whole_backlog(&log, streams).await {
        Ok(0) => {}
        Ok(left) => {
            let worker = cluster
                .read::<Deployment>(id.namespace(), &id.child(Component::Worker))
                .await?;
            let Some(worker) = worker.as_ref().map(Rollout::from) else {
                let message =
                    format!("{left} writes are queued, and there are no workers that could persist them");
                return Ok(Err(Why::waiting("Draining", message)));
            };
            apply::follow(ctx, nest, valid, Log { js: log, layout }, &worker);
            let message = format!("waiting until the workers have persisted {left} queued writes");
            return Ok(Err(Why::waiting("Draining", message)));
        }
        Err(error) => return Ok(Err(undrained(&error))),
    }
    ctx.targets.forget(id);
    if let Err(why) = retire(cluster, nest, id, Component::Worker).await? {
        return Ok(Err(why));
    }
    let deleted = provision::delete(&log, streams).await;
    Ok(deleted.map_err(|error| undrained(&error)))
}

fn undrained(error: &ProvisionError) -> Why {
    Why::waiting(error.reason(), error.to_string())
}

/// Deletes a Deployment and waits until the last of its pods is gone.
async fn retire(
    cluster: &Cluster,
    nest: &BirbNest,
    id: &NestId,
    component: Component,
) -> Result<Step<()>, ClusterError> {
    remove_own::<Deployment>(cluster, nest, id, component).await?;
    let pods = cluster
        .list::<Pod>(id.namespace(), &selector(&id.selector(component)))
        .await?;
    if pods.is_empty() {
        return Ok(Ok(()));
    }
    let message = format!(
        "waiting for {} pods of {} to end",
        pods.len(),
        id.child(component)
    );
    Ok(Err(Why::waiting("Draining", message)))
}

/// Deletes a child, and nothing that somebody else made under its name.
async fn remove_own<K: Namespaced>(
    cluster: &Cluster,
    nest: &BirbNest,
    id: &NestId,
    component: Component,
) -> Result<(), ClusterError> {
    let (resource, name) = (ApiResource::erase::<K>(&()), id.child(component));
    match cluster.read::<K>(id.namespace(), &name).await? {
        Some(found) if is_child(&found, nest, id) => {
            let uid = found.uid();
            cluster
                .delete(&resource, id.namespace(), &name, uid.as_deref())
                .await
        }
        _ => Ok(()),
    }
}

/// Of one that was orphaned (`kubectl delete --cascade=orphan`) the labels still say whose it was.
fn is_child(found: &impl ResourceExt, nest: &BirbNest, id: &NestId) -> bool {
    let (uid, owners) = (nest.uid(), found.owner_references());
    let is_orphan = owners.is_empty() && is_ours(found, id);
    is_orphan || owners.iter().any(|owner| Some(&owner.uid) == uid.as_ref())
}

/// The tables of a PostgreSQL that the operator runs go with their volume.
async fn drop_tables(
    ctx: &Context,
    nest: &BirbNest,
    valid: &ValidNest,
    config: ConfigStage,
    removal: Job,
) -> Result<Step<()>, ClusterError> {
    if valid.backends.postgres.is_managed() {
        return Ok(Ok(()));
    }
    let owner = Owner::of(nest);
    apply::apply_config(ctx, &owner, config).await?;
    let dropped = apply::drop_schema(&ctx.cluster, &owner, removal).await?;
    Ok(dropped.map_err(|why| Why {
        message: format!("waiting for the schema to be dropped: {}", why.message),
        ..why
    }))
}

/// What is needed to reach a managed NATS, without touching it.
async fn managed_backends(ctx: &Context, id: &NestId) -> Result<Backends, ClusterError> {
    let secret = ctx
        .cluster
        .read::<Secret>(id.namespace(), &id.credentials())
        .await?;
    Ok(Backends::known(
        secret.as_ref().and_then(|secret| text(secret, "nats-url")),
    ))
}

/// The volumes of managed backends, the passwords that only they need, and the API key that was made.
async fn delete_volumes(cluster: &Cluster, id: &NestId) -> Result<(), ClusterError> {
    let ours = selector(&id.selector_of_all());
    for claim in cluster
        .list::<PersistentVolumeClaim>(id.namespace(), &ours)
        .await?
    {
        cluster
            .remove::<PersistentVolumeClaim>(id.namespace(), &claim.name_any())
            .await?;
    }
    for name in [id.credentials(), id.child(Component::ApiKeys)] {
        // A Secret of that name that somebody else made is not ours to delete.
        if let Some(secret) = cluster.read::<Secret>(id.namespace(), &name).await?
            && is_ours(&secret, id)
        {
            cluster.remove::<Secret>(id.namespace(), &name).await?;
        }
    }
    Ok(())
}

fn is_ours(found: &impl ResourceExt, id: &NestId) -> bool {
    id.selector_of_all()
        .iter()
        .all(|(key, value)| found.labels().get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::SignedDuration};

    use super::*;
    use crate::reconcile::fixtures;

    #[test]
    fn only_the_word_true_forces() {
        let mut nest = fixtures::managed();
        assert!(!is_forced(&nest));
        nest.annotations_mut()
            .insert(FORCE.to_owned(), "false".to_owned());
        assert!(!is_forced(&nest));
        nest.annotations_mut().insert(FORCE.to_owned(), "true".to_owned());
        assert!(is_forced(&nest));
    }

    #[test]
    fn a_nest_that_waits_for_long_is_looked_at_less_often() {
        let looks = [0, 60, 10_000].map(|waited| next_look(Duration::from_secs(waited)).as_secs());
        assert_eq!(looks, [2, 6, 30]);
        let mut nest = fixtures::managed();
        assert_eq!(waited(&nest), Duration::ZERO);
        nest.metadata.deletion_timestamp = Some(Time(Timestamp::now() - SignedDuration::from_mins(5)));
        assert!(waited(&nest) >= Duration::from_mins(5));
        nest.metadata.deletion_timestamp = Some(Time(Timestamp::now() + SignedDuration::from_mins(5)));
        assert_eq!(waited(&nest), Duration::ZERO, "two clocks");
    }

    #[test]
    fn what_is_waited_for_names_the_way_out() {
        let told = with_way_out("waiting until the workers have persisted 7 queued writes");
        assert!(
            told.starts_with("waiting until") && told.contains("birbnest.dev/force-delete: \"true\""),
            "{told}"
        );
    }
}
