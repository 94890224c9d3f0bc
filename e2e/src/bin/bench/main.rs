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
mod measure;
mod reads;
mod report;
mod writes;
mod wrk;

use std::time::Duration;

use anyhow::Context;
use birbnest_e2e::{house::House, servers::Disk};
use clap::Parser;

use report::Report;

/// Measures BirbNest side by side with Redis, JetStream and COPY.
#[derive(Clone, Copy, Debug, Parser)]
struct Settings {
    /// Rounds of each comparison; the median is reported.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load in each half of a round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Connections, or tasks where a client has only one.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Entries that are queued before each drain.
    #[arg(long, default_value_t = 100_000)]
    backlog: u32,
}

/// Bytes of JSON text of a value.
const SIZES: [usize; 2] = [100, 1_000];
/// Keys that reads and writes are spread over.
const KEYS: usize = 10_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let house = House::plan()
        .workers(1)
        .disk(Disk::Synced)
        .config(as_shipped)
        .open()
        .await;
    // It would drain what the other comparisons queue, on the same two cores.
    house.worker().stop().await;

    let mut report = Report::new(settings.rounds);
    report.ceiling(wrk::get(
        house.api().client.base(),
        &["/livez".to_owned()],
        settings,
    )?);
    for size in SIZES {
        eprintln!("reads of {size} bytes");
        report.add(reads::compare(&house, size, settings).await.context("reads")?);
    }
    for size in SIZES {
        eprintln!("writes of {size} bytes");
        report.add(writes::compare(&house, size, settings).await.context("writes")?);
    }
    for size in SIZES {
        eprintln!("drain of {} entries of {size} bytes", settings.backlog);
        report.add(drain::compare(&house, size, settings).await.context("drain")?);
    }
    println!("{}", report.table());
    report.save().context("target/bench.json")
}

/// The defaults of the product instead of the short periods of stories.
fn as_shipped(config: &mut birbnest_core::config::Config) {
    config.stream = birbnest_core::config::StreamConfig::default();
}

impl Settings {
    fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// JSON text of exactly so many bytes, as unlike a run of one letter as a cached object is.
fn value(size: usize) -> String {
    const WORDS: &str = "robin wren finch heron egret crane stork swift martin plover dunlin knot ";
    let text: String = WORDS.chars().cycle().take(size - 2).collect();
    format!("\"{text}\"")
}
