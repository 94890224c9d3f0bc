//! The definition that is installed: up to date, complete for `kubectl explain`, and in step with the configuration
//! that the processes accept.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::fs;

use birbnest_core::config::Config;
use garde::Validate;
use kube_cel::apply_defaults;
use serde_json::{Value, json};

/// Where a value stands in the resource's spec and in the configuration file.
const SHARED: &[(&str, &str)] = &[
    ("/cache/defaultTtl", "/cache/defaultTtl"),
    ("/cache/negativeTtl", "/cache/negativeTtl"),
    ("/cache/maxValueBytes", "/cache/maxValueBytes"),
    ("/cache/writeMode", "/cache/writeMode"),
    ("/cache/onQueueOutage", "/cache/onQueueOutage"),
    ("/cache/durability", "/cache/durability"),
    ("/cache/prime/onStart", "/cache/prime/onStart"),
    ("/cache/prime/prefix", "/cache/prime/prefix"),
    ("/cache/prime/limit", "/cache/prime/limit"),
    ("/cache/prime/order", "/cache/prime/order"),
    ("/nats/stream/partitions", "/stream/partitions"),
    ("/nats/stream/replicas", "/stream/replicas"),
    ("/nats/stream/maxMessages", "/stream/maxMessages"),
    ("/nats/stream/maxBytes", "/stream/maxBytes"),
    ("/nats/stream/horizon", "/stream/horizon"),
    ("/postgres/maxConnections", "/postgres/maxConnections"),
    ("/postgres/schema", "/postgres/schema"),
    ("/api/maxConcurrentRequests", "/api/maxConcurrentRequests"),
    ("/api/maxBytesInProgress", "/api/maxBytesInProgress"),
    ("/api/maxConnections", "/api/maxConnections"),
    ("/api/requestTimeout", "/api/requestTimeout"),
    ("/worker/batch/size", "/worker/batch/size"),
    ("/worker/batch/wait", "/worker/batch/wait"),
    ("/worker/batch/adaptive", "/worker/batch/adaptive"),
    ("/worker/concurrency", "/worker/concurrency"),
    ("/worker/maxBytesInProgress", "/worker/maxBytesInProgress"),
    ("/worker/retry/maxAttempts", "/worker/retry/maxAttempts"),
    ("/worker/retry/backoff", "/worker/retry/backoff"),
    ("/log/level", "/log/level"),
    ("/log/format", "/log/format"),
];

#[test]
fn the_committed_definition_is_the_generated_one() {
    let committed = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/birbnests.birbnest.dev.yaml"
    ));
    let generated = birbnest_crds::manifest().unwrap();
    assert!(
        committed.unwrap() == generated,
        "run `make crds` and commit what it writes"
    );
}

#[test]
fn every_field_of_the_spec_is_described() {
    let mut silent = Vec::new();
    undescribed(&spec(), "spec", &mut silent);
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn no_format_is_one_that_the_api_server_does_not_know() {
    let text = definition().to_string();
    for format in ["uint", "int8", "int16", "\"float\""] {
        assert!(!text.contains(&format!("\"format\":\"{format}")), "{format}");
    }
}

#[test]
fn defaults_are_those_of_the_configuration() {
    let config = serde_json::to_value(Config::default()).unwrap();
    let spec = apply_defaults(&spec(), &json!({ "nats": {}, "postgres": {} }));
    for (ours, theirs) in SHARED {
        assert_eq!(spec.pointer(ours), config.pointer(theirs), "{ours}");
        assert!(spec.pointer(ours).is_some(), "{ours}");
    }
}

#[test]
fn bounds_are_those_of_the_configuration() {
    for (ours, theirs) in SHARED {
        for (value, allowed) in edges(&schema_of(ours)) {
            assert_eq!(accepts(theirs, &value), allowed, "{theirs}: {value}");
        }
    }
}

fn definition() -> Value {
    serde_json::to_value(birbnest_crds::definition().unwrap()).unwrap()
}

fn spec() -> Value {
    definition()
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .unwrap()
        .clone()
}

fn schema_of(field: &str) -> Value {
    let path = field.replace('/', "/properties/");
    spec()
        .pointer(&path)
        .unwrap_or_else(|| panic!("no {field}"))
        .clone()
}

fn undescribed(schema: &Value, path: &str, silent: &mut Vec<String>) {
    if schema["description"].as_str().is_none_or(str::is_empty) {
        silent.push(path.to_owned());
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        undescribed(field, &format!("{path}.{name}"), silent);
    }
}

/// Values at and just beyond what a field's schema allows.
fn edges(schema: &Value) -> Vec<(Value, bool)> {
    if let (Some(least), Some(most)) = (whole(&schema["minimum"]), whole(&schema["maximum"])) {
        return vec![
            (json!(least), true),
            (json!(most), true),
            (json!(least - 1), false),
            (json!(most + 1), false),
        ];
    }
    let rule = schema["x-kubernetes-validations"][0]["rule"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let periods: Vec<&str> = rule.split('\'').skip(1).step_by(2).collect();
    match periods.as_slice() {
        [_, least, most] if rule.contains("duration(self)") => {
            let mut edges = vec![
                (json!(least), true),
                (json!(most), true),
                (json!(format!("{most}1ms")), false),
            ];
            if *least != "1ms" {
                edges.push((json!("1ms"), false));
            }
            edges
        }
        _ => Vec::new(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "bounds are whole numbers far below 2^53"
)]
fn whole(bound: &Value) -> Option<i64> {
    bound.as_f64().map(|bound| bound as i64)
}

fn accepts(field: &str, value: &Value) -> bool {
    let mut config = serde_json::to_value(Config::default()).unwrap();
    *config.pointer_mut(field).unwrap() = value.clone();
    serde_json::from_value::<Config>(config).is_ok_and(|config| config.validate().is_ok())
}
