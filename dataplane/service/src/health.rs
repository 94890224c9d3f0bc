//! What a process knows about its backends and about itself.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use birbnest_core::NOT_REACHED;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use tokio::sync::watch;

use crate::Shutdown;

/// The checks of one process. Clones share one state.
#[derive(Clone)]
pub struct Health(Arc<Shared>);

struct Shared {
    service: &'static str,
    started: Instant,
    shutdown: Shutdown,
    checks: Mutex<BTreeMap<&'static str, State>>,
    heartbeats: Mutex<BTreeMap<&'static str, Beat>>,
}

struct State {
    /// A bad address must never replace good pods in a rollout: readiness waits for the first success of each.
    reached_once: bool,
    trouble: Option<String>,
}

struct Beat {
    last: Instant,
    limit: Duration,
}

/// One backend's check; whoever talks to the backend reports here.
#[derive(Clone)]
pub struct Check {
    health: Health,
    name: &'static str,
}

/// A loop's sign of life; a loop that stays silent fails the liveness probe. Loops of one name share it: they are missed when
/// none of them beats.
#[derive(Clone)]
pub struct Heartbeat {
    health: Health,
    name: &'static str,
}

impl Health {
    /// Health of the service of this name (`birbnest-api`, …), which is not ready after `shutdown` began.
    pub fn new(service: &'static str, shutdown: Shutdown) -> Self {
        Self(Arc::new(Shared {
            service,
            started: Instant::now(),
            shutdown,
            checks: Mutex::default(),
            heartbeats: Mutex::default(),
        }))
    }

    /// Adds a check (`database`, `redis`, `nats`, …), which fails until its first [`Check::healthy`].
    pub fn check(&self, name: &'static str) -> Check {
        let state = State {
            reached_once: false,
            trouble: Some(NOT_REACHED.to_owned()),
        };
        self.checks().insert(name, state);
        Check {
            health: self.clone(),
            name,
        }
    }

    /// Adds a sign of life that must come at least every `limit`.
    pub fn heartbeat(&self, name: &'static str, limit: Duration) -> Heartbeat {
        let beat = Beat {
            last: Instant::now(),
            limit,
        };
        lock(&self.0.heartbeats).insert(name, beat);
        Heartbeat {
            health: self.clone(),
            name,
        }
    }

    /// Whether requests should be sent here: every backend has been reached once, at least one is there, and the
    /// shutdown has not begun.
    pub fn is_ready(&self) -> bool {
        self.unready_reason().is_none()
    }

    /// Why the process is not ready, or `None` when it is.
    pub(crate) fn unready_reason(&self) -> Option<String> {
        if self.0.shutdown.has_begun() {
            return Some("shutting down".to_owned());
        }
        let checks = self.checks();
        let unseen: Vec<_> = checks
            .iter()
            .filter(|(_, state)| !state.reached_once)
            .map(told)
            .collect();
        if !unseen.is_empty() {
            return Some(unseen.join("; "));
        }
        // With any backend left something can be served, and only this process knows what.
        let all_gone = !checks.is_empty() && checks.values().all(|state| state.trouble.is_some());
        all_gone.then(|| checks.iter().map(told).collect::<Vec<_>>().join("; "))
    }

    /// The loops that stayed silent for longer than their limit.
    pub(crate) fn silent_loops(&self) -> Vec<&'static str> {
        let beats = lock(&self.0.heartbeats);
        beats
            .iter()
            .filter(|(_, beat)| beat.last.elapsed() > beat.limit)
            .map(|(name, _)| *name)
            .collect()
    }

    /// Each check by name: `healthy` or the reason.
    pub(crate) fn statuses(&self) -> BTreeMap<&'static str, String> {
        let healthy = || "healthy".to_owned();
        self.checks()
            .iter()
            .map(|(name, state)| (*name, state.trouble.clone().unwrap_or_else(healthy)))
            .collect()
    }

    pub(crate) fn service(&self) -> &'static str {
        self.0.service
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    fn checks(&self) -> MutexGuard<'_, BTreeMap<&'static str, State>> {
        lock(&self.0.checks)
    }
}

/// `name: reason`.
fn told((name, state): (&&'static str, &State)) -> String {
    format!("{name}: {}", state.trouble.as_deref().unwrap_or("healthy"))
}

/// A panic elsewhere leaves these maps whole: each update is a single assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Check {
    /// The backend answered.
    pub fn healthy(&self) {
        self.report(None);
    }

    /// The backend did not answer, or not as it should; `reason` is for people and holds no secret.
    pub fn failing(&self, reason: impl fmt::Display) {
        self.report(Some(reason.to_string()));
    }

    /// Keeps the check in step with what the task that keeps the connection says, for as long as it says anything.
    /// `trouble` tells what is wrong, if anything.
    pub fn follow<T>(
        self,
        mut status: watch::Receiver<T>,
        trouble: impl Fn(&T) -> Option<String> + Send + 'static,
    ) where
        T: Send + Sync + 'static,
    {
        tokio::spawn(async move {
            loop {
                let told = trouble(&status.borrow_and_update());
                self.report(told);
                if status.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Whether the last report was a good one.
    pub fn is_healthy(&self) -> bool {
        self.health
            .checks()
            .get(self.name)
            .is_some_and(|state| state.trouble.is_none())
    }

    /// Changes are logged, so that a log tells when a backend went and came back.
    fn report(&self, trouble: Option<String>) {
        let mut checks = self.health.checks();
        let Some(state) = checks.get_mut(self.name) else {
            return;
        };
        let was_healthy = state.trouble.is_none();
        state.reached_once |= trouble.is_none();
        match &trouble {
            None if !was_healthy => tracing::info!(backend = self.name, "the backend answers"),
            Some(reason) if was_healthy => {
                tracing::warn!(backend = self.name, reason, "the backend is missing");
            }
            Some(reason) if !state.reached_once && state.trouble != trouble && reason != NOT_REACHED => {
                tracing::warn!(
                    backend = self.name,
                    reason,
                    "not ready: the backend has not been reached yet"
                );
            }
            _ => {}
        }
        state.trouble = trouble;
    }
}

impl Heartbeat {
    /// The loop is alive.
    pub fn beat(&self) {
        if let Some(beat) = lock(&self.health.0.heartbeats).get_mut(self.name) {
            beat.last = Instant::now();
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("service", &self.0.service)
            .field("checks", &self.statuses())
            .finish()
    }
}

/// `birbnest_ready` and `birbnest_backend_up{backend}`: 1 or 0.
impl Collector for Health {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ready = ConstGauge::new(i64::from(self.is_ready()));
        let help = "1 when requests should be sent to this process";
        ready.encode(encoder.encode_descriptor("birbnest_ready", help, None, MetricType::Gauge)?)?;

        let help = "1 when the last contact with the backend succeeded";
        let mut family = encoder.encode_descriptor("birbnest_backend_up", help, None, MetricType::Gauge)?;
        for (name, state) in self.checks().iter() {
            let up = ConstGauge::new(i64::from(state.trouble.is_none()));
            up.encode(family.encode_family(&[("backend", *name)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_waits_for_the_first_contact_with_every_backend_and_then_for_any() {
        let health = Health::new("test", Shutdown::new());
        let (redis, nats) = (health.check("redis"), health.check("nats"));
        redis.healthy();
        assert_eq!(health.unready_reason().unwrap(), "nats: not reached yet");
        nats.healthy();
        assert!(health.is_ready());
        redis.failing("connection refused");
        assert!(health.is_ready());
        nats.failing("timed out");
        assert_eq!(
            health.unready_reason().unwrap(),
            "nats: timed out; redis: connection refused"
        );
    }

    #[test]
    fn a_process_that_ends_is_not_ready() {
        let shutdown = Shutdown::new();
        let health = Health::new("test", shutdown.clone());
        assert!(health.is_ready());
        shutdown.begin();
        assert_eq!(health.unready_reason().unwrap(), "shutting down");
    }

    #[test]
    fn a_silent_loop_is_named_until_it_beats() {
        let health = Health::new("test", Shutdown::new());
        let strict = health.heartbeat("drain", Duration::ZERO);
        let patient = health.heartbeat("janitor", Duration::from_mins(1));
        strict.beat();
        patient.beat();
        while health.silent_loops().is_empty() {
            std::hint::spin_loop();
        }
        assert_eq!(health.silent_loops(), ["drain"]);
    }
}
