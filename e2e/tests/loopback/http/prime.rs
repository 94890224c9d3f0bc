//! Entries are in Redis before anybody asks for them, and never older than what is queued.

use birbnest_core::config::{Config, Period};
use birbnest_e2e::{
    client::{Answer, ApiClient},
    house::House,
    wait::{eventually, seen},
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

const PATH: &str = "/v1/admin/prime";

async fn prime(client: &ApiClient, orders: &Value) -> Answer {
    client.request(Method::POST, PATH).json(orders).send().await
}

/// Asks for it and waits until it is done.
async fn primed(client: &ApiClient, orders: &Value) -> Value {
    let asked = prime(client, orders).await.expect(202);
    let path = format!("{PATH}/{}", asked.member("id"));
    assert_eq!(asked.header("location"), path);
    eventually("the cache is primed", || async {
        let request = client.request(Method::GET, &path).send().await.expect(200);
        seen(request.json(), |request| request["state"] == "done")
    })
    .await
}

/// Which of the keys Redis has.
async fn hits(house: &House, keys: &[String]) -> Vec<String> {
    let mut hits = vec![];
    for key in keys {
        if house.get(key).await.expect(200).is_hit() {
            hits.push(key.clone());
        }
    }
    hits
}

fn keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{prefix}{i:02}")).collect()
}

async fn put_all(house: &House, keys: &[String]) {
    for key in keys {
        house.put(key, json!(key)).await.expect(201);
    }
}

#[tokio::test]
async fn primed_keys_are_hits_and_others_are_not() {
    let house = House::open().await;
    let (asked, other) = (keys("nest/", 60), keys("nesu", 3));
    put_all(&house, &asked).await;
    put_all(&house, &other).await;
    house.delete("nest/07").await.expect(204);
    house.until_purged().await;
    house.redis.flush().await;

    let request = primed(&house.api().client, &json!({"prefix": "nest/"})).await;
    assert_eq!(
        (&request["examined"], &request["filled"]),
        (&json!(59), &json!(59))
    );
    house.get("nest/07").await.expect(404);
    let live: Vec<String> = asked.into_iter().filter(|key| key != "nest/07").collect();
    assert_eq!(hits(&house, &live).await, live);
    assert!(hits(&house, &other).await.is_empty());
    let again = primed(&house.api().client, &json!({"prefix": "nest/"})).await;
    assert_eq!(again["filled"], 0, "what is there is passed over: {again}");
}

#[tokio::test]
async fn limit_and_order_say_which_keys_are_primed() {
    let house = House::open().await;
    let mut written = keys("k", 6);
    written.reverse();
    put_all(&house, &written).await;
    house.until_purged().await;
    for (order, expected) in [("newest", ["k01", "k00"]), ("key", ["k01", "k00"])] {
        // The keys that come first in their order were written last here; one more was written after them.
        house.redis.flush().await;
        let orders = json!({"prefix": "k", "limit": 2, "order": order});
        let request = primed(&house.api().client, &orders).await;
        assert_eq!(request["filled"], 2, "{request}");
        assert_eq!(hits(&house, &written).await, expected, "{order}");
    }
    house.put("k05", json!("anew")).await.expect(201);
    house.until_purged().await;
    house.redis.flush().await;
    primed(&house.api().client, &json!({"limit": 1, "order": "newest"})).await;
    assert_eq!(hits(&house, &written).await, ["k05"]);
}

#[tokio::test]
async fn a_queued_write_is_primed_and_not_the_row_that_it_overwrites() {
    let house = House::open().await;
    house.put("robin", json!("old")).await.expect(201);
    house.until_purged().await;
    // No batch can look at its fence, so what is written now stays in the queue.
    let mut blocker = PgConnection::connect(house.table.url()).await.unwrap();
    let lock = format!(
        "BEGIN; SELECT FROM {}.fence FOR UPDATE",
        house.config.postgres.schema
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock))
        .execute(&mut blocker)
        .await
        .unwrap();
    let queued = house.put("robin", json!("new")).await.expect(201);
    house.redis.flush().await;
    primed(&house.api().client, &json!({"prefix": "robin"})).await;
    let read = house.get("robin").await.expect(200);
    assert!(read.is_hit(), "{:?}", read.headers);
    assert_eq!(read.version(), queued.version());
    blocker.close().await.unwrap();
}

#[tokio::test]
async fn priming_during_writes_never_brings_back_what_was_overwritten() {
    let patient = |config: &mut Config| config.redis.command_timeout = Period::from_secs(4);
    let house = House::plan().config(patient).open().await;
    let client = &house.api().client;
    put_all(&house, &keys("k", 20)).await;
    let writing = async {
        for round in 0..40 {
            for key in keys("k", 20) {
                let written = house.put(&key, json!(round)).await.expect(201).version();
                let read = house.get(&key).await.expect(200);
                assert!(read.version() >= written, "{key} went back: {}", read.text);
            }
        }
    };
    let priming = async {
        loop {
            house.redis.flush().await;
            primed(client, &json!({"prefix": "k", "order": "key"})).await;
        }
    };
    tokio::select! {
        () = writing => {}
        () = priming => {}
    }
    house.until_purged().await;
    for key in keys("k", 20) {
        assert_eq!(house.get(&key).await.expect(200).value(), json!(39));
    }
}

#[tokio::test]
async fn a_redis_that_lost_everything_is_primed_by_the_worker() {
    let plan = House::plan().workers(2).config(|config| {
        config.cache.prime.on_start = true;
        config.cache.prime.prefix = "warm".to_owned();
    });
    let house = plan.open().await;
    let (warm, cold) = (keys("warm", 10), keys("cold", 2));
    put_all(&house, &warm).await;
    put_all(&house, &cold).await;
    house.until_purged().await;
    let filled = async || {
        let mut filled = 0.0;
        for worker in &house.workers {
            filled += worker
                .metric("birbnest_worker_primed_keys_total{outcome=\"filled\"}")
                .await;
        }
        filled
    };
    let before = filled().await;
    house.redis.flush().await;
    eventually("a worker has primed", || async {
        seen(filled().await, |now| *now >= before + 10.0)
    })
    .await;
    assert_eq!(hits(&house, &warm).await, warm);
    assert!(hits(&house, &cold).await.is_empty());
}

#[tokio::test]
async fn a_request_out_of_bounds_is_refused_and_an_unknown_one_is_not_found() {
    let house = House::open().await;
    let client = &house.api().client;
    for orders in [
        json!({"limit": 0}),
        json!({"limit": 100_001}),
        json!({"limit": -1}),
        json!({"prefix": "x".repeat(256)}),
        json!({"prefix": "\u{7}"}),
        json!({"instance": "No Label"}),
        json!({"order": "oldest"}),
        json!({"keys": []}),
        json!([]),
    ] {
        let refused = prime(client, &orders).await.expect(400);
        assert_eq!(refused.code(), "INVALID_REQUEST", "{orders}");
    }
    let broken = client.request(Method::POST, PATH).body("application/json", "{");
    assert_eq!(broken.send().await.expect(400).code(), "INVALID_REQUEST");
    let unknown = client.request(Method::GET, &format!("{PATH}/12345")).send().await;
    assert_eq!(unknown.expect(404).code(), "NOT_FOUND");
    let no_number = client.request(Method::GET, &format!("{PATH}/robin")).send().await;
    assert_eq!(no_number.expect(400).code(), "INVALID_REQUEST");
}
