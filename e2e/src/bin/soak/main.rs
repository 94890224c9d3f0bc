//! Shows that memory stays bounded: very many keys, as many queued writes while the worker is away, a thousand slow
//! clients, and a steady mix of requests for as long as is asked for. Prints a table of what API and worker have in memory,
//! and exits 1 when one of them had too much at any time, or grew in the second half of the steady load.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

mod load;
mod memory;

use std::{process::ExitCode, time::Duration};

use birbnest_core::config::{Config, Period};
use birbnest_e2e::{
    house::House,
    servers::Disk,
    wait::{eventually_within, seen},
};
use clap::Parser;

use load::{Mix, fill};
use memory::Memory;

/// Watches the memory of API and worker under a steady load.
#[derive(Clone, Debug, Parser)]
struct Settings {
    /// How long the steady load lasts, such as 20m; filling and draining come before.
    #[arg(long, default_value = "3m")]
    duration: Period,
    /// Keys, and so writes that are queued before the worker starts.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    bytes: usize,
    /// Clients that send without end or do not read.
    #[arg(long, default_value_t = 1_000)]
    slow: usize,
    /// Clients that wait for each answer before they ask again.
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// MB that a process may ever have in memory: the limit of its pod.
    #[arg(long, default_value_t = 512.0)]
    most_mb: f64,
    /// MB by which a process may have more in the last quarter of the steady load than in the one before: the medians of
    /// a look every second.
    #[arg(long, default_value_t = 10.0)]
    most_growth_mb: f64,
}

/// Lines of the table.
const LINES: u64 = 24;
/// Longest time to drain.
const DRAIN: Duration = Duration::from_mins(10);

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let settings = Settings::parse();
    let house = house(&settings).await;
    let mut memory = Memory::default();
    println!("{}", Memory::head());

    house.worker().stop().await;
    fill(&house, settings.keys, settings.bytes).await;
    memory.line(&house, "filled", 0);
    house.worker().start().await;
    drained(&house, settings.keys).await;
    memory.line(&house, "drained", 0);

    let mix = Mix::start(&house, &settings).await;
    let looks = settings.duration.get().as_secs().max(LINES);
    for look in 1..=looks {
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory.look(&house);
        if look % (looks / LINES) == 0 {
            memory.line(&house, "steady", mix.done());
        }
    }
    let (done, failed) = mix.stop().await;
    println!("{done} requests, {failed} of them failed");
    let verdict = memory.verdict(settings.most_mb, settings.most_growth_mb);
    println!("{verdict}");
    Ok(if verdict.is_good() && failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The defaults of the product, with room for the backlog.
async fn house(settings: &Settings) -> House {
    let (keys, bytes) = (settings.keys, settings.bytes as u64);
    let roomy = |config: &mut Config| {
        config.stream = birbnest_core::config::StreamConfig::default();
        config.stream.max_messages = (keys * 2).max(100_000);
        config.stream.max_bytes = (keys * (bytes + 1_000) * 2).max(1 << 30);
    };
    House::plan().nats(Disk::Trusted).config(roomy).open().await
}

async fn drained(house: &House, keys: u64) {
    eventually_within(DRAIN, "the backlog is drained", || async {
        let rows = house.table.count().await.map_err(|error| error.to_string())?;
        seen(rows, |rows| rows.cast_unsigned() >= keys)
    })
    .await;
}
