//! What the clients of a soak do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use birbnest_e2e::{
    client::{Answer, ApiClient},
    house::House,
    slow::{SlowClients, Slowness},
    wait::{eventually, seen},
};
use futures::{StreamExt, future::join_all, stream};
use rand::RngExt;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use crate::Settings;

/// Writes of one request while the queue is filled.
const BATCH: u64 = 100;
/// Such requests at the same time.
const FILLERS: usize = 8;
/// Keys of a batch that is read.
const READ_TOGETHER: u64 = 20;
/// Bytes of a large value, and how many there are: what slow clients read.
const LARGE: usize = 500_000;
const LARGE_KEYS: u64 = 16;
/// The server cuts slow clients sooner or later; so often they come anew.
const SLOW_AGAIN: Duration = Duration::from_secs(15);

/// Writes every key once.
pub(crate) async fn fill(house: &House, keys: u64, bytes: usize) {
    let (client, value) = (&house.api().client, value(bytes));
    let batches = stream::iter((0..keys).step_by(usize::try_from(BATCH).unwrap_or(1)));
    let written = batches.map(|first| {
        let numbers = first..(first + BATCH).min(keys);
        let entries: Map<String, Value> = numbers
            .map(|number| (key(number), json!({ "value": value })))
            .collect();
        let body = json!({ "entries": entries });
        async move {
            eventually("a batch is queued", || async {
                let request = client.request(Method::POST, "/v1/cache/batch/put").json(&body);
                seen(request.send().await, all_written)
            })
            .await;
        }
    });
    written.buffer_unordered(FILLERS).collect::<Vec<()>>().await;
}

fn all_written(answer: &Answer) -> bool {
    let json = answer.json();
    let Some(results) = json.get("results").and_then(Value::as_object) else {
        return false;
    };
    results
        .values()
        .all(|result| result["status"] == 201 || result["status"] == 202)
}

fn key(number: u64) -> String {
    format!("soak-{number}")
}

fn value(bytes: usize) -> String {
    "robin ".chars().cycle().take(bytes.saturating_sub(2)).collect()
}

/// A steady mix of requests, and slow clients beside it.
pub(crate) struct Mix {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
    slow: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    done: AtomicU64,
    failed: AtomicU64,
}

impl Mix {
    pub(crate) async fn start(house: &House, settings: &Settings) -> Self {
        let shared = Arc::new(Shared::default());
        for number in 0..LARGE_KEYS {
            house
                .put(&format!("large-{number}"), json!(value(LARGE)))
                .await
                .expect(201);
        }
        let client = |_| {
            let (client, shared) = (house.api().client.clone(), Arc::clone(&shared));
            tokio::spawn(ask(client, shared, settings.keys, settings.bytes))
        };
        let slow = tokio::spawn(be_slow(house.api().address(), settings.slow));
        Self {
            clients: (0..settings.clients).map(client).collect(),
            shared,
            slow,
        }
    }

    /// Requests that were answered so far.
    pub(crate) fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Ends it; returns how many requests were answered, and how many of these not as they should.
    pub(crate) async fn stop(self) -> (u64, u64) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        join_all(self.clients).await;
        self.slow.abort();
        let Shared { done, failed, .. } = &*self.shared;
        (done.load(Ordering::Relaxed), failed.load(Ordering::Relaxed))
    }
}

async fn ask(client: ApiClient, shared: Arc<Shared>, keys: u64, bytes: usize) {
    let value = json!(value(bytes));
    while !shared.stopped.load(Ordering::Relaxed) {
        let answer = one(&client, keys, &value).await;
        shared.done.fetch_add(1, Ordering::Relaxed);
        // What is shed while slow clients hold the memory was answered as it should be.
        let shed =
            answer.status == StatusCode::SERVICE_UNAVAILABLE && !answer.header("retry-after").is_empty();
        if !answer.status.is_success() && !shed {
            eprintln!("{}: {}", answer.status, answer.text);
            shared.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn one(client: &ApiClient, keys: u64, value: &Value) -> Answer {
    let number = rand::rng().random_range(0..keys);
    let key = key(number);
    let dice = rand::rng().random_range(0..100);
    match dice {
        0..70 => client.get(&key).await,
        70..90 => client.put(&key, value.clone()).await,
        90..95 => {
            let keys: Vec<String> = (number..number + READ_TOGETHER).map(self::key).collect();
            let batch = client.request(Method::POST, "/v1/cache/batch/get");
            batch.json(&json!({ "keys": keys })).send().await
        }
        95..98 => client.get(&format!("large-{}", number % LARGE_KEYS)).await,
        98 => {
            client
                .put(
                    &format!("large-{}", number % LARGE_KEYS),
                    json!(self::value(LARGE)),
                )
                .await
        }
        _ => {
            let increment = client.request(Method::POST, &format!("/v1/increment/count-{}", number % 100));
            increment.json(&json!({})).send().await
        }
    }
}

async fn be_slow(address: String, clients: usize) {
    loop {
        let all = (0..clients).map(|number| match number % 3 {
            0 => Slowness::EndlessHead,
            1 => Slowness::EndlessBody(LARGE),
            _ => Slowness::Unread(format!("/v1/cache/large-{}", number as u64 % LARGE_KEYS)),
        });
        let slow = SlowClients::start(&address, all).await;
        tokio::time::sleep(SLOW_AGAIN).await;
        drop(slow);
    }
}
