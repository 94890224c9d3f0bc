//! Conditional requests: exact, whoever else writes, and whatever Redis has forgotten.

use birbnest_core::config::Period;
use birbnest_e2e::{
    client::{Answer, Request},
    house::House,
};
use reqwest::Method;
use serde_json::{Value, json};

fn put(house: &House, key: &str, value: &Value) -> Request {
    let client = &house.api().client;
    client.about(Method::PUT, key).json(&json!({ "value": value }))
}

async fn put_if_match(house: &House, key: &str, value: Value, tag: &str) -> Answer {
    put(house, key, &value).header("if-match", tag).send().await
}

#[tokio::test]
async fn a_write_with_a_condition_is_made_only_if_it_holds() {
    let house = House::open().await;
    let created = put(&house, "robin", &json!(1))
        .header("if-none-match", "*")
        .send()
        .await
        .expect(201);
    let second = put(&house, "robin", &json!(2))
        .header("if-none-match", "*")
        .send()
        .await;
    assert_eq!(second.expect(412).code(), "VERSION_MISMATCH");

    let changed = put_if_match(&house, "robin", json!(3), created.header("etag"))
        .await
        .expect(201);
    let late = put_if_match(&house, "robin", json!(4), created.header("etag"))
        .await
        .expect(412);
    assert!(
        late.member("detail")
            .as_str()
            .unwrap()
            .contains(&changed.version().to_string()),
        "{}",
        late.text
    );
    assert_eq!(house.get("robin").await.expect(200).value(), json!(3));
    put_if_match(&house, "wren", json!(1), "*").await.expect(412);
    house.get("wren").await.expect(404);
}

#[tokio::test]
async fn a_delete_with_a_condition_is_made_only_if_it_holds() {
    let house = House::open().await;
    let old = house.put("robin", json!(1)).await.expect(201);
    let new = house.put("robin", json!(2)).await.expect(201);
    let delete = |tag: &str| {
        let request = house.api().client.about(Method::DELETE, "robin");
        request.header("if-match", tag).send()
    };
    delete(old.header("etag")).await.expect(412);
    house.get("robin").await.expect(200);
    let deleted = delete(new.header("etag")).await.expect(204);
    assert!(deleted.header("birb-version").parse::<u64>().unwrap() > new.version());
    house.get("robin").await.expect(404);
    delete("*").await.expect(412);
}

#[tokio::test]
async fn conditions_are_exact_when_redis_stream_or_database_hold_the_entry() {
    let house = House::open().await;
    let queued = house.put("robin", json!(1)).await.expect(201);
    house.redis.flush().await;
    put_if_match(&house, "robin", json!(0), "\"999\"")
        .await
        .expect(412);
    let second = put_if_match(&house, "robin", json!(2), queued.header("etag"))
        .await
        .expect(201);
    house.until_purged().await;
    // Only PostgreSQL knows it now.
    put_if_match(&house, "robin", json!(0), queued.header("etag"))
        .await
        .expect(412);
    put_if_match(&house, "robin", json!(3), second.header("etag"))
        .await
        .expect(201);
    assert_eq!(house.get("robin").await.expect(200).value(), json!(3));
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let house = House::open().await;
    let stored = house.put("robin", json!(1)).await.expect(201);
    let read = |name: &'static str, tag: &str| {
        house
            .api()
            .client
            .about(Method::GET, "robin")
            .header(name, tag)
            .send()
    };
    let known = read("if-none-match", stored.header("etag")).await.expect(304);
    assert_eq!(
        (known.text.as_str(), known.header("etag")),
        ("", stored.header("etag"))
    );
    assert_eq!(
        read("if-none-match", "\"998\", \"999\"")
            .await
            .expect(200)
            .value(),
        json!(1)
    );
    read("if-match", "\"999\"").await.expect(412);
    read("if-match", stored.header("etag")).await.expect(200);
}

#[tokio::test]
async fn a_condition_that_cannot_be_checked_is_refused_and_nothing_is_written() {
    let house = House::open().await;
    let stored = house.put("robin", json!(1)).await.expect(201);
    put_if_match(&house, "robin", json!(2), "17").await.expect(400);
    put(&house, "robin", &json!(2))
        .header("if-unmodified-since", "Sat, 21 Nov 2026 10:00:00 GMT")
        .send()
        .await
        .expect(501);
    house.postgres.stop().await;
    let refused = put_if_match(&house, "robin", json!(2), stored.header("etag"))
        .await
        .expect(503);
    assert_eq!(refused.code(), "UNAVAILABLE");
    assert_eq!(house.get("robin").await.expect(200).version(), stored.version());
}

#[tokio::test]
async fn a_reader_who_names_a_version_never_gets_an_older_one() {
    let house = House::plan()
        .config(|config| config.cache.negative_ttl = Period::from_secs(60))
        .open()
        .await;
    let read = |version: u64| {
        let request = house.api().client.about(Method::GET, "robin");
        request.header("birb-min-version", &version.to_string()).send()
    };
    house.get("robin").await.expect(404);
    let stored = house.put("robin", json!(1)).await.expect(201);
    assert_eq!(
        read(stored.version()).await.expect(200).version(),
        stored.version()
    );
    // A version of the future: what is there may be too old, and nobody can tell.
    let early = read(stored.version() + 1_000_000).await.expect(503);
    assert_eq!(
        (early.code().as_str(), early.header("retry-after")),
        ("UNAVAILABLE", "1")
    );
    let deleted = house.delete("robin").await.expect(204);
    let version = deleted.header("birb-version").parse().unwrap();
    read(version).await.expect(404);
    house.redis.flush().await;
    read(version).await.expect(404);
    let request = house.api().client.about(Method::GET, "robin");
    request
        .header("birb-min-version", "soon")
        .send()
        .await
        .expect(400);
}
