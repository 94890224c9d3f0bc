//! BirbNest on a real Kubernetes, with the operator installed by its chart.
#![allow(
    clippy::unwrap_used,
    reason = "the steps of a story fail it like the story itself"
)]

mod access;
mod admission;
mod backlog;
mod bad_resources;
mod changes;
mod charts;
mod contests;
mod deletion;
mod ending;
mod first_minute;
mod gitops;
mod leader;
mod limits;
mod migration;
mod monitoring;
mod namespaces;
mod network_policies;
mod operator_faults;
mod plugin;
mod posture;
mod repair;
mod rollout;
mod spike;

use birbnest_e2e::cluster::Backends;
use serde_json::{Value, json};

/// A spec with backends outside the cluster, and what a story adds to it.
fn external(more: &Value) -> Value {
    let mut spec = Backends::spec();
    merge(&mut spec, more);
    spec
}

/// One API pod and one worker: enough for most stories, and quickly there.
fn small() -> Value {
    external(&json!({
        "api": { "replicas": 1 },
        "worker": { "autoscaling": { "min": 1, "max": 1 } },
    }))
}

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}
