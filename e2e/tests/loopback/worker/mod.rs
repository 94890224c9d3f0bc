//! The worker against real servers, in this process: from the persist stream into PostgreSQL.

mod dead_letters;
mod epoch;
mod nest;
mod outage;

use std::collections::BTreeMap;

use birbnest_core::{Content, config::Config};
use birbnest_e2e::{
    servers::{NatsServer, PostgresServer, RedisServer},
    wait::{eventually, seen},
};
use birbnest_stores::postgres::Observed;
use nest::{Nest, PARTITION};

#[tokio::test]
async fn a_backlog_is_drained_coalesced_and_purged() {
    let nest = Nest::open().await;
    let mut last = BTreeMap::new();
    for i in 0..300 {
        let (key, value) = (format!("k{}", i % 50), i.to_string());
        nest.put(&key, &value).await;
        last.insert(key, value);
    }
    nest.append("k7", Content::Tombstone).await;
    last.insert("k7".to_owned(), "(tombstone)".to_owned());

    let worker = nest.worker().await;
    for (key, value) in &last {
        nest.until_text(key, value).await;
    }
    nest.until_all_acknowledged().await;
    eventually("the stream is purged up to the mark", || async {
        let messages = nest.stream().await.cached_info().state.messages;
        let fence = nest.postgres.fence(PARTITION).await.unwrap().unwrap();
        seen((messages, fence), |(messages, fence)| {
            *messages == 0 && fence.mark == fence.highest_version
        })
    })
    .await;
    assert!(worker.metric("birbnest_worker_rows_total").await >= 50.0);
    let limit = worker.metric("birbnest_worker_batch_size_limit").await;
    assert!((limit - f64::from(nest.config.worker.batch.size)).abs() < f64::EPSILON);
    worker.stop().await;
}

#[tokio::test]
async fn a_tombstone_is_swept_once_nothing_older_can_come() {
    let nest = Nest::open().await;
    let worker = nest.worker().await;
    nest.append("gone", Content::Tombstone).await;
    eventually("the tombstone is swept", || async {
        let found = nest.text("gone").await?;
        let swept = worker.metric("birbnest_worker_rows_swept_total").await;
        seen((found, swept), |(found, swept)| found.is_none() && *swept >= 1.0)
    })
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn a_ghost_is_acknowledged_and_not_written() {
    let nest = Nest::open().await;
    let ghost = nest.put("ghost", "1").await;
    let fence = nest.postgres.fence(PARTITION).await.unwrap().unwrap();
    let observed = Observed {
        term: fence.term(),
        incarnation: fence.incarnation,
        mark: ghost,
        purge_sequence: 0,
        highest_version: ghost,
    };
    assert!(nest.postgres.record_mark(PARTITION, &observed).await.unwrap());
    let worker = nest.worker().await;
    nest.put("alive", "2").await;
    nest.until_text("alive", "2").await;
    nest.until_all_acknowledged().await;
    assert_eq!(nest.text("ghost").await.unwrap(), None);
    assert!((worker.metric("birbnest_worker_ghosts_total").await - 1.0).abs() < f64::EPSILON);
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_asked_to_end_leaves_nothing_in_hand() {
    let nest = Nest::open().await;
    let worker = nest.worker().await;
    for i in 0..200 {
        nest.put(&format!("k{i}"), "1").await;
    }
    worker.stop().await;
    let left = nest
        .until_consumer("nothing is in anybody's hand", |info| info.num_ack_pending == 0)
        .await;
    let rows = async {
        let mut rows = 0;
        for i in 0..200 {
            rows += u64::from(nest.text(&format!("k{i}")).await.unwrap().is_some());
        }
        rows
    };
    assert_eq!(
        rows.await + left.num_pending,
        200,
        "what was acknowledged is written, the rest still waits"
    );
}

#[tokio::test]
async fn a_missing_consumer_is_made_again() {
    let nest = Nest::open().await;
    let worker = nest.worker().await;
    nest.put("before", "1").await;
    nest.until_text("before", "1").await;
    let consumer = nest.consumer().await;
    nest.stream().await.delete_consumer(&consumer).await.unwrap();
    nest.put("after", "2").await;
    nest.until_text("after", "2").await;
    nest.until_all_acknowledged().await;
    assert_eq!(worker.check("nats").await.unwrap(), "healthy");
    worker.stop().await;
}

#[tokio::test]
async fn while_postgresql_is_away_writes_wait_and_then_all_arrive() {
    let (nest, server) = Nest::apart(Config::default()).await;
    let worker = nest.worker().await;
    nest.put("k", "0").await;
    nest.until_text("k", "0").await;
    server.stop().await;
    for i in 1..=50 {
        nest.put(&format!("k{i}"), "1").await;
    }
    nest.put("k", "1").await;
    eventually("the report says that the database is away", || async {
        seen(worker.check("database").await?, |check| check != "healthy")
    })
    .await;
    server.start().await;
    for i in 1..=50 {
        nest.until_text(&format!("k{i}"), "1").await;
    }
    nest.until_text("k", "1").await;
    nest.until_all_acknowledged().await;
    worker.stop().await;
}

#[tokio::test]
async fn without_redis_messages_are_acknowledged_only_after_its_copies_became_void() {
    let redis = RedisServer::start_new().await;
    let database = PostgresServer::shared().await.fresh_database().await;
    let nest = Nest::at(&redis, NatsServer::shared().await, database, Config::default()).await;
    let worker = nest.worker().await;
    nest.put("k", "0").await;
    nest.until_text("k", "0").await;
    nest.until_all_acknowledged().await;
    let generation = || async { nest.postgres.fence(PARTITION).await.unwrap().unwrap().generation };
    let before = generation().await;

    redis.stop().await;
    nest.put("k", "1").await;
    nest.until_text("k", "1").await;
    let held = nest
        .stream()
        .await
        .consumer_info(nest.consumer().await)
        .await
        .unwrap()
        .num_ack_pending;
    assert_eq!((held, generation().await), (1, before), "committed, and held");
    nest.until_all_acknowledged().await;
    assert!(generation().await > before);
    worker.stop().await;
}

#[tokio::test]
async fn two_workers_share_the_work_and_one_sweeps() {
    let nest = Nest::open().await;
    let (one, two) = (nest.worker().await, nest.worker().await);
    for i in 0..500 {
        nest.put(&format!("k{i}"), "1").await;
    }
    for i in 0..500 {
        nest.until_text(&format!("k{i}"), "1").await;
    }
    nest.until_all_acknowledged().await;
    eventually("one of them leads", || async {
        let mut leaders = 0;
        for worker in [&one, &two] {
            let text = reqwest::get(format!("{}/metrics", worker.url))
                .await
                .unwrap()
                .text()
                .await
                .unwrap();
            leaders += usize::from(text.contains("birbnest_worker_mark{"));
        }
        seen(leaders, |leaders| *leaders == 1)
    })
    .await;
    one.stop().await;
    two.stop().await;
}
