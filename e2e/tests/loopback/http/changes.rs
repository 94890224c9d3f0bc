//! Patches, increments and batches.

use birbnest_core::config::{Config, Period};
use birbnest_e2e::house::House;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn a_patch_changes_what_it_names_and_keeps_the_rest() {
    let house = House::open().await;
    let body = json!({"value": {"eggs": 1, "by": "robin"}, "ttl": 600, "metadata": {"tree": "oak"}});
    let client = &house.api().client;
    let stored = client
        .about(Method::PUT, "nest")
        .json(&body)
        .send()
        .await
        .expect(201);

    let patch = |media_type: &str, body: &'static str| {
        client.about(Method::PATCH, "nest").body(media_type, body).send()
    };
    let merged = patch("application/merge-patch+json", r#"{"eggs": 2, "by": null}"#)
        .await
        .expect(201);
    assert_eq!(merged.value(), json!({"eggs": 2}));
    assert_eq!(merged.member("metadata"), json!({"tree": "oak"}));
    assert_eq!(merged.member("created_at"), stored.member("created_at"));
    assert!(merged.version() > stored.version());

    let operations =
        r#"[{"op": "test", "path": "/eggs", "value": 2}, {"op": "replace", "path": "/eggs", "value": 3}]"#;
    assert_eq!(
        patch("application/json-patch+json", operations)
            .await
            .expect(201)
            .value(),
        json!({"eggs": 3})
    );
    let unfit = patch("application/json-patch+json", operations).await.expect(422);
    assert!(
        unfit
            .member("detail")
            .as_str()
            .unwrap()
            .contains("nothing was written"),
        "{}",
        unfit.text
    );
    patch("application/json", "{}").await.expect(415);
    patch("application/json-patch+json", "{}").await.expect(400);
    assert_eq!(house.get("nest").await.expect(200).value(), json!({"eggs": 3}));
    let absent = client
        .about(Method::PATCH, "wren")
        .body("application/merge-patch+json", "{}")
        .send()
        .await;
    assert_eq!(absent.expect(404).code(), "NOT_FOUND");
}

#[tokio::test]
async fn increments_by_many_clients_all_count() {
    // A decision has half of either for its tries, and a hundred want the same key.
    let patient = |config: &mut Config| {
        config.stream.horizon = Period::from_secs(15);
        config.api.request_timeout = Period::from_secs(10);
    };
    let house = House::plan().apis(2).config(patient).open().await;
    let clients = house.clients();
    let increments = (0..100).map(|number| {
        let body = json!({"by": 2, "initial": 40});
        let request = clients[number % 2].request(Method::POST, "/v1/increment/a/counter");
        async move { request.json(&body).send().await.expect(201) }
    });
    futures::future::join_all(increments).await;
    assert_eq!(house.get("a/counter").await.expect(200).value(), json!(240));
}

#[tokio::test]
async fn an_increment_of_something_else_is_refused() {
    let house = House::open().await;
    house.put("text", json!("7")).await.expect(201);
    let client = &house.api().client;
    let increment = |key: &str, body: serde_json::Value| {
        client
            .request(Method::POST, &format!("/v1/increment/{key}"))
            .json(&body)
            .send()
    };
    increment("text", json!({})).await.expect(422);
    increment("number", json!({"by": 1.5})).await.expect(400);
    increment("number", json!({"buy": 1})).await.expect(400);
    increment("number", json!({"ttl": -1})).await.expect(400);
    assert_eq!(
        increment("number", json!({"by": -3, "ttl": 60}))
            .await
            .expect(201)
            .value(),
        json!(-3)
    );
    assert_eq!(increment("number", json!({})).await.expect(201).member("ttl"), 60);
}

#[tokio::test]
async fn a_batch_writes_and_deletes_each_key_on_its_own() {
    let house = House::open().await;
    let send = |what: &str, body: serde_json::Value| {
        house
            .api()
            .client
            .request(Method::POST, &format!("/v1/cache/batch/{what}"))
            .json(&body)
            .send()
    };
    let entries = json!({"a": {"value": 1}, "b/c": {"value": null, "ttl": 60}});
    let stored = send("put", json!({ "entries": entries }))
        .await
        .expect(200)
        .member("results");
    assert_eq!(
        (&stored["a"]["status"], &stored["b/c"]["status"]),
        (&json!(201), &json!(201))
    );
    assert_eq!(stored["a"]["durability"], "queued");
    assert_eq!(
        house.get("a").await.expect(200).version(),
        stored["a"]["version"].as_u64().unwrap()
    );
    assert_eq!(house.get("b/c").await.expect(200).member("ttl"), 60);

    let deleted = send("delete", json!({"keys": ["a", "never"]}))
        .await
        .expect(200)
        .member("results");
    assert_eq!(deleted["a"]["status"], 204);
    assert_eq!(
        (&deleted["never"]["status"], &deleted["never"]["code"]),
        (&json!(404), &json!("NOT_FOUND"))
    );
    house.get("a").await.expect(404);
}

#[tokio::test]
async fn a_batch_that_breaks_a_rule_is_refused_whole() {
    let house = House::open().await;
    let put = |body: String| {
        let request = house.api().client.request(Method::POST, "/v1/cache/batch/put");
        request.body("application/json", body).send()
    };
    for body in [
        r#"{"entries": {}}"#,
        r#"{"entries": [1]}"#,
        r#"{"entries": {"a": {"value": 1}, "a": {"value": 2}}}"#,
        r#"{"entries": {"a": {"value": 1}, "b": {"ttl": 1}}}"#,
        r#"{"entries": {"a": {"value": 1}, "": {"value": 1}}}"#,
        r#"{"keys": ["a"]}"#,
    ] {
        put(body.to_owned()).await.expect(400);
    }
    let many: serde_json::Map<_, _> = (0..101)
        .map(|number| (format!("k{number}"), json!({"value": 1})))
        .collect();
    put(json!({ "entries": many }).to_string()).await.expect(400);
    let request = house
        .api()
        .client
        .request(Method::POST, "/v1/cache/batch/delete")
        .json(&json!({"keys": ["a"]}));
    request.header("if-match", "*").send().await.expect(400);
    house.get("a").await.expect(404);
}
