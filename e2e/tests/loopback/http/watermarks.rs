//! A client finds out whether its write is in PostgreSQL.

use birbnest_e2e::{
    client::{Answer, ApiClient},
    house::House,
    wait::{eventually, seen},
};
use reqwest::Method;
use serde_json::{Value, json};

async fn watermarks(client: &ApiClient, query: &str) -> Answer {
    let path = format!("/v1/admin/watermarks{query}");
    client.request(Method::GET, &path).send().await
}

/// What is said of the partition of a key.
async fn of_key(client: &ApiClient, key: &str) -> Value {
    let list = watermarks(client, &format!("?key={key}")).await.expect(200);
    let list = list.member("watermarks");
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    list[0].clone()
}

#[tokio::test]
async fn a_write_up_to_the_watermark_is_in_postgresql_and_one_above_it_waits() {
    let house = House::open().await;
    let client = &house.api().client;
    let first = house.put("robin", json!(1)).await.expect(201).version();
    let through = eventually("the watermark passes the write", || async {
        seen(of_key(client, "robin").await, |of| {
            of["persisted_through"].as_u64() >= Some(first)
        })
    })
    .await;
    assert_eq!(through["waiting"], 0);
    assert!(through.get("oldest_age_seconds").is_none(), "{through}");
    let row = house.table.row("robin").await.unwrap().unwrap();
    assert_eq!(row.version.unsigned_abs(), first);

    assert!(house.worker().stop().await.success());
    let second = house.put("robin", json!(2)).await.expect(201).version();
    let behind = of_key(client, "robin").await;
    assert!(behind["persisted_through"].as_u64() < Some(second), "{behind}");
    assert_eq!(behind["highest_version"], second);
    assert_eq!(behind["waiting"], 1);
    assert!(behind["oldest_age_seconds"].is_u64(), "{behind}");

    house.worker().start().await;
    eventually("the worker catches up", || async {
        seen(of_key(client, "robin").await, |of| {
            of["persisted_through"] == second && of["waiting"] == 0
        })
    })
    .await;
    assert_eq!(house.table.row("robin").await.unwrap().unwrap().json(), json!(2));
    eventually("the worker that leads shows the same", || async {
        let metric = house.worker().metric("birbnest_worker_persisted_through_version");
        seen(metric.await, |through| *through > 0.0)
    })
    .await;
}

#[tokio::test]
async fn watermarks_of_all_partitions_are_listed_and_a_bad_question_is_refused() {
    let house = House::open().await;
    let client = &house.api().client;
    let list = watermarks(client, "").await.expect(200).member("watermarks");
    let partitions: Vec<u64> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|of| of["partition"].as_u64())
        .collect();
    assert_eq!(partitions, [0, 1, 2, 3]);
    for query in ["?key=", "?key=%07", "?partition=1"] {
        let refused = watermarks(client, query).await.expect(400);
        assert_eq!(refused.code(), "INVALID_REQUEST", "{query}");
    }
}
