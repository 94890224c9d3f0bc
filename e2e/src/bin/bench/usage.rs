//! What processes spend: processor time and memory, as Linux counts them.

use std::collections::BTreeMap;

use birbnest_e2e::{house::House, servers::Process};
use serde::Serialize;

use crate::{Settings, measure::Run};

/// What one process spent.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Spent {
    /// Processor time per operation, in microseconds.
    pub(crate) micros: f64,
    /// The most memory that it ever had, in MB.
    pub(crate) peak_mb: f64,
}

/// The processor time of the processes of a house while something runs.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    seconds: BTreeMap<&'static str, f64>,
    peak_mb: BTreeMap<&'static str, f64>,
}

impl Usage {
    /// Runs the load and adds up what it made the processes spend.
    pub(crate) fn over<T>(&mut self, house: &House, load: impl FnOnce() -> T) -> T {
        let before = processes(house).map(|(_, process)| seconds(process));
        let outcome = load();
        for ((name, process), before) in processes(house).into_iter().zip(before) {
            *self.seconds.entry(name).or_default() += seconds(process) - before;
            self.peak_mb.insert(name, process.peak_mb());
        }
        outcome
    }

    /// The share of each operation of these runs.
    pub(crate) fn per_operation(&self, runs: &[Run], settings: &Settings) -> BTreeMap<String, Spent> {
        let rates: f64 = runs.iter().map(|run| run.per_second).sum();
        let operations = rates * settings.duration().as_secs_f64();
        let spent = self.seconds.iter().map(|(name, seconds)| {
            let micros = seconds * 1e6 / operations;
            let peak_mb = self.peak_mb.get(name).copied().unwrap_or_default();
            ((*name).to_owned(), Spent { micros, peak_mb })
        });
        spent.collect()
    }
}

fn processes(house: &House) -> [(&'static str, &Process); 3] {
    [
        ("api", house.api().process()),
        ("redis", house.redis.process()),
        ("nats", house.nats.process()),
    ]
}

fn seconds(process: &Process) -> f64 {
    process
        .running()
        .map_or(0.0, |running| running.cpu().as_secs_f64())
}
