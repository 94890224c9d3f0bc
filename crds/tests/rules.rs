//! The rules that the API server enforces, evaluated here without one: what is refused, and with which sentence.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on ends")]

use kube_cel::Validator;
use serde_json::{Value, json};

#[test]
fn the_smallest_nests_are_accepted() {
    assert_eq!(refusals(&managed()), Vec::<String>::new());
    assert_eq!(refusals(&external()), Vec::<String>::new());
}

#[test]
fn each_backend_is_given_exactly_once() {
    let mut nest = managed();
    nest["spec"]["redis"] = json!({});
    nest["spec"]["nats"] = json!({ "url": "nats://nats:4222", "managed": {} });
    nest["spec"]["postgres"]["urlFrom"] = secret("postgres-url");
    assert_eq!(
        refusals(&nest),
        [
            "spec.nats takes exactly one of url, urlFrom and managed",
            "spec.postgres takes exactly one of urlFrom and managed",
            "spec.redis takes exactly one of urlFrom and managed",
        ]
    );
}

#[test]
fn an_address_of_nats_is_one_and_holds_no_password() {
    for url in ["nats://a:4222", "tls://a", "nats://a:4222,nats://b:4222"] {
        assert_eq!(
            refusals(&with("/nats/url", json!(url), external())),
            Vec::<String>::new(),
            "{url}"
        );
    }
    for url in ["", "a:4222", "http://a", "nats://", "nats://a,b", "nats://a/path"] {
        let refused = refusals(&with("/nats/url", json!(url), external()));
        assert!(
            refused[0].starts_with("spec.nats.url must be one or more addresses"),
            "{url}: {refused:?}"
        );
    }
    let refused = refusals(&with("/nats/url", json!("nats://me:secret@a:4222"), external()));
    assert!(refused[0].contains("spec.nats.urlFrom"), "{refused:?}");
}

#[test]
fn a_number_of_api_pods_has_one_author() {
    assert_eq!(
        refusals(&with("/api", json!({ "autoscaling": { "max": 4 } }), managed())),
        Vec::<String>::new()
    );
    let both = json!({ "replicas": 3, "autoscaling": { "max": 4 } });
    let refused = refusals(&with("/api", both, managed()));
    assert!(
        refused[0].starts_with("spec.api takes replicas or autoscaling, not both"),
        "{refused:?}"
    );
    let crossed = json!({ "autoscaling": { "min": 5, "max": 4 } });
    let refused = refusals(&with("/api", crossed, managed()));
    assert_eq!(
        refused,
        ["spec.api.autoscaling.min must not be above spec.api.autoscaling.max"]
    );
}

#[test]
fn workers_have_a_range() {
    let refused = refusals(&with(
        "/worker",
        json!({ "autoscaling": { "min": 9 } }),
        managed(),
    ));
    assert_eq!(
        refused,
        ["spec.worker.autoscaling.min must not be above spec.worker.autoscaling.max"]
    );
    assert_eq!(
        refusals(&with(
            "/worker",
            json!({ "autoscaling": { "min": 0, "max": 1 } }),
            managed()
        )),
        Vec::<String>::new()
    );
}

#[test]
fn a_period_out_of_bounds_is_told_its_bounds() {
    for (field, value, bounds) in [
        (
            "/cache",
            json!({ "defaultTtl": "999ms" }),
            "spec.cache.defaultTtl must be between 1s and 720h",
        ),
        (
            "/cache",
            json!({ "negativeTtl": "61m" }),
            "spec.cache.negativeTtl must be between 100ms and 1h",
        ),
        (
            "/api",
            json!({ "requestTimeout": "2m" }),
            "spec.api.requestTimeout must be between 100ms and 1m",
        ),
        (
            "/worker",
            json!({ "batch": { "wait": "0s" } }),
            "spec.worker.batch.wait must be between 1ms and 1m",
        ),
        (
            "/worker",
            json!({ "retry": { "backoff": "31s" } }),
            "spec.worker.retry.backoff must be between 10ms and 30s",
        ),
    ] {
        let refused = refusals(&with(field, value, managed()));
        assert!(
            refused.len() == 1 && refused[0].starts_with(bounds),
            "{refused:?}"
        );
    }
}

#[test]
fn streams_have_one_three_or_five_replicas() {
    let refused = refusals(&with("/nats/stream", json!({ "replicas": 2 }), managed()));
    assert_eq!(refused, ["spec.nats.stream.replicas must be 1, 3 or 5"]);
}

#[test]
fn what_the_data_depends_on_is_fixed() {
    for (path, value, sentence) in [
        (
            "/postgres/schema",
            json!("other"),
            "spec.postgres.schema cannot be changed",
        ),
        (
            "/nats/managed",
            json!({ "storage": "2Gi" }),
            "the storage of a managed backend cannot be changed",
        ),
    ] {
        let refused = refusals_of_change(&managed(), &with(path, value, managed()));
        assert!(
            refused.len() == 1 && refused[0].starts_with(sentence),
            "{refused:?}"
        );
    }
    for (path, value) in [
        ("/worker", json!({ "batch": { "size": 250 } })),
        ("/nats/stream", json!({ "partitions": 2 })),
    ] {
        let tuned = with(path, value, managed());
        assert_eq!(refusals_of_change(&managed(), &tuned), Vec::<String>::new());
    }
}

#[test]
fn a_schema_that_postgresql_reserves_is_refused() {
    let refused = refusals(&with("/postgres/schema", json!("pg_birds"), managed()));
    assert!(refused[0].contains("must not start with pg_"), "{refused:?}");
}

#[test]
fn the_operators_variables_cannot_be_set() {
    let env = json!([{ "name": "HTTPS_PROXY", "value": "http://proxy" }, { "name": "BIRBNEST_REDIS_URL" }]);
    let refused = refusals(&with("/pod", json!({ "env": env }), managed()));
    assert!(refused[0].starts_with("spec.pod.env must not set"), "{refused:?}");
}

#[test]
fn a_name_leaves_room_for_the_names_of_children() {
    for (name, part) in [
        (
            "a-name-that-is-longer-than-forty-characters",
            "at most 40 characters",
        ),
        ("7up", "starting with a letter"),
        ("dotted.name", "lower-case letters, digits and dashes"),
    ] {
        let mut nest = managed();
        nest["metadata"]["name"] = json!(name);
        let refused = refusals(&nest);
        assert!(
            refused.len() == 1 && refused[0].contains(part),
            "{name}: {refused:?}"
        );
    }
}

fn managed() -> Value {
    json!({
        "apiVersion": "birbnest.dev/v1alpha1",
        "kind": "BirbNest",
        "metadata": { "name": "prices" },
        "spec": { "redis": { "managed": {} }, "nats": { "managed": {} }, "postgres": { "managed": {} } },
    })
}

fn external() -> Value {
    let mut nest = managed();
    nest["spec"]["redis"] = json!({ "urlFrom": secret("redis-url") });
    nest["spec"]["nats"] = json!({ "url": "nats://nats:4222" });
    nest["spec"]["postgres"] = json!({ "urlFrom": secret("postgres-url") });
    nest
}

fn secret(key: &str) -> Value {
    json!({ "secretKeyRef": { "name": "backends", "key": key } })
}

fn with(field: &str, value: Value, mut nest: Value) -> Value {
    let (parent, name) = field.rsplit_once('/').unwrap();
    nest["spec"].pointer_mut(parent).unwrap()[name] = value;
    nest
}

fn refusals(nest: &Value) -> Vec<String> {
    judged(nest, None)
}

fn refusals_of_change(old: &Value, new: &Value) -> Vec<String> {
    judged(new, Some(old))
}

/// Sentences in the order of the alphabet; the API server fills in the defaults before it looks at the rules.
fn judged(nest: &Value, old: Option<&Value>) -> Vec<String> {
    let definition = serde_json::to_value(birbnest_crds::definition().unwrap()).unwrap();
    let schema = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema")
        .unwrap();
    let verdict = Validator::new().validate_with_defaults(schema, nest, old);
    let mut sentences: Vec<String> = verdict
        .err()
        .into_iter()
        .flat_map(kube_cel::ValidationErrors::into_vec)
        .map(|error| error.message)
        .collect();
    sentences.sort();
    sentences
}
