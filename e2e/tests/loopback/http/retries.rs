//! Writes that are sent again.

use birbnest_e2e::{client::Answer, house::House};
use reqwest::Method;
use serde_json::{Value, json};

async fn put(house: &House, key: &str, value: Value, operation: &str) -> Answer {
    let request = house
        .api()
        .client
        .about(Method::PUT, key)
        .json(&json!({ "value": value }));
    request.header("idempotency-key", operation).send().await
}

async fn increment(house: &House, operation: &str) -> Answer {
    let request = house.api().client.request(Method::POST, "/v1/increment/counter");
    request.header("idempotency-key", operation).send().await
}

#[tokio::test]
async fn a_write_that_is_sent_again_is_not_made_again() {
    let house = House::open().await;
    let first = put(&house, "robin", json!(1), "order-17").await.expect(201);
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = put(&house, "robin", json!(1), "order-17").await.expect(200);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.json(), first.json());
    put(&house, "robin", json!(2), "order-18").await.expect(201);
    // It would bring back what another client has overwritten since.
    let late = put(&house, "robin", json!(1), "order-17").await.expect(200);
    assert_eq!(late.value(), json!(2));
    // A name belongs to one key.
    put(&house, "wren", json!(3), "order-17").await.expect(201);
}

#[tokio::test]
async fn an_increment_is_remembered_by_stream_and_database() {
    let house = House::open().await;
    assert_eq!(increment(&house, "a").await.expect(201).value(), json!(1));
    assert_eq!(increment(&house, "b").await.expect(201).value(), json!(2));
    house.redis.flush().await;
    assert_eq!(increment(&house, "a").await.expect(200).value(), json!(2));
    house.until_purged().await;
    assert_eq!(increment(&house, "a").await.expect(200).value(), json!(2));
    assert_eq!(increment(&house, "c").await.expect(201).value(), json!(3));
}

#[tokio::test]
async fn a_delete_that_is_sent_again_deletes_nothing_that_came_later() {
    let house = House::open().await;
    let delete = || {
        let request = house.api().client.about(Method::DELETE, "robin");
        request.header("idempotency-key", "away").send()
    };
    delete().await.expect(404);
    put(&house, "robin", json!(1), "first").await.expect(201);
    delete().await.expect(204);
    assert_eq!(delete().await.expect(204).header("idempotency-replayed"), "true");
    put(&house, "robin", json!(2), "second").await.expect(201);
    assert_eq!(delete().await.expect(200).value(), json!(2));
    assert_eq!(house.get("robin").await.expect(200).value(), json!(2));
}

#[tokio::test]
async fn a_name_that_is_too_long_is_refused() {
    let house = House::open().await;
    put(&house, "robin", json!(1), &"x".repeat(256)).await.expect(400);
    house.get("robin").await.expect(404);
}
