//! While PostgreSQL is away: nothing is pulled, nothing is delivered twice, and it is asked with care.

use std::time::Duration;

use async_nats::jetstream::consumer;
use birbnest_core::config::Config;
use birbnest_e2e::wait::{eventually, seen};
use tokio::time::Instant;

use super::nest::{Nest, PARTITION};

const ACK_WAIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_outage_longer_than_ack_wait_delivers_nothing_twice_and_pulls_nothing() {
    let mut config = Config::default();
    (config.worker.batch.size, config.worker.batch.adaptive) = (10, false);
    let in_hand = 2 * usize::from(config.worker.concurrency) * 10;
    let (nest, server) = Nest::apart(config).await;
    let stream = nest.stream().await;
    let mut settings = stream.consumer_info(nest.consumer().await).await.unwrap().config;
    settings.ack_wait = ACK_WAIT;
    let _: consumer::Consumer<consumer::Config> = stream.update_consumer(settings).await.unwrap();
    let (one, two) = (nest.worker().await, nest.worker().await);
    nest.put("k", "0").await;
    nest.until_text("k", "0").await;
    nest.until_all_acknowledged().await;

    server.stop().await;
    let since = Instant::now();
    for i in 0..200 {
        nest.put(&format!("k{i}"), "1").await;
    }
    for worker in [&one, &two] {
        eventually("the breaker opens, and the report says so", || async {
            let phase = worker.metric("birbnest_worker_database_breaker").await;
            seen((phase, worker.check("database").await?), |(phase, check)| {
                *phase >= 1.0 && check != "healthy"
            })
        })
        .await;
    }
    let seen_so_far = nest.until_consumer("batches are in hand for longer than ack_wait", |info| {
        info.num_ack_pending > 0 && since.elapsed() > 3 * ACK_WAIT
    });
    let info = seen_so_far.await;
    assert!(
        info.num_ack_pending <= in_hand,
        "{} in hand",
        info.num_ack_pending
    );
    assert_eq!(info.num_redelivered, 0);

    server.start().await;
    for i in 0..200 {
        nest.until_text(&format!("k{i}"), "1").await;
    }
    nest.until_all_acknowledged().await;
    for worker in [one, two] {
        let redelivered = worker.metric("birbnest_worker_messages_redelivered_total").await;
        assert!(redelivered < 1.0, "{redelivered} were delivered twice");
        eventually("the breaker is closed", || async {
            let phase = worker.metric("birbnest_worker_database_breaker").await;
            seen((phase, worker.check("database").await?), |(phase, check)| {
                *phase < 1.0 && check == "healthy"
            })
        })
        .await;
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_database_that_only_refuses_to_write_is_asked_by_small_statements() {
    let (nest, server) = Nest::apart(Config::default()).await;
    let worker = nest.worker().await;
    nest.put("k", "0").await;
    nest.until_text("k", "0").await;
    let fence = nest.postgres.fence(PARTITION).await.unwrap().unwrap();
    server.read_only(true).await;
    nest.put("k", "1").await;
    eventually("the breaker opens", || async {
        seen(worker.metric("birbnest_worker_database_breaker").await, |phase| {
            *phase >= 1.0
        })
    })
    .await;
    let errors = worker.metric("birbnest_worker_upsert_errors_total").await;
    let since = Instant::now();
    eventually("some time goes by", || async {
        seen(since.elapsed(), |elapsed| *elapsed > Duration::from_secs(4))
    })
    .await;
    let later = worker.metric("birbnest_worker_upsert_errors_total").await;
    assert!(
        (later - errors).abs() < 3.0,
        "no batch is tried meanwhile: {errors}, then {later}"
    );
    server.read_only(false).await;
    nest.until_text("k", "1").await;
    let after = nest.postgres.fence(PARTITION).await.unwrap().unwrap();
    assert_eq!(after.epoch, fence.epoch);
    worker.stop().await;
}
