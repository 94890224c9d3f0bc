//! The Jobs that bring the schema to a version, and at the end remove it.

use birbnest_crds::ResourcesSpec;
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

/// The migration.
pub(super) fn migration(nest: &ValidNest, files: &Files) -> serde_json::Result<Migration> {
    Ok(Migration {
        job: job(nest, files, &[], "")?,
        schema_version: nest.release.schema_version,
    })
}

/// The Job that drops the schema with all entries in it.
pub(super) fn removal(nest: &ValidNest, files: &Files) -> serde_json::Result<Job> {
    job(nest, files, &["--drop-schema"], "-drop")
}

fn shape(arguments: &'static [&'static str]) -> Shape {
    Shape {
        component: Component::Migrate,
        resources: pod::resources_or(&ResourcesSpec::default(), "50m", "64Mi", Some("512Mi")),
        arguments,
        port: None,
        mounts: vec![],
        pre_stop_seconds: None,
        grace_seconds: 30,
        // Each attempt is a pod of its own, whose last words stay readable.
        restart_policy: Some("Never"),
    }
}

/// A Job cannot be changed, so its name has a digest of all that decides what it does and whether it can: image, schema
/// version, configuration, addresses, and where its pod may run.
fn job(
    nest: &ValidNest,
    files: &Files,
    arguments: &'static [&'static str],
    suffix: &str,
) -> serde_json::Result<Job> {
    let template = pod::template(nest, files, &shape(arguments));
    let digits = digits(&template, nest.release.schema_version)?;
    let name = format!("{}-{digits}{suffix}", nest.id.child(Component::Migrate));
    Ok(Job {
        metadata: metadata::named(&nest.id, Component::Migrate, name),
        spec: Some(JobSpec {
            // A database that is just starting is worth a few attempts; one that refuses is not worth many.
            backoff_limit: Some(3),
            active_deadline_seconds: Some(600),
            template,
            ..JobSpec::default()
        }),
        status: None,
    })
}

fn digits(template: &PodTemplateSpec, schema_version: i64) -> serde_json::Result<String> {
    let inputs = serde_json::to_string(&(template, schema_version))?;
    Ok(Digest::of(inputs.as_bytes())
        .as_str()
        .chars()
        .take(NAME_DIGITS)
        .collect())
}
