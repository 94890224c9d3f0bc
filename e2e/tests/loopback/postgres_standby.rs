//! PostgreSQL has the entries in several tables, and a standby, which takes over when the primary is gone: with everything
//! that was committed, or without the last of it.

use std::time::Duration;

use birbnest_core::config::Period;
use birbnest_e2e::{
    house::{House, Plan},
    load::Load,
    table::Table,
    wait::{eventually, eventually_within, seen},
};
use reqwest::Method;
use serde_json::json;

/// How long BirbNest may take to find the member that accepts writes: it looks each two to four seconds.
const SECONDS: Duration = Duration::from_secs(15);

fn plan(horizon: u64) -> Plan {
    House::plan().standby().config(|config| {
        config.stream.horizon = Period::from_secs(horizon);
        config.postgres.table_partitions = 8;
    })
}

/// The primary dies and its standby takes over.
async fn fail_over(house: &mut House) {
    house.postgres.kill9();
    house.standby().promote().await;
    house.table = Table::new(&house.standby().url(), &house.config.postgres.schema);
}

/// Waits until the standby has this version of a key.
async fn until_replicated(house: &House, key: &str, version: u64) {
    let standby = Table::new(&house.standby().url(), &house.config.postgres.schema);
    standby
        .until_row(key, |row| row.version.cast_unsigned() == version)
        .await;
}

/// Waits until the worker has acknowledged so many messages.
async fn until_acknowledged(house: &House, messages: f64) {
    eventually("everything is acknowledged", || async {
        let metric = "birbnest_worker_messages_acknowledged_total";
        seen(house.worker().metric(metric).await, |acknowledged| {
            *acknowledged >= messages
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_under_load_and_nothing_that_was_acknowledged_is_lost() {
    let mut house = plan(10).apis(2).workers(2).open().await;
    house.put("old", json!(1)).await.expect(201);
    house.until_purged().await;
    let load = Load::start(&house.clients(), 4, 100, Duration::from_millis(1));
    load.until_more(500).await;

    house.postgres.kill9();
    load.until_more(200).await;
    fail_over(&mut house).await;
    house.redis.flush().await;
    eventually_within(SECONDS, "what only PostgreSQL holds is read again", || async {
        seen(house.get("old").await, |answer| answer.status == 200)
    })
    .await;
    load.until_more(500).await;
    let ledger = load.stop().await;

    let refused: Vec<_> = ledger
        .failures
        .iter()
        .filter(|failure| !failure.starts_with("GET"))
        .collect();
    assert_eq!(refused, Vec::<&String>::new(), "writes go on all the time");
    house.until_kept(&ledger).await;
    house.until_purged().await;
}

#[tokio::test]
async fn commits_that_the_standby_never_saw_come_back_from_the_stream() {
    let mut house = plan(60).open().await;
    for key in ["robin", "wren"] {
        let before = house.put(key, json!(1)).await.expect(201).version();
        until_replicated(&house, key, before).await;
    }
    house.standby().fall_behind().await;
    let overwritten = house.put("robin", json!(2)).await.expect(201).version();
    let made = house.put("finch", json!(3)).await.expect(201).version();
    house.delete("wren").await.expect(204);
    house
        .until_row("finch", |row| row.version.cast_unsigned() == made)
        .await;
    house.until_row("wren", |row| row.tombstone).await;
    until_acknowledged(&house, 5.0).await;

    fail_over(&mut house).await;
    assert_eq!(
        house.table.row("finch").await.unwrap(),
        None,
        "the commit is lost"
    );
    house.redis.flush().await;
    let min_version = overwritten.to_string();
    let as_of = |key: &'static str| {
        let request = house.api().client.about(Method::GET, key);
        request.header("birb-min-version", &min_version).send()
    };
    eventually("robin is in PostgreSQL again", || async {
        // At no moment does a read go back.
        let read = as_of("robin").await;
        assert!(read.status == 503 || read.version() == overwritten, "{read:?}");
        let row = house
            .table
            .row("robin")
            .await
            .map_err(|error| error.to_string())?;
        seen(row, |row| {
            row.as_ref()
                .is_some_and(|row| row.version.cast_unsigned() == overwritten)
        })
    })
    .await;
    house
        .until_row("finch", |row| row.version.cast_unsigned() == made)
        .await;
    house.until_row("wren", |row| row.tombstone).await;
    assert_eq!(house.get("robin").await.expect(200).value(), json!(2));
    house.get("wren").await.expect(404);
    assert!(house.put("robin", json!(4)).await.expect(201).version() > made);
}

#[tokio::test]
async fn an_epoch_that_the_standby_never_saw_is_not_given_again() {
    let mut house = plan(60).apis(2).open().await;
    let before = house.put("robin", json!(1)).await.expect(201).version();
    until_replicated(&house, "robin", before).await;
    house.standby().fall_behind().await;
    // A single server that comes back is another life: the epoch is raised.
    house.nats.kill9();
    house.nats.start().await;
    house.until_writable().await;
    let late = house.put("robin", json!(2)).await.expect(201).version();
    assert!(late > before + (1 << 32), "{late} after {before}");

    fail_over(&mut house).await;
    // One API has lived through it all, another one comes now.
    house.apis[1].kill9();
    house.apis[1].start().await;
    house.apis[1].until_ready().await;
    let mut last = late;
    for turn in 0..20 {
        let api = &house.apis[turn % 2].client;
        eventually("a write is taken", || async {
            let answer = api.put("robin", json!(turn)).await;
            seen(answer, |answer| answer.status == 201)
        })
        .await;
        for api in &house.apis {
            let read = api.client.get("robin").await.expect(200);
            assert_eq!(read.value(), json!(turn));
            assert!(read.version() > last, "{} after {last}", read.version());
        }
        last = house.get("robin").await.version();
    }
    house
        .until_row("robin", |row| row.version.cast_unsigned() == last)
        .await;
}
