//! Keeps the loops of this process from a database that does not take batches.
//!
//! Closed: batches are pulled and written. Open: nothing is pulled, what is in hand is kept. Half open: one small statement
//! asks, instead of all the batches, whether the database takes writes again. The pauses before it grow until a batch is
//! committed, and not only until the statement succeeds: a database whose disk is full answers that one, too.

use std::time::Duration;

use birbnest_service::{Check, Heartbeat, Shutdown};
use birbnest_stores::{Connectivity, postgres::Postgres};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::metrics::Metrics;

/// While the database is away it is asked this often at the least: a backlog is waiting for its return.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often a loop that waits gives its sign of life.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What the database may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything.
    Closed,
    /// The small statement is on its way.
    HalfOpen,
    /// Nothing.
    Open,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    phase: Phase,
    /// Times that it opened since a batch was committed.
    failures: u32,
    /// Why it opened last.
    reason: String,
}

/// The breaker, which all loops share. Clones share one state.
#[derive(Clone)]
pub(crate) struct Breaker {
    state: watch::Sender<State>,
    metrics: Metrics,
}

impl Breaker {
    pub(crate) fn new(metrics: Metrics) -> Self {
        metrics.breaker(Phase::Closed);
        let state = State {
            phase: Phase::Closed,
            failures: 0,
            reason: String::new(),
        };
        Self {
            state: watch::Sender::new(state),
            metrics,
        }
    }

    /// Returns when batches may be written: at once while it is closed.
    pub(crate) async fn until_closed(&self, heartbeat: &Heartbeat) {
        let mut states = self.state.subscribe();
        loop {
            heartbeat.beat();
            let closed = states.wait_for(|state| state.phase == Phase::Closed);
            if timeout(HEARTBEAT, closed).await.is_ok() {
                return;
            }
        }
    }

    /// A batch was committed, or one of its rows is to blame.
    pub(crate) fn succeeded(&self) {
        self.change(|state| {
            state.phase = Phase::Closed;
            state.failures = 0;
        });
    }

    /// The database did not take a batch, and no row is to blame.
    pub(crate) fn failed(&self, reason: &impl ToString) {
        self.change(|state| {
            // Every loop says so once; only the first of them counts.
            if state.phase == Phase::Closed {
                state.failures = state.failures.saturating_add(1);
            }
            state.phase = Phase::Open;
            state.reason = reason.to_string();
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            if state.phase != before.phase {
                self.metrics.breaker(state.phase);
            }
            *state != before
        });
    }

    /// Asks for the database's return whenever the breaker is open, until the shutdown.
    pub(crate) async fn run(
        self,
        postgres: Postgres,
        first_pause: Duration,
        heartbeat: Heartbeat,
        shutdown: Shutdown,
    ) {
        let mut states = self.state.subscribe();
        while !shutdown.has_begun() {
            heartbeat.beat();
            let State { phase, failures, .. } = states.borrow_and_update().clone();
            if phase == Phase::Closed {
                shutdown.or(timeout(HEARTBEAT, states.changed())).await;
                continue;
            }
            shutdown.or(sleep(pause(first_pause, failures))).await;
            self.change(|state| state.phase = Phase::HalfOpen);
            match postgres.probe().await {
                Ok(()) => self.change(|state| state.phase = Phase::Closed),
                Err(error) => self.change(|state| {
                    state.phase = Phase::Open;
                    state.failures = state.failures.saturating_add(1);
                    state.reason = error.to_string();
                }),
            }
        }
    }

    /// Keeps the check of the database in step with what the fences' reader says and with the breaker.
    pub(crate) fn report(&self, check: Check, mut fences: watch::Receiver<Connectivity>) {
        let mut states = self.state.subscribe();
        tokio::spawn(async move {
            loop {
                let away = fences.borrow_and_update().trouble();
                let state = states.borrow_and_update().clone();
                let open = (state.phase != Phase::Closed)
                    .then(|| format!("it takes no batches, so nothing is pulled: {}", state.reason));
                match away.or(open) {
                    None => check.healthy(),
                    Some(trouble) => check.failing(trouble),
                }
                let changed = tokio::select! {
                    changed = fences.changed() => changed,
                    changed = states.changed() => changed,
                };
                if changed.is_err() {
                    return;
                }
            }
        });
    }
}

/// Anything up to a limit that doubles with each failure, so that workers do not come all at once.
fn pause(first: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = first.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    longest.mul_f64(rand::random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(Metrics::register(&mut Registry::default(), 1))
    }

    fn state(breaker: &Breaker) -> (Phase, u32) {
        let state = breaker.state.borrow();
        (state.phase, state.failures)
    }

    #[test]
    fn one_outage_counts_once_however_many_loops_see_it() {
        let breaker = breaker();
        for _ in 0..8 {
            breaker.failed(&"away");
        }
        assert_eq!(state(&breaker), (Phase::Open, 1));
    }

    #[test]
    fn only_a_committed_batch_makes_the_pauses_short_again() {
        let breaker = breaker();
        breaker.failed(&"disk full");
        breaker.change(|state| state.phase = Phase::Closed);
        breaker.failed(&"disk full");
        assert_eq!(state(&breaker), (Phase::Open, 2));
        breaker.succeeded();
        assert_eq!(state(&breaker), (Phase::Closed, 0));
    }

    #[test]
    fn pauses_grow_up_to_a_limit_and_may_be_anything_below_it() {
        let first = Duration::from_millis(100);
        for (failures, longest) in [(0, 100), (1, 100), (3, 400), (99, 2_000)] {
            for _ in 0..100 {
                assert!(pause(first, failures) <= Duration::from_millis(longest));
            }
        }
    }
}
