//! What clients of the HTTP API rely on.

mod access;
mod bad_input;
mod changes;
mod conditions;
mod durability;
mod prime;
mod retries;
mod watermarks;

use birbnest_core::config::Period;
use birbnest_e2e::{
    client::Answer,
    house::House,
    wait::{eventually, seen},
};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn an_entry_is_created_overwritten_read_and_deleted() {
    let house = House::open().await;
    let body = json!({"value": {"eggs": 1}, "ttl": 60, "metadata": {"by": "robin"}});
    let created = house
        .api()
        .client
        .about(Method::POST, "nest")
        .json(&body)
        .send()
        .await
        .expect(201);
    assert_eq!(created.member("key"), "nest");
    assert_eq!(created.value(), json!({"eggs": 1}));
    assert_eq!(created.member("ttl"), 60);
    assert_eq!(created.member("metadata"), json!({"by": "robin"}));
    assert_eq!(created.header("etag"), format!("\"{}\"", created.version()));

    eventually("the entry is read from the cache", || async {
        let read = house.get("nest").await.expect(200);
        assert_eq!(read.json(), created.json());
        seen(read, Answer::is_hit)
    })
    .await;
    let overwritten = house.put("nest", json!({"eggs": 2})).await.expect(201);
    assert!(overwritten.version() > created.version());

    let read = house.get("nest").await.expect(200);
    assert_eq!(read.json(), overwritten.json());
    assert_eq!(read.header("etag"), overwritten.header("etag"));
    assert_eq!(read.member("created_at"), created.member("created_at"));
    assert!(read.member("updated_at").as_str() > created.member("updated_at").as_str());
    assert!(read.json().get("ttl").is_none() && read.json().get("metadata").is_none());

    assert_eq!(house.delete("nest").await.expect(204).text, "");
    assert_eq!(house.get("nest").await.expect(404).code(), "NOT_FOUND");
    assert_eq!(house.delete("nest").await.expect(404).code(), "NOT_FOUND");
}

#[tokio::test]
async fn a_deleted_entry_stays_deleted_when_the_cache_forgets_and_the_stream_is_purged() {
    let house = House::open().await;
    house.put("robin", json!(1)).await.expect(201);
    house.until_row("robin", |row| !row.tombstone).await;
    house.delete("robin").await.expect(204);
    house.redis.flush().await;
    house.get("robin").await.expect(404);
    house.until_purged().await;
    house.redis.flush().await;
    house.get("robin").await.expect(404);
    // Its tombstone is swept in the end, and it is still deleted.
    eventually("the tombstone is swept", || async {
        let row = house
            .table
            .row("robin")
            .await
            .map_err(|error| error.to_string())?;
        seen(row, Option::is_none)
    })
    .await;
    house.redis.flush().await;
    house.get("robin").await.expect(404);
    let again = house.put("robin", json!(2)).await.expect(201);
    assert_eq!(house.get("robin").await.expect(200).version(), again.version());
}

#[tokio::test]
async fn a_value_keeps_its_very_bytes_in_redis_in_the_stream_and_in_postgresql() {
    let house = House::open().await;
    let value = r#"{"b": 1.50,"a":[ 12345678901234567890123, 1e400 ], "b": "\u00e9\/\u0000\ud800"}"#;
    let body = format!(r#"{{"value": {value}}}"#);
    house
        .api()
        .client
        .about(Method::PUT, "bytes")
        .body("application/json", body)
        .send()
        .await
        .expect(201);
    let from_redis = house.get("bytes").await.expect(200);
    assert!(from_redis.text.contains(value), "{}", from_redis.text);
    house.redis.flush().await;
    let from_stream = house.get("bytes").await.expect(200);
    assert!(from_stream.text.contains(value), "{}", from_stream.text);
    house.until_purged().await;
    house.redis.flush().await;
    let from_postgres = house.get("bytes").await.expect(200);
    assert!(from_postgres.text.contains(value), "{}", from_postgres.text);
    assert_eq!(
        house.table.row("bytes").await.unwrap().unwrap().value.unwrap(),
        value
    );
}

#[tokio::test]
async fn keys_may_hold_any_character_that_is_no_control_character() {
    let house = House::open().await;
    let longest = "ü".repeat(255);
    let keys = [
        "a/b",
        "a b",
        "?x=1&y",
        "100%",
        "%2F",
        "été",
        "🐦",
        "a\"b\\c",
        "{tag}",
        longest.as_str(),
    ];
    for (number, key) in keys.into_iter().enumerate() {
        let stored = house.put(key, json!(number)).await.expect(201);
        assert_eq!(stored.member("key"), key);
    }
    for (number, key) in keys.into_iter().enumerate() {
        assert_eq!(house.get(key).await.expect(200).value(), json!(number), "{key}");
        house
            .until_row(key, |row| row.value == Some(number.to_string()))
            .await;
    }
    // Old clients send keys as a raw path.
    let raw = house
        .api()
        .client
        .request(Method::GET, "/v1/cache/a/b")
        .send()
        .await
        .expect(200);
    assert_eq!(raw.member("key"), "a/b");
}

#[tokio::test]
async fn every_json_value_can_be_stored_null_included() {
    let house = House::open().await;
    for value in [
        Value::Null,
        json!(false),
        json!(0),
        json!(""),
        json!([]),
        json!({}),
    ] {
        house.put("any", value.clone()).await.expect(201);
        assert_eq!(house.get("any").await.expect(200).value(), value);
    }
    house.until_purged().await;
    house.put("any", Value::Null).await.expect(201);
    house
        .until_row("any", |row| row.value.as_deref() == Some("null"))
        .await;
    house.redis.flush().await;
    assert_eq!(house.get("any").await.expect(200).value(), Value::Null);
}

#[tokio::test]
async fn many_keys_are_read_at_once() {
    let house = House::open().await;
    let client = &house.api().client;
    let batch = async |keys: Value| {
        let body = json!({ "keys": keys });
        client
            .request(Method::POST, "/v1/cache/batch/get")
            .json(&body)
            .send()
            .await
    };
    house.put("hit", json!(1)).await.expect(201);
    house.put("cold", json!(2)).await.expect(201);
    house.until_purged().await;
    house.redis.flush().await;
    house.get("hit").await.expect(200);
    house.put("queued", json!(3)).await.expect(201);
    house.put("deleted", json!(4)).await.expect(201);
    house.delete("deleted").await.expect(204);

    let answer = batch(json!(["hit", "cold", "queued", "deleted", "never", "hit"]))
        .await
        .expect(200);
    let entries = answer.member("entries");
    for (key, value) in [("hit", 1), ("cold", 2), ("queued", 3)] {
        assert_eq!(entries[key]["value"], json!(value), "{entries}");
        assert_eq!(entries[key], house.get(key).await.json());
    }
    assert_eq!(entries.as_object().unwrap().len(), 3);
    assert_eq!(answer.member("missing"), json!(["deleted", "never"]));

    let hundred: Vec<_> = (0..100).map(|i| format!("key-{i}")).collect();
    assert_eq!(
        batch(json!(hundred)).await.expect(200).member("missing"),
        json!(hundred)
    );
    let too_many: Vec<_> = (0..101).map(|i| format!("key-{i}")).collect();
    for bad in [
        json!([]),
        json!(too_many),
        json!("robin"),
        json!([1]),
        json!(["a\u{7}"]),
        Value::Null,
    ] {
        let refused = batch(bad.clone()).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (400, "INVALID_REQUEST"),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn an_entry_with_a_ttl_is_gone_everywhere_after_it() {
    let house = House::plan()
        .config(|c| c.cache.negative_ttl = Period::from_millis(100))
        .open()
        .await;
    let written = house
        .api()
        .client
        .put_for("mayfly", json!(1), 2)
        .await
        .expect(201);
    assert_eq!(written.member("ttl"), 2);
    house.put("oak", json!(1)).await.expect(201);
    assert_eq!(house.get("mayfly").await.expect(200).member("ttl"), 2);
    eventually("the entry expires", || async {
        seen(house.get("mayfly").await.status, |s| *s == 404)
    })
    .await;
    // Neither the stream nor PostgreSQL brings it back.
    house.redis.flush().await;
    house.get("mayfly").await.expect(404);
    house.until_purged().await;
    house.redis.flush().await;
    house.get("mayfly").await.expect(404);
    assert_eq!(house.delete("mayfly").await.expect(404).code(), "NOT_FOUND");
    house.get("oak").await.expect(200);
    // The sweep leaves a minute for clocks that differ: as if it had gone by.
    let hour_ago = "UPDATE birbnest.cache_entries SET expires_at = expires_at - interval '1 hour'";
    house.postgres.run(hour_ago).await;
    eventually("the expired row is swept", || async {
        let row = house
            .table
            .row("mayfly")
            .await
            .map_err(|error| error.to_string())?;
        seen(row, Option::is_none)
    })
    .await;
    // What comes after it is a new entry.
    let reborn = house.put("mayfly", json!(2)).await.expect(201);
    assert!(reborn.version() > written.version());
    assert_ne!(reborn.member("created_at"), written.member("created_at"));
}

#[tokio::test]
async fn health_and_metrics_tell_what_is_there() {
    let house = House::open().await;
    house.put("robin", json!(1)).await.expect(201);
    let health = house.api().health().await.expect(200);
    assert_eq!(health.member("status"), "healthy");
    for member in ["service", "version", "uptime"] {
        assert!(!health.member(member).is_null(), "{}", health.text);
    }
    assert_eq!(
        health.member("checks"),
        json!({"database": "healthy", "redis": "healthy", "nats": "healthy"})
    );
    house.worker().health().await.expect(200);

    house.redis.stop().await;
    eventually("the API says that Redis is missing", || async {
        house.get("robin").await;
        seen(house.api().health().await, |health| {
            health.member("checks")["redis"] != "healthy"
        })
    })
    .await;
    // It still serves.
    house
        .api()
        .client
        .request(Method::GET, "/readyz")
        .send()
        .await
        .expect(200);

    for member in [house.api(), house.worker()] {
        let metrics = member
            .client
            .request(Method::GET, "/metrics")
            .send()
            .await
            .expect(200);
        assert!(metrics.text.contains("birbnest_ready"), "{}", metrics.text);
    }
}
