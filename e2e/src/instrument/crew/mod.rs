//! Clients that go on while things break, each with what it remembers.

mod client;
mod deeds;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use rand::{SeedableRng, rngs::StdRng};
use tokio::task::JoinHandle;

use super::history::Operation;
use crate::{
    client::ApiClient,
    wait::{eventually, seen},
};

pub use client::Instrumented;
use deeds::Client;

/// What every client of a run shares: the clock, the numbers of its writes.
#[derive(Clone, Debug)]
pub struct Run {
    origin: Instant,
    numbers: Arc<AtomicU64>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            numbers: Arc::default(),
        }
    }
}

impl Run {
    /// Time since the run began.
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// A number that no other write of the run has.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// What a client does, over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Writes and overwrites, and never reads: so it never waits for a source that writes do not need.
    Writer,
    /// Deletes, and reads.
    Deleter,
    /// Reads.
    Reader,
    /// Writes and reads, and asks for at least the version that it last saw of a key.
    Carrier,
    /// Reads an entry and replaces it on the condition that nobody else has.
    Incrementer,
}

/// Who takes part.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Clients of each role.
    pub clients: usize,
    /// Keys that writers, readers and carriers share.
    pub keys: usize,
    /// Keys that incrementers share, 0 for no incrementers.
    pub counters: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            clients: 2,
            keys: 24,
            counters: 3,
        }
    }
}

const ROLES: [Role; 5] = [
    Role::Writer,
    Role::Deleter,
    Role::Reader,
    Role::Carrier,
    Role::Incrementer,
];

/// Clients at work.
#[derive(Debug)]
pub struct Crew {
    stopped: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Vec<Operation>>>,
}

impl Crew {
    /// Sends clients of every role to work on keys that begin with the name.
    pub fn start(run: &Run, name: &str, apis: &[ApiClient], size: Size, seed: u64) -> Self {
        let (stopped, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let wanted = |role: &&Role| **role != Role::Incrementer || size.counters > 0;
        let everybody = ROLES
            .iter()
            .filter(wanted)
            .flat_map(|role| (0..size.clients).map(move |number| (*role, number)));
        let tasks = everybody.zip(0..).map(|((role, number), place)| {
            let client = Client {
                http: Instrumented::new(run.clone(), apis.to_vec()),
                role,
                number,
                name: name.to_owned(),
                size,
                random: StdRng::seed_from_u64(seed ^ (place << 32)),
                carried: std::collections::HashMap::new(),
            };
            tokio::spawn(client.work(stopped.clone(), served.clone()))
        });
        let tasks = tasks.collect();
        Self {
            stopped,
            served,
            tasks,
        }
    }

    /// Waits until so many more requests were answered.
    pub async fn until_served(&self, more: u64) {
        let goal = self.served.load(Ordering::Relaxed) + more;
        eventually("requests are answered", || async {
            seen(self.served.load(Ordering::Relaxed), |served| *served >= goal)
        })
        .await;
    }

    /// Calls everybody back; returns what they did.
    ///
    /// # Panics
    /// When a client has panicked.
    pub async fn stop(self) -> Vec<Operation> {
        self.stopped.store(true, Ordering::Relaxed);
        let done = join_all(self.tasks).await.into_iter();
        done.flat_map(|done| done.unwrap_or_else(|error| panic!("a client ended: {error}")))
            .collect()
    }
}
