//! NATS goes away and PostgreSQL takes the writes; NATS comes back and the queue takes them again. Nothing that was
//! acknowledged is lost or replaced by anything older, whatever was held on its way meanwhile.

use std::time::{Duration, Instant};

use birbnest_core::{
    OnQueueOutage,
    config::{Config, Period},
};
use birbnest_e2e::{
    client::{Answer, ApiClient},
    house::{House, Plan},
    load::Load,
    wait::{eventually, eventually_within, seen},
};
use birbnest_stores::fence::LEASE;
use reqwest::Method;
use serde_json::json;

/// To find NATS away, to wait for the leases, and back: for a horizon and for what others have noted.
const PATIENCE: Duration = Duration::from_mins(1);

fn plan() -> Plan {
    House::plan()
        .apis(2)
        .config(|config| config.cache.on_queue_outage = OnQueueOutage::WriteThrough)
}

/// Writes until a write has this durability.
async fn until_written(client: &ApiClient, key: &str, durability: &str) -> Answer {
    eventually_within(PATIENCE, &format!("{key} is {durability}"), || async {
        let answer = client.put(key, json!(durability)).await;
        seen(answer, |answer| {
            answer.status == 201 && answer.header("birb-durability") == durability
        })
    })
    .await
}

async fn until_all_written(house: &House, durability: &str) {
    for (number, client) in house.clients().iter().enumerate() {
        for partition in 0..house.layout().count() {
            until_written(client, &format!("until-{number}-{partition}"), durability).await;
        }
    }
}

/// Reads one key with `Birb-Min-Version` until it is told to stop, and never gets anything older than before.
async fn read_on(client: ApiClient, key: &'static str, mut stop: tokio::sync::oneshot::Receiver<()>) -> u64 {
    let mut highest = 0;
    while stop.try_recv().is_err() {
        let read = client
            .about(Method::GET, key)
            .header("birb-min-version", &highest.to_string());
        let read = read.send().await;
        if read.status == 200 {
            assert!(read.version() >= highest, "{} after {highest}", read.version());
            highest = read.version();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    highest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nats_is_away_postgresql_takes_the_writes_and_the_queue_after_its_return() {
    let house = plan().open().await;
    house.put("warm", json!(1)).await.expect(201);
    house.put("gone", json!(1)).await.expect(201);
    let load = Load::start(&house.clients(), 4, 40, Duration::from_millis(5));
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let reader = tokio::spawn(read_on(house.apis[1].client.clone(), "load-7", stopped));
    load.until_more(200).await;

    house.nats.kill9();
    until_all_written(&house, "persisted").await;
    load.until_more(400).await;
    let written = house.put("warm", json!(2)).await.expect(201);
    assert_eq!(written.header("birb-durability"), "persisted");
    for client in house.clients() {
        assert_eq!(client.get("warm").await.expect(200).value(), json!(2));
    }
    house.delete("gone").await.expect(204);
    house.get("gone").await.expect(404);
    what_needs_the_queue_is_refused(&house.api().client).await;
    a_batch_is_written(&house.api().client).await;
    both_ways_are_visible(&house, "Through", 1.0).await;

    house.nats.start().await;
    until_all_written(&house, "queued").await;
    both_ways_are_visible(&house, "Queue", 0.0).await;
    load.until_more(200).await;
    stop.send(()).unwrap();
    assert!(reader.await.unwrap() > 0);
    let ledger = load.stop().await;
    house.until_kept(&ledger).await;
    assert_eq!(house.get("warm").await.expect(200).value(), json!(2));
    house.get("gone").await.expect(404);
    house.until_purged().await;
    house.redis.flush().await;
    assert_eq!(house.get("warm").await.expect(200).version(), written.version());
}

async fn what_needs_the_queue_is_refused(client: &ApiClient) {
    let conditional = client.about(Method::PUT, "warm").header("if-match", "*");
    let named = client.about(Method::PUT, "warm").header("idempotency-key", "one");
    let body = json!({ "value": 3 });
    let increment = client.request(Method::POST, "/v1/increment/counter");
    for request in [
        conditional.json(&body),
        named.json(&body),
        increment.json(&json!({})),
    ] {
        let refused = request.send().await.expect(503);
        assert_eq!(refused.code(), "UNAVAILABLE");
        assert!(!refused.header("retry-after").is_empty());
    }
    assert_eq!(client.get("warm").await.expect(200).value(), json!(2));
}

async fn a_batch_is_written(client: &ApiClient) {
    let entries = json!({"entries": {"one": {"value": 1}, "two": {"value": 2}}});
    let batch = client.request(Method::POST, "/v1/cache/batch/put").json(&entries);
    let results = batch.send().await.expect(200).member("results");
    for key in ["one", "two"] {
        assert_eq!(results[key]["status"], 201, "{results}");
        assert_eq!(results[key]["durability"], "persisted", "{results}");
    }
    let keys = json!({"keys": ["one"]});
    let batch = client.request(Method::POST, "/v1/cache/batch/delete").json(&keys);
    batch.send().await.expect(200);
    client.get("one").await.expect(404);
    assert_eq!(client.get("two").await.expect(200).value(), json!(2));
}

async fn both_ways_are_visible(house: &House, mode: &str, through: f64) {
    for api in &house.apis {
        eventually("everybody knows who takes the writes", || async {
            let list = api
                .client
                .request(Method::GET, "/v1/admin/watermarks")
                .send()
                .await;
            if list.status != 200 {
                // Each core of an API connects by itself.
                return Err(list.text);
            }
            let list = list.member("watermarks");
            let known = list.as_array().unwrap().iter().all(|of| of["mode"] == mode);
            let shown = api.metric("birbnest_api_write_through").await.to_bits() == through.to_bits();
            let nats = api.health().await.member("checks")["nats"].to_string();
            let told = nats.contains("postgresql takes the writes") == (mode == "Through");
            seen((list, nats), |_| known && shown && told)
        })
        .await;
    }
    assert!(house.api().metric("birbnest_api_writes_through_total").await > 0.0);
}

#[tokio::test]
async fn an_api_that_reaches_nats_publishes_nothing_once_another_one_writes_through() {
    let house = plan().workers(2).links().open().await;
    let link = &house.links().nats;
    house.put("robin", json!(0)).await.expect(201);
    let (mut highest, mut last, mut through, mut number) = (0, 0, [0, 0], 0);
    link.cut();
    let deadline = Instant::now() + PATIENCE;
    while through.iter().any(|writes| *writes < 200) {
        assert!(Instant::now() < deadline, "{through:?}");
        for (client, through) in house.clients().iter().zip(&mut through) {
            number += 1;
            let answer = client.put("robin", json!(number)).await;
            if answer.status == 201 {
                assert!(answer.version() > highest, "{} after {highest}", answer.version());
                (highest, last) = (answer.version(), number);
                *through += usize::from(answer.header("birb-durability") == "persisted");
            }
        }
    }
    // The one that reaches NATS waits for the other.
    until_written(&house.apis[1].client, "robin", "persisted").await;
    let row = house.until_row("robin", |_| true).await;
    assert!(
        row.version.cast_unsigned() > highest,
        "{last} was acknowledged before"
    );

    link.mend();
    until_all_written(&house, "queued").await;
    house.until_writable().await;
    // On a busy machine somebody may take a slow answer of NATS for an outage once more.
    let newest = eventually("the newest is written", || async {
        seen(house.put("robin", json!("newest")).await, |answer| {
            answer.status == 201
        })
    })
    .await;
    house
        .until_row("robin", |row| row.version.cast_unsigned() == newest.version())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_frozen_nats_held_changes_nothing_when_it_arrives_after_the_writes_went_past_it() {
    let house = plan().open().await;
    house.put("held", json!("before")).await.expect(201);
    let load = Load::start(&house.clients(), 4, 40, Duration::from_millis(5));
    load.until_more(200).await;
    house.nats.process().freeze().await;
    // One that comes late is refused, and writes nothing.
    eventually("a write is sent and not answered", || async {
        let unknown = house.put("held", json!("held")).await.expect(503);
        seen(unknown, |unknown| unknown.code() == "TIMEOUT")
    })
    .await;
    until_all_written(&house, "persisted").await;
    let through = house.put("held", json!("through")).await.expect(201);
    load.until_more(200).await;

    house.nats.process().thaw();
    until_all_written(&house, "queued").await;
    load.until_more(200).await;
    let ledger = load.stop().await;
    house.until_kept(&ledger).await;
    house.until_purged().await;
    for client in house.clients() {
        let read = client.get("held").await.expect(200);
        assert_eq!(
            (read.value(), read.version()),
            (json!("through"), through.version())
        );
    }
    house.redis.flush().await;
    assert_eq!(house.get("held").await.expect(200).version(), through.version());
}

#[tokio::test]
async fn what_the_network_held_changes_nothing_when_it_arrives_after_the_writes_went_past_the_queue() {
    let house = plan().workers(2).links().open().await;
    house.put("held", json!("before")).await.expect(201);
    house.links().nats.silence();
    let unknown = house.put("held", json!("held")).await.expect(503);
    assert_eq!(unknown.code(), "TIMEOUT");
    until_all_written(&house, "persisted").await;
    let through = house.apis[1]
        .client
        .put("held", json!("through"))
        .await
        .expect(201);

    house.links().nats.mend();
    until_all_written(&house, "queued").await;
    house.until_purged().await;
    house.redis.flush().await;
    for client in house.clients() {
        let read = client.get("held").await.expect(200);
        assert_eq!(
            (read.value(), read.version()),
            (json!("through"), through.version())
        );
    }
}

#[tokio::test]
async fn without_postgresql_nothing_is_acknowledged_for_longer_than_a_lease() {
    let house = plan().open().await;
    house.put("robin", json!(0)).await.expect(201);
    house.postgres.stop().await;
    let stopped = Instant::now();
    let refused = eventually("writes are refused", || async {
        let asked = stopped.elapsed();
        let answer = house.put("robin", json!(1)).await;
        if answer.status == 201 {
            assert!(
                asked < LEASE,
                "acknowledged after the lease: asked after {asked:?}"
            );
        }
        seen(answer, |answer| answer.status == 503)
    })
    .await;
    assert!(!refused.header("retry-after").is_empty());
    for client in house.clients() {
        eventually("nobody takes writes", || async {
            seen(client.put("robin", json!(2)).await, |answer| answer.status == 503)
        })
        .await;
        client.put("robin", json!(3)).await.expect(503);
    }
    house.postgres.start().await;
    until_all_written(&house, "queued").await;
}

#[tokio::test]
async fn with_reject_an_outage_of_postgresql_costs_no_write_and_one_of_nats_all() {
    let patient = |config: &mut Config| config.redis.command_timeout = Period::from_secs(4);
    let house = House::plan().config(patient).open().await;
    house.put("robin", json!(0)).await.expect(201);
    house.postgres.stop().await;
    let stopped = Instant::now();
    while stopped.elapsed() < LEASE + Duration::from_secs(2) {
        house.put("robin", json!(1)).await.expect(201);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    house.postgres.start().await;
    house.until_writable().await;
    house.nats.kill9();
    let killed = Instant::now();
    while killed.elapsed() < LEASE * 3 {
        house.put("robin", json!(2)).await.expect(503);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    house.nats.start().await;
    until_all_written(&house, "queued").await;
}

#[tokio::test]
async fn a_redis_that_misses_a_write_past_the_queue_serves_no_old_copy() {
    let house = plan().apis(1).open().await;
    house.put("robin", json!(1)).await.expect(201);
    house.redis.process().freeze().await;
    house.nats.kill9();
    let written = eventually_within(PATIENCE, "postgresql takes the write", || async {
        let answer = house.put("robin", json!(2)).await;
        seen(answer, |answer| answer.header("birb-durability") == "persisted")
    })
    .await;
    assert_eq!(written.status, 202);
    house.redis.process().thaw();
    eventually("redis is used again", || async {
        let read = house.get("robin").await.expect(200);
        assert_eq!(read.value(), json!(2));
        house.api().reaches("redis").await
    })
    .await;
    assert_eq!(house.get("robin").await.expect(200).value(), json!(2));
}

#[tokio::test]
async fn a_queue_that_was_closed_by_one_who_died_is_opened_by_others() {
    let house = House::open().await;
    let first = house.put("robin", json!(1)).await.expect(201);
    house
        .postgres
        .run("UPDATE birbnest.fence SET mode = 'Closing'")
        .await;
    let later = eventually_within(PATIENCE, "the next epochs have begun", || async {
        let answer = house.put("robin", json!(2)).await;
        seen(answer, |answer| {
            answer.status == 201 && answer.version() > first.version() + (2 << 32)
        })
    })
    .await;
    assert_eq!(later.header("birb-durability"), "queued");
    house
        .until_row("robin", |row| row.version.cast_unsigned() == later.version())
        .await;
}
