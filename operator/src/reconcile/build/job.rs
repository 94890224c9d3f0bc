//! The migration Job.

use k8s_openapi::api::{
    batch::v1::{Job, JobSpec},
    core::v1::PodTemplateSpec,
};

use super::{
    Migration,
    config_map::Files,
    metadata,
    pod::{self, Shape},
};
use crate::reconcile::validate::{Component, Digest, ValidNest};

/// Digits of the digest in the name. Two migrations of one nest never meet for long: only the current one is kept.
const NAME_DIGITS: usize = 8;

/// The Job. A Job cannot be changed, so its name is a digest of all that decides what it does and whether it can: image,
/// schema version, configuration, addresses, and where its pod may run.
pub(super) fn migration(nest: &ValidNest, files: &Files) -> serde_json::Result<Migration> {
    let schema_version = nest.release.schema_version;
    let shape = Shape {
        component: Component::Migrate,
        resources: pod::resources_or(&nest.worker_resources, "50m", "64Mi", Some("512Mi")),
        port: None,
        pre_stop_seconds: None,
        grace_seconds: 30,
        // Each attempt is a pod of its own, whose last words stay readable.
        restart_policy: Some("Never"),
    };
    let template = pod::template(nest, files, &shape);
    let name = name(nest, &template, schema_version)?;
    let job = Job {
        metadata: metadata::named(&nest.id, Component::Migrate, name),
        spec: Some(JobSpec {
            // A database that is just starting is worth a few attempts; one that refuses the migration is not worth many.
            backoff_limit: Some(3),
            active_deadline_seconds: Some(600),
            template,
            ..JobSpec::default()
        }),
        status: None,
    };
    Ok(Migration { job, schema_version })
}

fn name(nest: &ValidNest, template: &PodTemplateSpec, schema_version: i64) -> serde_json::Result<String> {
    let inputs = serde_json::to_string(&(template, schema_version))?;
    let digest = Digest::of(inputs.as_bytes());
    let digits: String = digest.as_str().chars().take(NAME_DIGITS).collect();
    Ok(format!("{}-{digits}", nest.id.child(Component::Migrate)))
}
