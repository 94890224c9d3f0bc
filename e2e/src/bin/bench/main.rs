//! BirbNest side by side with what its parts do alone, on this machine, in interleaved rounds:
//!
//! | here | there |
//! |---|---|
//! | GET of a hit, over HTTP | `redis-benchmark` GET, without pipelining |
//! | POST with durability `queued`, over HTTP | publishing the same payload to `JetStream` and awaiting each acknowledgement |
//! | one worker draining a full queue | COPY of the same rows into the same table, on one connection |
//!
//! Everybody gets the same number of connections, the same values and the same servers, with PostgreSQL's commits on the
//! disk. A round measures one and then the other, so that whatever else happens on the machine meets both. What is
//! reported is the median round. Prints a table and writes `target/bench.json`.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

mod drain;
mod full;
mod measure;
mod reads;
mod report;
mod usage;
mod webdis;
mod writes;
mod wrk;

use std::time::Duration;

use anyhow::Context;
use birbnest_core::config::{Config, StreamConfig};
use birbnest_e2e::{house::House, servers::Disk};
use clap::Parser;

use report::Report;
use writes::Worker;

/// Measures BirbNest side by side with Redis, JetStream and COPY.
#[derive(Clone, Debug, Parser)]
struct Settings {
    /// Rounds of each comparison; the median is reported.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of load in each half of a round.
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Connections, or tasks where a client has only one.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Entries that are queued before each drain.
    #[arg(long, default_value_t = 100_000)]
    backlog: u32,
    /// Partitions of the queue.
    #[arg(long, default_value_t = StreamConfig::default().partitions, value_parser = clap::value_parser!(u16).range(1..=64))]
    partitions: u16,
    /// Also with other numbers of connections, sizes, keys and backlogs, in batches, and beside webdis if it is installed.
    #[arg(long)]
    full: bool,
    /// Only these comparisons.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Subject::ALL)]
    only: Vec<Subject>,
}

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    Reads,
    Writes,
    Drain,
}

impl Subject {
    const ALL: [Self; 3] = [Self::Reads, Self::Writes, Self::Drain];
}

/// Bytes of JSON text of a value.
const SIZES: [usize; 2] = [100, 1_000];
/// Keys that reads and writes are spread over.
const KEYS: usize = 10_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let mut report = Report::new(settings.rounds);
    let (lazy, synced) = (
        house(Disk::Trusted, &settings).await,
        house(Disk::Synced, &settings).await,
    );
    report.ceiling(wrk::get(
        lazy.api().client.base(),
        &["/livez".to_owned()],
        &settings,
    )?);
    for subject in &settings.only {
        for size in SIZES {
            eprintln!("{subject:?} of {size} bytes");
            match subject {
                Subject::Reads => report.add(reads::compare("GET hit", &lazy, KEYS, size, &settings).await?),
                Subject::Drain => report.add(drain::compare(&lazy, size, &settings).await?),
                Subject::Writes => {
                    for (name, house, worker) in [
                        ("POST, synced", &synced, Worker::Away),
                        ("POST, draining", &synced, Worker::Draining),
                        ("POST, lazy", &lazy, Worker::Away),
                    ] {
                        report.add(writes::compare(name, house, worker, size, &settings).await?);
                    }
                }
            }
        }
        if settings.full {
            full::more(*subject, &lazy, &synced, &settings, &mut report).await?;
        }
    }
    println!("{}", report.table());
    report.save().context("target/bench.json")
}

/// A whole BirbNest with the defaults of the product instead of the short periods of stories. Its worker is away: it
/// would drain what the other comparisons queue, on the same two cores.
async fn house(nats: Disk, settings: &Settings) -> House {
    let partitions = settings.partitions;
    let as_shipped = |config: &mut Config| {
        config.stream = StreamConfig {
            partitions,
            ..StreamConfig::default()
        };
    };
    let house = House::plan()
        .workers(1)
        .nats(nats)
        .postgres(Disk::Synced)
        .config(as_shipped)
        .open()
        .await;
    house.worker().stop().await;
    house
}

impl Settings {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// JSON text of exactly so many bytes, as unlike a run of one letter as a cached object is.
fn value(size: usize) -> String {
    const WORDS: &str = "robin wren finch heron egret crane stork swift martin plover dunlin knot ";
    let text: String = WORDS.chars().cycle().take(size - 2).collect();
    format!("\"{text}\"")
}
