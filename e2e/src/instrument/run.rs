//! The whole run: round after round a crew works on keys of its own while something goes wrong; in the end everything
//! is drained, read again, and checked.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream};

use super::{
    checker::{Evidence, LastRead, Verdict, check},
    crew::{Crew, Instrumented, Run, Size},
    faults::{Fault, strike},
    history::{Call, Operation, Outcome},
};
use crate::{
    client::ApiClient,
    house::House,
    wait::{eventually, eventually_within, seen},
};

/// Requests before a fault and after it was mended.
const WARM: u64 = 250;
/// How long the drain may take: a killed worker's messages are delivered again after 30 s, and a rejected row is tried
/// again after up to that.
const DRAIN: Duration = Duration::from_mins(3);
/// Last reads at the same time.
const CONCURRENCY: usize = 16;

/// A fault and the time around it.
#[derive(Clone, Debug)]
pub struct Round {
    /// What its keys begin with.
    pub name: String,
    /// What went wrong.
    pub fault: Fault,
    /// When its crew began.
    pub began: Duration,
    /// When the fault began.
    pub struck: Duration,
    /// When it was mended.
    pub mended: Duration,
    /// When every API had acknowledged a write and answered a read again.
    pub recovered: Duration,
    /// When its crew was called back.
    pub ended: Duration,
}

/// What a run found.
#[derive(Debug)]
pub struct Finished {
    /// The rounds, in order.
    pub rounds: Vec<Round>,
    /// What was seen.
    pub evidence: Evidence,
    /// What the checker says.
    pub verdict: Verdict,
}

/// A run that is not over.
#[derive(Debug)]
pub struct Instrument<'a> {
    house: &'a House,
    apis: Vec<ApiClient>,
    run: Run,
    size: Size,
    seed: u64,
    rounds: Vec<Round>,
    evidence: Evidence,
}

impl<'a> Instrument<'a> {
    /// An instrument for this house.
    pub fn new(house: &'a House, size: Size, seed: u64) -> Self {
        Self {
            house,
            apis: house.clients(),
            run: Run::default(),
            size,
            seed,
            rounds: vec![],
            evidence: Evidence::default(),
        }
    }

    /// Asks these instead of the house's own APIs.
    #[must_use]
    pub fn through(self, apis: Vec<ApiClient>) -> Self {
        Self { apis, ..self }
    }

    /// One fault under load.
    ///
    /// # Panics
    /// When the house does not recover.
    pub async fn round(&mut self, fault: Fault, length: Duration) {
        let name = format!("r{}", self.rounds.len());
        let began = self.run.now();
        let seed = self.seed.wrapping_add(self.rounds.len() as u64);
        let size = Size {
            keys: self.size.keys * fault.width(),
            ..self.size
        };
        let crew = Crew::start(&self.run, &name, &self.apis, size, seed);
        crew.until_served(WARM).await;
        let strike = strike(self.house, &crew, &self.run, &fault, length).await;
        let recovered = self.until_served_by_all(&name).await;
        crew.until_served(WARM).await;
        self.evidence.operations.extend(crew.stop().await);
        self.evidence.losses.extend(strike.loss);
        self.rounds.push(Round {
            name,
            fault,
            began,
            struck: strike.began,
            mended: strike.mended,
            recovered,
            ended: self.run.now(),
        });
    }

    /// Waits until every API acknowledges a write and answers a read; returns when that was.
    async fn until_served_by_all(&mut self, name: &str) -> Duration {
        let http = Instrumented::new(self.run.clone(), self.apis.clone());
        let key = format!("{name}-probe");
        let probes = std::sync::Mutex::new(vec![]);
        for api in 0..http.apis() {
            eventually(&format!("api-{api} serves again"), || async {
                let put = Call::Put {
                    number: http.number(),
                    only_if: None,
                };
                let (write, read) = (
                    http.ask(api, &key, put).await,
                    http.ask(api, &key, Call::Get { at_least: 0 }).await,
                );
                let served = write.is_acknowledged() && read.is_served();
                let last = format!("{:?}, {:?}", write.outcome, read.outcome);
                let mut probes = probes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                probes.extend([write, read]);
                served.then_some(()).ok_or(last)
            })
            .await;
        }
        let probes = probes.into_inner().unwrap_or_default();
        self.evidence.operations.extend(probes);
        self.run.now()
    }

    /// Drains, reads everything again, and checks.
    ///
    /// # Panics
    /// When the queue is not drained within three minutes.
    pub async fn finish(mut self) -> Finished {
        eventually_within(DRAIN, "the streams are drained", || async {
            seen(self.house.queued().await?, |left| *left == 0)
        })
        .await;
        self.evidence.rows = self.house.table.rows().await;
        self.evidence.last_reads = self.last_reads().await;
        let verdict = check(&self.evidence);
        Finished {
            rounds: self.rounds,
            evidence: self.evidence,
            verdict,
        }
    }

    /// What every API answers now, from whatever it has.
    async fn last_reads(&self) -> Vec<LastRead> {
        let keys: BTreeSet<String> = self
            .evidence
            .operations
            .iter()
            .map(|o| o.key.to_string())
            .collect();
        let http = Instrumented::new(self.run.clone(), self.apis.clone());
        let wanted = (0..http.apis()).flat_map(|api| keys.iter().map(move |key| (api, key)));
        let reads = wanted.map(|(api, key)| {
            let http = &http;
            async move {
                eventually(&format!("a last answer about {key}"), || async {
                    last_read(&http.ask(api, key, Call::Get { at_least: 0 }).await)
                })
                .await
            }
        });
        stream::iter(reads).buffer_unordered(CONCURRENCY).collect().await
    }
}

fn last_read(read: &Operation) -> Result<LastRead, String> {
    let (api, key) = (read.api, read.key.to_string());
    match &read.outcome {
        Outcome::Found {
            version,
            value,
            partial: false,
        } => {
            let found = Some((*version, value.clone()));
            Ok(LastRead { api, key, found })
        }
        Outcome::Absent { partial: false } => Ok(LastRead {
            api,
            key,
            found: None,
        }),
        other => Err(format!("{other:?}")),
    }
}
