//! Servers go away, freeze and come back; processes are killed. Nothing that was acknowledged is lost, and what cannot
//! be promised is refused.

use std::time::Duration;

use birbnest_core::config::Period;
use birbnest_e2e::{
    house::House,
    load::{Load, fill},
    wait::{eventually, seen},
};
use serde_json::json;

#[tokio::test]
async fn without_redis_writes_are_202_and_reads_come_from_stream_and_postgresql() {
    let house = House::open().await;
    house.put("old", json!(1)).await.expect(201);
    house.until_purged().await;
    house.redis.stop().await;

    let written = house.put("robin", json!(2)).await.expect(202);
    assert_eq!(house.get("robin").await.expect(200).version(), written.version());
    assert_eq!(house.get("old").await.expect(200).value(), json!(1));
    house.get("never").await.expect(404);
    let row = house
        .until_row("robin", |row| row.value.as_deref() == Some("2"))
        .await;
    assert_eq!(row.version.cast_unsigned(), written.version());
    house.delete("old").await.expect(204);
    house.get("old").await.expect(404);

    house.redis.start().await;
    house.until_writable().await;
    assert_eq!(house.get("robin").await.expect(200).value(), json!(2));
    house.get("old").await.expect(404);
    house.until_purged().await;
}

#[tokio::test]
async fn a_redis_that_freezes_delays_nobody_for_long() {
    let house = House::open().await;
    house.put("robin", json!(1)).await.expect(201);
    house.redis.process().freeze().await;
    house.put("robin", json!(2)).await.expect(202);
    assert_eq!(house.get("robin").await.expect(200).value(), json!(2));
    house.redis.process().thaw();
    // It still holds the old value; nobody may read it once Redis answers again.
    eventually("Redis is used again", || async {
        let read = house.get("robin").await.expect(200);
        assert_eq!(read.value(), json!(2));
        house.api().reaches("redis").await
    })
    .await;
    house.until_purged().await;
    assert_eq!(house.get("robin").await.expect(200).value(), json!(2));
}

#[tokio::test]
async fn a_restarted_or_flushed_redis_serves_no_old_value() {
    let house = House::plan().apis(2).open().await;
    house.put("robin", json!(1)).await.expect(201);
    house.redis.flush().await;
    assert_eq!(house.get("robin").await.expect(200).value(), json!(1));
    house.redis.stop().await;
    house.put("robin", json!(2)).await.expect(202);
    house.redis.start().await;
    house.until_writable().await;
    for client in house.clients() {
        assert_eq!(client.get("robin").await.expect(200).value(), json!(2));
    }
    house.put("robin", json!(3)).await.expect(201);
    for client in house.clients() {
        assert_eq!(client.get("robin").await.expect(200).value(), json!(3));
    }
}

#[tokio::test]
async fn without_nats_writes_are_refused_and_hits_are_served() {
    let house = House::open().await;
    house.put("warm", json!(1)).await.expect(201);
    house.put("cold", json!(2)).await.expect(201);
    house.until_purged().await;
    house.redis.flush().await;
    house.get("warm").await.expect(200);
    house.nats.stop().await;

    let refused = house.put("refused", json!(1)).await.expect(503);
    assert!(!refused.header("retry-after").is_empty());
    assert!(!refused.code().is_empty());
    assert_eq!(house.get("warm").await.expect(200).value(), json!(1));
    let cold = house.get("cold").await.expect(200);
    assert_eq!(cold.value(), json!(2));
    assert!(cold.header("cache-status").contains("queue-unreachable"));
    let absent = house.get("absent").await.expect(404);
    assert!(absent.header("cache-status").contains("queue-unreachable"));
    house.delete("warm").await.expect(503);

    house.nats.start().await;
    house.until_writable().await;
    // A refused write is not sent later.
    house.until_purged().await;
    house.redis.flush().await;
    house.get("refused").await.expect(404);
    assert_eq!(house.get("warm").await.expect(200).value(), json!(1));
}

#[tokio::test]
async fn a_frozen_nats_gets_an_answer_in_time_and_a_write_of_unknown_outcome_says_so() {
    let house = House::open().await;
    house.put("robin", json!(1)).await.expect(201);
    house.nats.process().freeze().await;
    let unknown = house.put("robin", json!(2)).await.expect(503);
    assert!(
        unknown
            .member("detail")
            .as_str()
            .is_some_and(|detail| detail.contains("unknown")),
        "{}",
        unknown.text
    );
    house.nats.process().thaw();
    house.until_writable().await;
    // Either write may be there; all places agree on which.
    let read = house.get("robin").await.expect(200);
    house.until_purged().await;
    let row = house.table.row("robin").await.unwrap().unwrap();
    assert!(row.version.cast_unsigned() >= read.version());
    assert_eq!(house.get("robin").await.expect(200).value(), row.json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_kill_of_nats_is_there_afterwards() {
    let house = House::plan().apis(2).open().await;
    let load = Load::start(&house.clients(), 8, 200, Duration::ZERO);
    for _ in 0..3 {
        load.until_more(500).await;
        house.nats.kill9();
        load.until_more(50).await;
        house.nats.start().await;
        house.until_writable().await;
    }
    load.until_more(500).await;
    let ledger = load.stop().await;
    assert!(
        ledger.acknowledged > 1_000,
        "{} acknowledged",
        ledger.acknowledged
    );
    house.until_kept(&ledger).await;
}

#[tokio::test]
async fn without_postgresql_writes_are_acknowledged_and_persisted_later() {
    let house = House::open().await;
    house.put("old", json!(1)).await.expect(201);
    house.until_purged().await;
    house.get("old").await.expect(200);
    house.postgres.stop().await;

    let ledger = fill(&house.api().client, 0..2_000, 16).await;
    assert_eq!(ledger.failures, Vec::<String>::new());
    assert_eq!(house.get("fill-7").await.expect(200).value(), json!(7));
    // A hit is a hit, a queued write is found in the stream, and what only PostgreSQL knows is not called missing.
    assert_eq!(house.get("old").await.expect(200).value(), json!(1));
    house.redis.flush().await;
    assert_eq!(house.get("fill-8").await.expect(200).value(), json!(8));
    let unknown = house.get("old").await.expect(503);
    assert!(!unknown.header("retry-after").is_empty());

    house.postgres.start().await;
    house.until_kept(&ledger).await;
    // The API looks once a second whether the database is back.
    let old = eventually("what only PostgreSQL knows is read again", || async {
        seen(house.get("old").await, |answer| answer.status == 200)
    })
    .await;
    assert_eq!(old.value(), json!(1));
}

#[tokio::test]
async fn an_overwrite_during_a_postgres_outage_survives() {
    let house = House::open().await;
    let first = house.put("robin", json!({"eggs": 1})).await.expect(201);
    house
        .until_row("robin", |row| row.version.cast_unsigned() == first.version())
        .await;
    house.postgres.kill9();
    let second = house.put("robin", json!({"eggs": 2})).await.expect(201);
    house.postgres.start().await;
    house
        .until_row("robin", |row| row.version.cast_unsigned() == second.version())
        .await;
    house.redis.flush().await; // else the cache answers for the table
    assert_eq!(house.get("robin").await.expect(200).value(), json!({"eggs": 2}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_in_the_middle_of_the_drain_loses_nothing() {
    let house = House::plan().config(|c| c.worker.batch.size = 20).open().await;
    house.worker().kill9();
    let mut ledger = fill(&house.api().client, 0..10_000, 32).await;
    // Overwrite half of it, so that the last values are not the only ones in the stream's history.
    ledger.merge(fill(&house.api().client, 0..5_000, 32).await);
    for rows in [1, 2_000, 5_000] {
        house.worker().start().await;
        eventually("the drain has come so far", || async {
            let count = house.table.count().await.map_err(|error| error.to_string())?;
            seen(count, |count| *count >= rows)
        })
        .await;
        house.worker().kill9();
    }
    house.worker().start().await;
    house.until_kept(&ledger).await;
    assert_eq!(house.table.count().await.unwrap(), 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_is_killed_takes_no_acknowledged_write_with_it() {
    let house = House::plan().apis(2).open().await;
    let load = Load::start(&house.clients(), 8, 200, Duration::ZERO);
    load.until_more(1_000).await;
    house.apis[0].kill9();
    load.until_more(1_000).await;
    house.apis[0].start().await;
    load.until_more(1_000).await;
    let ledger = load.stop().await;
    house.until_kept(&ledger).await;
    house.until_purged().await;
    // The cache agrees with the table, also where an API died between the two.
    let rows = house.table.rows().await;
    for key in ledger.keys() {
        let read = house.get(key).await.expect(200);
        assert_eq!(read.version(), rows[key].version.cast_unsigned(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_apis_that_overwrite_the_same_keys_the_highest_acknowledged_version_wins() {
    let house = House::plan()
        .apis(2)
        .workers(2)
        .config(|c| c.stream.partitions = 3)
        .open()
        .await;
    let load = Load::start(&house.clients(), 16, 20, Duration::ZERO);
    load.until_more(5_000).await;
    let ledger = load.stop().await;
    assert_eq!(ledger.failures, Vec::<String>::new());
    house.until_kept(&ledger).await;
    let rows = house.table.rows().await;
    for (client, key) in house
        .clients()
        .iter()
        .flat_map(|c| ledger.keys().map(move |key| (c, key)))
    {
        assert_eq!(
            client.get(key).await.expect(200).version(),
            rows[key].version.cast_unsigned(),
            "{key}"
        );
    }
}

#[tokio::test]
async fn a_full_stream_refuses_and_drops_nothing() {
    let house = House::plan()
        .workers(0)
        .config(|c| c.stream.max_messages = 1_000)
        .open()
        .await;
    let ledger = fill(&house.api().client, 0..1_200, 8).await;
    assert_eq!(ledger.acknowledged, 1_000);
    let refused = house.put("one-more", json!(1)).await.expect(503);
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(house.queued().await.unwrap(), 1_000);
    for key in ["fill-0", "fill-500"] {
        house.get(key).await.expect(200);
    }
}

#[tokio::test]
async fn an_api_killed_between_queue_and_redis_leaves_an_old_copy_only_until_the_worker_comes() {
    // It waits for Redis for longer than it takes to see the queue and to kill it.
    let plan = House::plan()
        .apis(2)
        .config(|config| config.redis.command_timeout = Period::from_secs(4));
    let house = plan.open().await;
    let old = house.put("robin", json!(1)).await.expect(201);
    house.until_purged().await;
    house.api().client.until_hit("robin").await;
    house.worker().stop().await;
    house.redis.process().freeze().await;
    let write = tokio::spawn({
        let client = house.api().client.clone();
        async move {
            client
                .about(reqwest::Method::PUT, "robin")
                .json(&json!({"value": 2}))
                .try_send()
                .await
        }
    });
    eventually("the write is in the queue", || async {
        seen(house.queued().await?, |queued| *queued > 0)
    })
    .await;
    house.api().kill9();
    assert!(write.await.unwrap().is_err(), "nobody was told that it was made");
    house.redis.process().thaw();

    house.worker().start().await;
    eventually("the old copy is gone", || async {
        let read = house.apis[1].client.get("robin").await.expect(200);
        seen(read.value(), |value| *value == json!(2))
    })
    .await;
    let row = house
        .until_row("robin", |row| row.value.as_deref() == Some("2"))
        .await;
    assert!(row.version.cast_unsigned() > old.version());
}

#[tokio::test]
async fn a_redis_that_only_some_can_reach_serves_an_old_copy_for_seconds_at_most() {
    let house = House::plan().apis(2).links().open().await;
    let (cut_off, other) = (&house.apis[0].client, &house.apis[1].client);
    other.put("robin", json!(1)).await.expect(201);
    house.until_purged().await;
    other.until_hit("robin").await;
    let link = &house.links().redis;
    link.cut();
    let written = cut_off.put("robin", json!(2)).await.expect(202);
    assert_eq!(cut_off.get("robin").await.expect(200).value(), json!(2));
    // The worker cannot reach Redis either. It makes every copy void before it acknowledges the write.
    let read = eventually("nobody reads the old copy", || async {
        let read = other.get("robin").await.expect(200);
        seen(read, |read| read.value() == json!(2))
    })
    .await;
    assert_eq!(read.version(), written.version());
    let version = written.version().to_string();
    let request = other
        .about(reqwest::Method::GET, "robin")
        .header("birb-min-version", &version);
    assert_eq!(request.send().await.expect(200).value(), json!(2));

    link.mend();
    house.until_writable().await;
    house.until_purged().await;
    assert_eq!(cut_off.get("robin").await.expect(200).value(), json!(2));
    assert_eq!(other.get("robin").await.expect(200).value(), json!(2));
}

#[tokio::test]
async fn health_says_in_the_servers_own_words_why_postgresql_lets_nobody_in() {
    let house = House::open().await;
    let until_said = async |words: &str| {
        eventually(&format!("/health says {words:?}"), || async {
            let health = house.api().health().await;
            let database = health.member("checks")["database"].to_string();
            seen(database, |database| database.contains(words))
        })
        .await;
    };
    let taken = house.postgres.take_all_connections().await;
    until_said("too many clients").await;
    drop(taken);
    house.postgres.stop().await;
    until_said("Connection refused").await;
    house.postgres.start().await;
    until_said("\"healthy\"").await;
}
