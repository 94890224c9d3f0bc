//! Resources that break a rule are refused with a sentence; what the cluster lacks is said, and heals by itself.

use birbnest_e2e::cluster::{Backends, Nest, story};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Condition};
use serde_json::{Value, json};

use crate::{external, small};

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_a_sentence_that_names_the_field() {
    story("refusals", async |space| {
        let both = json!({ "redis": { "managed": {} } });
        let cases = [
            ("spec.redis", external(&both)),
            (
                "spec.nats",
                external(&json!({ "nats": { "url": "nats://host:4222" } })),
            ),
            ("spec.nats.url", with_nats("http://host")),
            ("spec.nats.url", with_nats("nats://user:password@host:4222")),
            (
                "spec.nats.stream.partitions",
                external(&json!({ "nats": { "stream": { "partitions": 65 } } })),
            ),
            (
                "spec.nats.stream.replicas",
                external(&json!({ "nats": { "stream": { "replicas": 2 } } })),
            ),
            (
                "spec.nats.stream.horizon",
                external(&json!({ "nats": { "stream": { "horizon": "5ms" } } })),
            ),
            (
                "spec.postgres.schema",
                external(&json!({ "postgres": { "schema": "Robin" } })),
            ),
            (
                "spec.postgres.maxConnections",
                external(&json!({ "postgres": { "maxConnections": 1 } })),
            ),
            (
                "spec.cache.defaultTtl",
                external(&json!({ "cache": { "defaultTtl": "0s" } })),
            ),
            (
                "spec.api",
                external(&json!({ "api": { "replicas": 2, "autoscaling": { "max": 3 } } })),
            ),
            (
                "spec.worker.batch.size",
                external(&json!({ "worker": { "batch": { "size": 0 } } })),
            ),
            (
                "spec.worker.batch.wait",
                external(&json!({ "worker": { "batch": { "wait": "soon" } } })),
            ),
            (
                "spec.worker.autoscaling",
                external(&json!({ "worker": { "autoscaling": { "min": 5, "max": 2 } } })),
            ),
            (
                "spec.pod.env",
                external(&json!({ "pod": { "env": [{ "name": "BIRBNEST_X", "value": "1" }] } })),
            ),
            (
                "spec.deletionPolicy",
                external(&json!({ "deletionPolicy": "Maybe" })),
            ),
            (
                "spec.redis",
                json!({ "nats": { "managed": {} }, "postgres": { "managed": {} } }),
            ),
            ("batsh", external(&json!({ "worker": { "batsh": {} } }))),
        ];
        for (field, spec) in cases {
            let sentence = space.refusal_of("bad", &spec).await;
            assert!(sentence.contains(field), "{field}: {sentence}");
        }
        let sentence = space.refusal_of(&"n".repeat(41), &small()).await;
        assert!(
            sentence.contains("metadata.name") && sentence.contains("40"),
            "{sentence}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_missing_secret_is_named_and_the_nest_heals_when_it_comes() {
    story("missing-secret", async |space| {
        let nest = space.apply_nest("poor", &small()).await;
        let missing = until_trouble(&nest, "backends").await;
        eprintln!("{}: {}", missing.reason, missing.message);
        let _backends = space.backends().await;
        nest.until_ready().await;

        // A Secret without the key is as good as none.
        let mut spec = small();
        spec["redis"]["urlFrom"]["secretKeyRef"]["key"] = json!("no-such-key");
        space.apply_nest("poor", &spec).await;
        until_trouble(&nest, "no-such-key").await;
        space.apply_nest("poor", &small()).await;
        nest.until_ready().await;
    })
    .await;
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_told_and_heals_and_others_go_on() {
    story("dead-address", async |space| {
        let backends = space.backends().await;
        backends.nats.stop().await;
        let nest = space.apply_nest("waiting", &small()).await;
        let dead = nest.until_condition("StreamsReady", "False").await;
        eprintln!("{}: {}", dead.reason, dead.message);
        assert!(
            !dead.reason.is_empty() && dead.message.contains("NATS"),
            "{}",
            dead.message
        );

        // Another nest beside it, with servers that answer, is served meanwhile.
        let others = Backends::start().await;
        let mut secret = others.secret();
        secret["metadata"]["name"] = json!("others");
        space.apply::<Secret>(&secret).await;
        let mut spec = small();
        for store in ["redis", "nats", "postgres"] {
            spec[store]["urlFrom"]["secretKeyRef"]["name"] = json!("others");
        }
        space.apply_nest("fine", &spec).await.until_ready().await;

        backends.nats.start().await;
        nest.until_ready().await;
        nest.client().await.put("robin", json!(1)).await.expect(201);
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_somebody_else_configured_is_reported_and_never_replaced() {
    story("foreign-stream", async |space| {
        let backends = space.backends().await;
        let jetstream = backends.nats.jetstream().await;
        let name = format!("cache_{}_guest_persist_0", space.name);
        let foreign = async_nats::jetstream::stream::Config {
            name: name.clone(),
            subjects: vec![format!("cache_{}_guest.persist.0.>", space.name)],
            retention: async_nats::jetstream::stream::RetentionPolicy::WorkQueue,
            ..Default::default()
        };
        jetstream.create_stream(foreign).await.unwrap();
        let nest = space.apply_nest("guest", &small()).await;
        let told = nest.until_condition("StreamsReady", "False").await;
        eprintln!("{}: {}", told.reason, told.message);
        assert!(told.message.contains(&name), "{}", told.message);
        let stream = jetstream.get_stream(&name).await.unwrap();
        let retention = stream.cached_info().config.retention;
        assert_eq!(
            retention,
            async_nats::jetstream::stream::RetentionPolicy::WorkQueue
        );

        jetstream.delete_stream(&name).await.unwrap();
        nest.until_ready().await;
    })
    .await;
}

/// Waits until the nest is not Ready with a message that names `what`.
async fn until_trouble(nest: &Nest, what: &str) -> Condition {
    nest.until_said("Ready", "False", |ready| {
        ready.message.contains(what) && !ready.reason.is_empty()
    })
    .await
}

fn with_nats(url: &str) -> Value {
    let mut spec = small();
    spec["nats"] = json!({ "url": url });
    spec
}
