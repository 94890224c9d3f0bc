//! The Job that brings the schema to its version before the pods that need it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::{Job, JobCondition},
    core::v1::{ConfigMap, Pod},
};
use kube::ResourceExt;

use super::{held, owner::Owner};
use crate::{
    cluster::{Cluster, ClusterError},
    reconcile::{
        build::Migration,
        facts::{Step, Why},
        pods,
    },
};

/// How long after it failed for good a migration is tried again: whoever mends the database need not touch the nest.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// The schema has this version. Only a completed Job gives one, and only with one are pods rolled out.
#[derive(Debug)]
pub(in crate::reconcile) struct Migrated {
    schema_version: i64,
}

impl Migrated {
    pub(in crate::reconcile) fn schema_version(&self) -> i64 {
        self.schema_version
    }
}

/// `ready` says whether what comes before it is there. The ConfigMap is what the Job's pod mounts.
pub(super) async fn apply(
    cluster: &Cluster,
    owner: &Owner,
    plan: Migration,
    ready: Step<()>,
    _mounted: &ConfigMap,
) -> Result<Step<Migrated>, ClusterError> {
    let done = run(cluster, owner, plan.job, ready).await?;
    Ok(done.map(|()| Migrated {
        schema_version: plan.schema_version,
    }))
}

/// Drops the schema.
pub(in crate::reconcile) async fn drop_schema(
    cluster: &Cluster,
    owner: &Owner,
    removal: Job,
) -> Result<Step<()>, ClusterError> {
    run(cluster, owner, removal, Ok(())).await
}

/// Creates the Job when it is absent, never patches it, and says how far it is.
async fn run(cluster: &Cluster, owner: &Owner, job: Job, ready: Step<()>) -> Result<Step<()>, ClusterError> {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let found = match cluster.look::<Job>(&namespace, &name).await? {
        Some(found) => found,
        None => match ready {
            Ok(()) => cluster.create(&owner.own(job)).await?,
            Err(why) => return Ok(Err(held(&why))),
        },
    };
    if condition(&found, "Complete").is_some() {
        return Ok(Ok(()));
    }
    let pods = cluster
        .list::<Pod>(&namespace, &format!("batch.kubernetes.io/job-name={name}"))
        .await?;
    if let Some(failed) = condition(&found, "Failed")
        && is_over(failed)
    {
        tracing::info!(namespace, name, "a migration that failed is tried again");
        cluster.remove::<Job>(&namespace, &name).await?;
    }
    Ok(Err(progress(&found, &pods)))
}

/// Why a Job that has not completed has not.
fn progress(job: &Job, pods: &[Pod]) -> Why {
    let attempts = job.status.as_ref().and_then(|status| status.failed).unwrap_or(0);
    if let Some(failed) = condition(job, "Failed") {
        let words = pods::last_words(pods)
            .or_else(|| failed.message.clone())
            .unwrap_or_default();
        return Why::stuck(
            "MigrationFailed",
            format!("{words} (given up after {attempts} attempts; tried again by and by)"),
        );
    }
    if let Some(words) = pods::last_words(pods) {
        // The pod may have ended before its Job has counted it.
        let attempt = attempts.max(1);
        return Why::stuck(
            "MigrationFailed",
            format!("{words} (attempt {attempt}; the next one follows)"),
        );
    }
    match pods::trouble(pods) {
        Some(trouble) => Why::stuck("MigrationCannotStart", trouble),
        None => Why::waiting(
            "MigrationRunning",
            format!("the Job {} is running", job.name_any()),
        ),
    }
}

fn condition<'a>(job: &'a Job, type_: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == type_ && condition.status == "True")
}

fn is_over(failed: &JobCondition) -> bool {
    let pause = SignedDuration::try_from(RETRY_AFTER).unwrap_or(SignedDuration::ZERO);
    failed
        .last_transition_time
        .as_ref()
        .is_none_or(|time| Timestamp::now().duration_since(time.0) >= pause)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(status: &serde_json::Value) -> Job {
        serde_json::from_value(json!({"metadata": {"name": "prices-migrate-1"}, "status": status})).unwrap()
    }

    fn failed_pod(message: &str) -> Pod {
        let state = json!({"terminated": {"exitCode": 1, "message": message}});
        let status = json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [status]}}))
            .unwrap()
    }

    #[test]
    fn a_failed_migration_says_what_the_database_said() {
        let given_up = json!({"failed": 4, "conditions": [{"type": "Failed", "status": "True"}]});
        let why = progress(
            &job(&given_up),
            &[failed_pod("permission denied for schema birbnest")],
        );
        assert_eq!((why.reason, why.passes), ("MigrationFailed", false));
        assert!(
            why.message.starts_with("permission denied for schema birbnest"),
            "{}",
            why.message
        );
    }

    #[test]
    fn a_failed_attempt_is_told_while_the_next_one_runs() {
        let why = progress(
            &job(&json!({"failed": 1, "active": 1})),
            &[failed_pod("connection refused")],
        );
        assert_eq!(why.reason, "MigrationFailed");
        assert!(why.message.contains("connection refused"), "{}", why.message);
    }

    #[test]
    fn a_running_migration_passes() {
        let why = progress(&job(&json!({"active": 1})), &[]);
        assert_eq!((why.reason, why.passes), ("MigrationRunning", true));
    }

    #[test]
    fn a_failure_is_over_after_a_while() {
        let ago = |secs| {
            let time = (Timestamp::now() - SignedDuration::from_secs(secs)).to_string();
            job(&json!({"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": time}]}))
        };
        assert!(!is_over(condition(&ago(5), "Failed").unwrap()));
        assert!(is_over(condition(&ago(60), "Failed").unwrap()));
    }
}
