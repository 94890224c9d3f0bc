//! Writers that go on while a story happens around them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    client::ApiClient,
    ledger::Ledger,
    wait::{eventually, seen},
};

/// Writers and readers in the background. Every write has a value of its own.
#[derive(Debug)]
pub struct Load {
    running: Arc<Shared>,
    tasks: Vec<JoinHandle<Ledger>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    written: AtomicU64,
}

impl Load {
    /// Starts `writers` per client, which overwrite the same `keys` over and over, with a pause after each write. After
    /// every write its key is read too, and whatever is no 200 is a failure.
    pub fn start(clients: &[ApiClient], writers: usize, keys: u64, pause: Duration) -> Self {
        let running = Arc::new(Shared::default());
        let everyone = clients
            .iter()
            .flat_map(|client| std::iter::repeat_n(client, writers));
        let tasks = everyone
            .map(|client| tokio::spawn(write_until_stopped(client.clone(), keys, pause, running.clone())))
            .collect();
        Self { running, tasks }
    }

    /// Waits until so many more writes have been tried, so that a story happens under load and not before it.
    pub async fn until_more(&self, writes: u64) {
        let goal = self.running.written.load(Ordering::Relaxed) + writes;
        eventually("the load goes on", || async {
            seen(self.running.written.load(Ordering::Relaxed), |written| {
                *written >= goal
            })
        })
        .await;
    }

    /// Ends the writers and returns what they were promised.
    ///
    /// # Panics
    /// When a writer has panicked.
    pub async fn stop(self) -> Ledger {
        self.running.stopped.store(true, Ordering::Relaxed);
        let mut ledger = Ledger::default();
        for part in join_all(self.tasks).await {
            ledger.merge(part.unwrap_or_else(|error| panic!("a writer ended: {error}")));
        }
        ledger
    }
}

async fn write_until_stopped(client: ApiClient, keys: u64, pause: Duration, running: Arc<Shared>) -> Ledger {
    let mut ledger = Ledger::default();
    while !running.stopped.load(Ordering::Relaxed) {
        let number = running.written.fetch_add(1, Ordering::Relaxed);
        let key = format!("load-{}", number % keys);
        write(&client, &key, json!(number), &mut ledger).await;
        let read = client.about(Method::GET, &key).try_send().await;
        match read {
            Ok(answer) if answer.status.is_success() => {}
            other => ledger.failures.push(format!("GET {key}: {other:?}")),
        }
        tokio::time::sleep(pause).await;
    }
    ledger
}

/// Writes each key of `keys` once, over `connections` at a time, and returns what was promised.
pub async fn fill(client: &ApiClient, keys: std::ops::Range<u64>, connections: usize) -> Ledger {
    let next = AtomicU64::new(keys.start);
    let writers = (0..connections).map(|_| async {
        let mut ledger = Ledger::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= keys.end {
                return ledger;
            }
            write(client, &format!("fill-{number}"), json!(number), &mut ledger).await;
        }
    });
    let mut ledger = Ledger::default();
    for part in join_all(writers).await {
        ledger.merge(part);
    }
    ledger
}

async fn write(client: &ApiClient, key: &str, value: Value, ledger: &mut Ledger) {
    let outcome = client
        .about(Method::PUT, key)
        .json(&json!({ "value": value }))
        .try_send()
        .await;
    ledger.note(key, &value, &outcome);
}
