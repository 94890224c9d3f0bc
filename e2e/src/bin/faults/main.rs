//! Kills, freezes, fills up and restores everything under load, and proves from what every client was answered that no
//! promise was broken. Prints a table and writes `target/faults.json`; exits 1 when a promise was broken.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use birbnest_core::{OnQueueOutage, config::Config};
use birbnest_e2e::{
    house::House,
    instrument::{
        crew::Size,
        faults::{Backends, Fault, Schedule},
        report::Report,
        run::Instrument,
    },
    servers::Disk,
};
use clap::Parser;

/// Breaks everything under load and checks every promise.
#[derive(Clone, Debug, Parser)]
struct Settings {
    /// Gives the schedule of faults.
    #[arg(long, default_value_t = rand::random_range(0..1_000_000))]
    seed: u64,
    /// Seconds in which rounds are begun; the drain and the check come after.
    #[arg(long, default_value_t = 600)]
    duration: u64,
    /// Only faults whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Clients of each role.
    #[arg(long, default_value_t = Size::default().clients)]
    clients: usize,
    /// Seconds that a fault lasts at most.
    #[arg(long, default_value_t = 4)]
    longest: u64,
    /// What Redis, NATS and PostgreSQL are.
    #[arg(long, value_enum, default_value_t = Backends::Single)]
    backends: Backends,
    /// Lets PostgreSQL take the writes while NATS is away, for which a fault has to last some fifteen seconds. A standby
    /// that takes over may not have seen the last of them.
    #[arg(long)]
    write_through: bool,
}

impl Settings {
    async fn house(&self) -> House {
        // What PostgreSQL rejects is tried until the fault is over: nobody replays dead letters here.
        let change = |config: &mut Config| {
            config.worker.retry.max_attempts = 20;
            if self.backends == Backends::Replicated {
                config.postgres.table_partitions = 8;
            }
            if self.write_through {
                config.cache.on_queue_outage = OnQueueOutage::WriteThrough;
            }
        };
        let plan = House::plan().apis(2).workers(2).links().config(change);
        let plan = match self.backends {
            Backends::Single => plan.nats(Disk::Small),
            Backends::Replicated => plan.redis_sentinels().nats_cluster().standby(),
        };
        plan.open().await
    }

    fn faults(&self) -> impl Iterator<Item = (Fault, Duration)> {
        let longest = Duration::from_secs(self.longest);
        let schedule = Schedule::new(self.seed, self.backends, longest).take(MOST_ROUNDS);
        schedule.filter(|(fault, _)| fault.to_string().contains(&self.only))
    }
}

/// More than a day has room for.
const MOST_ROUNDS: usize = 10_000;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let settings = Settings::parse();
    println!("seed {}", settings.seed);
    let house = settings.house().await;
    let size = Size {
        clients: settings.clients,
        ..Size::default()
    };
    let mut instrument = Instrument::new(&house, size, settings.seed);
    let began = Instant::now();
    for (fault, length) in settings.faults() {
        if began.elapsed() > Duration::from_secs(settings.duration) {
            break;
        }
        eprintln!("{:>5} s  {fault}, {length:?}", began.elapsed().as_secs());
        instrument.round(fault, length).await;
    }
    let report = Report::new(settings.seed, &instrument.finish().await);
    println!("{report}");
    report
        .save(Path::new("target/faults.json"))
        .context("target/faults.json")?;
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
