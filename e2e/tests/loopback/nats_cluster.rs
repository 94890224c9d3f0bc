//! Three NATS servers that keep every message three times: any one of them may die. And what ends an epoch.

use std::time::Duration;

use birbnest_core::{EntryId, Partition};
use birbnest_e2e::{
    house::House,
    load::Load,
    wait::{eventually, seen},
};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_that_are_killed_under_load_take_no_acknowledged_write_with_them() {
    let house = House::plan().apis(2).nats_cluster().open().await;
    let load = Load::start(&house.clients(), 4, 200, Duration::ZERO);
    for partition in 0..3 {
        load.until_more(300).await;
        let leader = house.until_led(Partition(partition)).await;
        leader.kill9();
        let away = house.until_writable().await;
        eprintln!("the leader of partition {partition} was killed, writes went on after {away:?}");
        load.until_more(100).await;
        leader.start().await;
        house.until_led(Partition(partition)).await;
    }
    let ledger = load.stop().await;
    assert!(
        ledger.acknowledged > 1_000,
        "{} acknowledged",
        ledger.acknowledged
    );
    house.until_kept(&ledger).await;
}

/// Bases are a multiple of this: what two versions of one epoch share.
const fn epoch_of(version: u64) -> u64 {
    version >> 32
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_keeps_the_epoch() {
    let house = House::plan().nats_cluster().open().await;
    let first = house.put("robin", json!(0)).await.expect(201);
    for member in house.nats_members() {
        member.kill9();
        member.start().await;
        house.until_writable().await;
    }
    let rolled = house.put("robin", json!(1)).await.expect(201);
    assert_eq!(epoch_of(rolled.version()), epoch_of(first.version()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_copies_of_all_stores_end_the_epoch() {
    older_copies_end_the_epoch(&House::plan().nats_cluster().open().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_store_of_a_single_server_ends_the_epoch() {
    older_copies_end_the_epoch(&House::open().await).await;
}

/// Nobody remembers what was acknowledged last: not PostgreSQL, for the worker is away, and not the API, which is killed.
async fn older_copies_end_the_epoch(house: &House) {
    house.worker().stop().await;
    kill_all(house);
    for member in house.nats_members() {
        member.copy_store();
    }
    start_all(house).await;
    house.until_writable().await;
    let mut highest = 0;
    for value in 0..50 {
        let written = house.put("robin", json!(value)).await.expect(201);
        highest = written.version().max(highest);
    }
    house.api().kill9();
    kill_all(house);
    for member in house.nats_members() {
        member.restore_store();
    }
    start_all(house).await;
    house.api().start().await;
    house.until_writable().await;
    let written = house.put("robin", json!("anew")).await.expect(201);
    assert!(
        epoch_of(written.version()) > epoch_of(highest),
        "{} after {highest}",
        written.version()
    );
}

fn kill_all(house: &House) {
    for member in house.nats_members() {
        member.kill9();
    }
}

/// None of them answers before there are two.
async fn start_all(house: &House) {
    for member in house.nats_members() {
        member.process().start();
    }
    for partition in 0..house.layout().count() {
        house.until_led(Partition(partition)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_acknowledged_and_nothing_acknowledged_is_lost() {
    let house = House::plan().nats_cluster().open().await;
    house.worker().stop().await;
    let written = house.put("robin", json!(1)).await.expect(201);
    for member in &house.nats_peers {
        member.kill9();
    }
    house.put("robin", json!(2)).await.expect(503);
    // Only the queue had it. The one that is left may answer from it, until it notices that it is alone. Then PostgreSQL
    // says what it knows, and a reader who asks for the write is told to wait.
    eventually("nobody answers for the queue", || async {
        // A reader to whom it answered has left a copy.
        house.redis.flush().await;
        let read = house.get("robin").await;
        if read.status == 200 {
            assert_eq!(read.version(), written.version());
        }
        seen(read, |read| {
            read.status == 404 && read.header("cache-status").contains("queue-unreachable")
        })
    })
    .await;
    let request = house.api().client.about(reqwest::Method::GET, "robin");
    let version = written.version().to_string();
    request
        .header("birb-min-version", &version)
        .send()
        .await
        .expect(503);
    for member in &house.nats_peers {
        member.process().start();
    }
    house.until_writable().await;
    assert!(house.get("robin").await.expect(200).version() >= written.version());
    house.worker().start().await;
    house
        .until_row("robin", |row| row.version.cast_unsigned() >= written.version())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditional_writes_are_exact_while_the_leader_changes() {
    let house = House::plan().apis(2).nats_cluster().open().await;
    let clients = house.clients();
    let increments = (0..8_usize).map(|client| {
        let clients = &clients;
        async move {
            for number in 0..60 {
                let name = format!("{client}-{number}");
                eventually("an increment is acknowledged", || async {
                    let request = clients[(client + number) % 2]
                        .request(reqwest::Method::POST, "/v1/increment/counter")
                        .header("idempotency-key", &name);
                    seen(request.send().await, |answer| answer.status.is_success())
                })
                .await;
            }
        }
    });
    let fault = async {
        let key = EntryId::global("counter".parse().unwrap());
        let partition = house.layout().partition(key.hash());
        let leader = house.until_led(partition).await;
        eventually("some increments are made", || async {
            let read = house.get("counter").await;
            seen(read.status == 200 && read.value().as_u64() > Some(50), |made| {
                *made
            })
        })
        .await;
        leader.kill9();
    };
    tokio::join!(futures::future::join_all(increments), fault);
    assert_eq!(house.get("counter").await.expect(200).value(), json!(480));
}
