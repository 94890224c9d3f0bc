//! Conditional increments while NATS is killed again and again: what was acknowledged is counted exactly once.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use birbnest_e2e::{client::ApiClient, house::House};
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

const CLIENTS: usize = 96;
const KEYS: usize = 4;
const KILLS: u32 = 3;
/// Between two kills.
const PEACE: Duration = Duration::from_secs(6);
/// After the last kill everybody must get an answer within this time.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two attempts of the same increment.
const PAUSE: Duration = Duration::from_millis(200);

/// An increment under one name, sent until it is acknowledged.
async fn increment(clients: &[ApiClient], key: &str, name: &str, retries: &AtomicU64, deadline: Instant) {
    for attempt in 0.. {
        let request = clients[attempt % clients.len()].request(Method::POST, &format!("/v1/increment/{key}"));
        let answer = request
            .json(&json!({}))
            .header("idempotency-key", name)
            .try_send()
            .await;
        match answer.map(|answer| (answer.status.as_u16(), answer.text)) {
            Ok((200..=202, _)) => return,
            Ok((503, _)) | Err(_) => {}
            Ok((status, text)) => panic!("{status}: {text}"),
        }
        assert!(Instant::now() < deadline, "{name} is never acknowledged");
        retries.fetch_add(1, Ordering::Relaxed);
        sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_increments_add_up_exactly_while_nats_is_killed() {
    let house = House::plan()
        .apis(2)
        .config(|config| config.stream = birbnest_core::config::StreamConfig::default());
    let house = house.open().await;
    let (stop, retries) = (AtomicBool::new(false), AtomicU64::new(0));
    let deadline = Instant::now() + PEACE * KILLS + PATIENCE;
    let clients = house.clients();
    let acknowledged: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let load = futures::future::join_all((0..CLIENTS).map(|client| {
        let (stop, retries, clients, acknowledged) = (&stop, &retries, &clients, &acknowledged);
        async move {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (key, name) = (client % KEYS, format!("{client}-{number}"));
                increment(clients, &format!("counter-{key}"), &name, retries, deadline).await;
                acknowledged[key].fetch_add(1, Ordering::Relaxed);
            }
        }
    }));
    let faults = async {
        for _ in 0..KILLS {
            // The time between kills is part of the story.
            sleep(PEACE).await;
            house.nats.kill9();
            house.nats.start().await;
        }
        sleep(PEACE).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, faults);
    let mut total = 0;
    for (key, acknowledged) in acknowledged.iter().enumerate() {
        let (key, count) = (format!("counter-{key}"), acknowledged.load(Ordering::Relaxed));
        let value = house.get(&key).await.expect(200).value();
        assert_eq!(value, json!(count), "{key}");
        house
            .until_row(&key, |row| row.value.as_deref() == Some(&count.to_string()))
            .await;
        total += count;
    }
    let retries = retries.load(Ordering::Relaxed);
    eprintln!("{total} increments acknowledged by {CLIENTS} clients, {retries} sent again, {KILLS} kills");
    assert!(
        total > 1_000 && retries > 0,
        "{total} increments and {retries} retries prove little"
    );
}
