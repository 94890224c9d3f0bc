//! Which of several operators writes: the one that holds the Lease.
//!
//! Standbys watch and keep their caches warm. A leader that cannot renew its Lease closes its gate and ends before the
//! Lease does; its pod starts again as a standby. One that stood still, as when its node froze, does not know how long
//! another has led: its gate is closed from the first instruction after, and it ends.
//!
//! A holder that says nothing more is judged by the clock of whoever wants the Lease: clocks that are ten seconds apart
//! could make two leaders for as long as it takes the first to look.

use std::time::{Duration, Instant, SystemTime};

use kube::{Client, Config};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError, LeaseParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a Lease is valid, in seconds.
const DURATION_SECS: u64 = 20;
/// How long before its end it is renewed, in seconds.
const RENEWAL_SECS: u64 = 15;
/// How long the API server may take with it: far less than what is left of a Lease at its renewal.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long renewals may fail. With an attempt that begins at the end of it, this ends before the Lease does.
const FAILURES_TOLERATED: Duration = Duration::from_secs(6);
/// An attempt that has not failed after this time has succeeded.
const ATTEMPT_DECIDED: Duration = Duration::from_secs(5);
/// How often a leader notes that it is awake.
const BEAT: Duration = Duration::from_secs(1);
/// One that has not for so long stood still. What is left of its Lease at a renewal is longer.
const STOOD_STILL: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

/// Another operator leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another operator leads, so this one writes nothing")]
pub struct NotLeading;

/// When this operator, which leads, was awake last; nothing while it does not lead.
type Awake = Option<Beat>;

/// By two clocks: the first does not run while a machine sleeps, and the second may be set.
#[derive(Clone, Copy, Debug)]
struct Beat(Instant, SystemTime);

impl Beat {
    fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed().max(self.1.elapsed().unwrap_or_default())
    }
}

/// Open while this operator leads. Clones share one state.
#[derive(Clone, Debug)]
pub struct Gate(watch::Receiver<Awake>);

/// What opens a gate and closes it.
#[derive(Debug)]
pub struct Opener(watch::Sender<Awake>);

impl Gate {
    /// A gate, closed, and what opens it.
    pub fn new() -> (Opener, Self) {
        let (opener, state) = watch::channel(None);
        (Opener(opener), Self(state))
    }

    /// Whether a write may pass.
    ///
    /// # Errors
    /// While another operator leads.
    pub fn pass(&self) -> Result<(), NotLeading> {
        if self.is_open() { Ok(()) } else { Err(NotLeading) }
    }

    /// Whether this operator leads.
    pub fn is_open(&self) -> bool {
        self.0.borrow().is_some_and(|awake| awake.elapsed() < STOOD_STILL)
    }

    /// Completes when the gate opens; never, when it can open no more.
    pub async fn opened(&mut self) {
        if self.0.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Opener {
    pub(crate) fn open(&self) {
        self.0.send_replace(Some(Beat::now()));
    }

    /// Whether it was open.
    pub(crate) fn close(&self) -> bool {
        self.0.send_replace(None).is_some()
    }

    fn is_open(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Notes that this operator is awake, if it leads.
    ///
    /// # Errors
    /// For how long it stood still.
    fn beat(&self) -> Result<(), Duration> {
        let mut beaten = Ok(());
        self.0.send_if_modified(|awake| {
            if let Some(last) = awake {
                let since = last.elapsed();
                if since < STOOD_STILL {
                    *last = Beat::now();
                } else {
                    beaten = Err(since);
                }
            }
            false
        });
        beaten
    }
}

/// Why this operator cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    /// The Lease went to another operator, or could not be renewed in time.
    #[error("the Lease was lost: {0}")]
    Lost(String),
    /// A client for it could not be made.
    #[error("cannot make a client for the Lease: {0}")]
    Client(#[source] Box<kube::Error>),
}

/// The Lease that this operator runs for.
#[derive(Clone, Debug)]
pub struct Candidacy {
    /// Name of the Lease.
    pub lease: String,
    /// Its namespace.
    pub namespace: String,
    /// What this operator calls itself in it.
    pub identity: String,
}

impl Candidacy {
    /// Runs for the Lease until `finished`, opening the gate while it is held; gives it back at the end.
    ///
    /// # Errors
    /// When it was held and lost: the process must end at once.
    pub async fn run(
        self,
        mut config: Config,
        opener: Opener,
        finished: CancellationToken,
    ) -> Result<(), LeaderError> {
        config.connect_timeout = Some(ANSWER_WITHIN);
        config.read_timeout = Some(ANSWER_WITHIN);
        config.write_timeout = Some(ANSWER_WITHIN);
        // A refusal is a failed renewal at once: behind retries of the client the Lease would end unnoticed.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|error| LeaderError::Client(Box::new(error)))?;
        let Some(manager) = finished.run_until_cancelled(self.manager(&client)).await else {
            return Ok(());
        };
        let lost = async {
            tokio::select! {
                lost = hold(&manager, &opener) => lost,
                lost = stay_awake(&opener) => lost,
            }
        };
        let outcome = finished.run_until_cancelled(lost).await;
        opener.close();
        if let Some(Err(lost)) = outcome {
            return Err(lost);
        }
        if let Err(error) = manager.release().await {
            tracing::warn!(%error, "the Lease could not be given back: it runs out by itself");
        }
        Ok(())
    }

    /// The Lease is created when there is none, so this waits for the API server.
    async fn manager(&self, client: &Client) -> LeaseManager {
        loop {
            let built = LeaseManagerBuilder::new(client.clone(), &self.lease)
                .with_namespace(&self.namespace)
                .with_parameters(LeaseParams::new(&self.identity, DURATION_SECS, RENEWAL_SECS))
                .build()
                .await;
            match built {
                Ok(manager) => return manager,
                Err(error) => tracing::warn!(%error, "cannot reach the Lease yet"),
            }
            tokio::time::sleep(ANSWER_WITHIN).await;
        }
    }
}

/// Ends when this process stood still while it led.
async fn stay_awake(opener: &Opener) -> Result<(), LeaderError> {
    let mut beats = tokio::time::interval(BEAT);
    loop {
        beats.tick().await;
        opener.beat().map_err(|stood_still| {
            let seconds = stood_still.as_secs();
            LeaderError::Lost(format!(
                "this process stood still for {seconds} s, in which another may have taken it"
            ))
        })?;
    }
}

async fn hold(manager: &LeaseManager, opener: &Opener) -> Result<(), LeaderError> {
    let mut doubt = Doubt::default();
    loop {
        match manager.changed().await {
            Ok(true) => {
                tracing::info!("this operator leads");
                doubt = Doubt::default();
                opener.open();
            }
            Ok(false) => {
                if opener.close() {
                    return Err(LeaderError::Lost("another operator holds it".to_owned()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the Lease could not be read or renewed");
                if opener.is_open() && doubt.lasts_too_long(Instant::now()) {
                    opener.close();
                    return Err(LeaderError::Lost(cause(&error)));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn cause(error: &LeaseManagerError) -> String {
    format!("it could not be renewed in time: {error}")
}

/// A series of failed renewals.
#[derive(Debug, Default)]
struct Doubt {
    series: Option<(Instant, Instant)>,
}

impl Doubt {
    /// Notes a failure; whether they have gone on for longer than is safe.
    fn lasts_too_long(&mut self, now: Instant) -> bool {
        let since = match self.series {
            Some((since, last)) if now.duration_since(last) < ATTEMPT_DECIDED => since,
            _ => now,
        };
        self.series = Some((since, now));
        now.duration_since(since) > FAILURES_TOLERATED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_is_closed_until_this_operator_leads_and_after_it_lost() {
        let (opener, gate) = Gate::new();
        assert_eq!(gate.pass(), Err(NotLeading));
        opener.open();
        assert_eq!(gate.pass(), Ok(()));
        assert!(opener.close());
        assert_eq!(gate.pass(), Err(NotLeading));
    }

    #[test]
    fn the_gate_is_closed_to_one_that_stood_still_before_it_notices() {
        let (opener, gate) = Gate::new();
        opener.open();
        assert_eq!(opener.beat(), Ok(()));
        let Beat(now, wall) = Beat::now();
        let stopped = Beat(now.checked_sub(STOOD_STILL).unwrap(), wall);
        let asleep = Beat(now, wall.checked_sub(STOOD_STILL).unwrap());
        for last in [stopped, asleep] {
            opener.0.send_replace(Some(last));
            assert_eq!(gate.pass(), Err(NotLeading));
            assert!(opener.beat().is_err_and(|stood_still| stood_still >= STOOD_STILL));
        }
        let set_back = Beat(now, wall + STOOD_STILL);
        opener.0.send_replace(Some(set_back));
        assert_eq!(gate.pass(), Ok(()));
        assert!(STOOD_STILL < Duration::from_secs(RENEWAL_SECS));
    }

    #[test]
    fn renewals_that_go_on_failing_end_the_leadership_before_the_lease_ends() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        let failed_at =
            |doubt: &mut Doubt, millis| doubt.lasts_too_long(start + Duration::from_millis(millis));
        assert!(!failed_at(&mut doubt, 0));
        assert!(!failed_at(&mut doubt, 2_500));
        assert!(!failed_at(&mut doubt, 5_000));
        assert!(failed_at(&mut doubt, 7_500));
        // Renewal begins this long before the end, and the first and the last attempt may take their time.
        let latest = FAILURES_TOLERATED + 4 * ANSWER_WITHIN + PAUSE;
        assert!(latest < Duration::from_secs(RENEWAL_SECS), "{latest:?}");
    }

    #[test]
    fn a_renewal_that_worked_ends_the_doubt() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        assert!(!doubt.lasts_too_long(start));
        assert!(!doubt.lasts_too_long(start + Duration::from_secs(8)));
        assert!(!doubt.lasts_too_long(start + Duration::from_secs(16)));
    }
}
