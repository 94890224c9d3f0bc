//! What each role does.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, rngs::StdRng};

use super::{Instrumented, Role, Size};
use crate::instrument::history::{Call, Operation, Outcome};

/// Between two requests of a client: a history of some thousand requests says as much as one of a million.
const PAUSE: Duration = Duration::from_millis(4);
/// After a request that was not served, as `Retry-After` asks for, only sooner.
const SETBACK: Duration = Duration::from_millis(25);

pub(super) struct Client {
    pub(super) http: Instrumented,
    pub(super) role: Role,
    /// Which one of its role it is.
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) size: Size,
    pub(super) random: StdRng,
    /// The version that a carrier last saw of a key.
    pub(super) carried: HashMap<String, u64>,
}

impl Client {
    pub(super) async fn work(mut self, stopped: Arc<AtomicBool>, served: Arc<AtomicU64>) -> Vec<Operation> {
        let mut done = vec![];
        while !stopped.load(Ordering::Relaxed) {
            let before = done.len();
            match self.role {
                Role::Incrementer => self.increment(&mut done).await,
                _ => self.once(&mut done).await,
            }
            let well = done[before..].iter().all(Operation::is_served);
            served.fetch_add(u64::from(well), Ordering::Relaxed);
            tokio::time::sleep(if well { PAUSE } else { SETBACK }).await;
        }
        done
    }

    async fn once(&mut self, done: &mut Vec<Operation>) {
        let key = format!("{}-{}", self.name, self.random.random_range(0..self.size.keys));
        let dice = self.random.random_range(0..100);
        let call = match self.role {
            Role::Writer => self.put(None),
            Role::Deleter if dice < 20 => Call::Delete,
            Role::Carrier if dice < 40 => self.put(None),
            Role::Carrier => Call::Get {
                at_least: self.carried.get(&key).copied().unwrap_or(0),
            },
            _ => Call::Get { at_least: 0 },
        };
        let operation = self.ask(&key, call).await;
        self.remember(key, &operation);
        done.push(operation);
    }

    /// Reads an entry, and replaces it on the condition that it is still the same.
    async fn increment(&mut self, done: &mut Vec<Operation>) {
        let key = format!(
            "{}-counter-{}",
            self.name,
            self.random.random_range(0..self.size.counters)
        );
        let read = self.ask(&key, Call::Get { at_least: 0 }).await;
        let base = match read.outcome {
            Outcome::Found { version, .. } => Some(version),
            Outcome::Absent { .. } => Some(0),
            _ => None,
        };
        done.push(read);
        if base.is_some() {
            let call = self.put(base);
            done.push(self.ask(&key, call).await);
        }
    }

    fn put(&self, only_if: Option<u64>) -> Call {
        Call::Put {
            number: self.http.number(),
            only_if,
        }
    }

    /// Who writes, reads or deletes has an API of its own, so that one that hangs does not hold up everybody; who carries
    /// a version or builds on one takes any.
    async fn ask(&mut self, key: &str, call: Call) -> Operation {
        let api = match self.role {
            Role::Writer | Role::Reader | Role::Deleter => self.number % self.http.apis(),
            Role::Carrier | Role::Incrementer => self.random.random_range(0..self.http.apis()),
        };
        self.http.ask(api, key, call).await
    }

    fn remember(&mut self, key: String, operation: &Operation) {
        let version = match operation.outcome {
            Outcome::Written { version, .. } => version,
            Outcome::Found { version, .. } => Some(version),
            _ => None,
        };
        if let Some(version) = version {
            let known = self.carried.entry(key).or_default();
            *known = version.max(*known);
        }
    }
}
