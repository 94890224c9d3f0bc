//! Many BirbNests for one operator: how long until all are ready, what it asks of the API server and has in memory at rest, and
//! how long a new operator takes to know them all. Redis, NATS and PostgreSQL, streams, API server and controllers are real; the
//! pods of the BirbNests run on a node of kwok, which only says that they do. Prints a table.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]
#![allow(clippy::panic, reason = "it ends as a story does, with what is there")]

mod node;
mod operator;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use birbnest_crds::BirbNest;
use birbnest_e2e::{
    cluster::{Backends, Nest, Space, is_true, story},
    wait::{eventually_within, seen},
};
use clap::Parser;
use futures::{StreamExt, stream};
use kube::api::ListParams;
use serde_json::json;

use node::Node;
use operator::{leader, replace, requests};

/// Measures the operator with many BirbNests.
#[derive(Clone, Debug, Parser)]
struct Settings {
    /// Numbers of BirbNests, one after the other: the later ones are added to those before.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 200])]
    nests: Vec<u32>,
    /// Seconds of rest in which requests are counted.
    #[arg(long, default_value_t = 120)]
    rest: u64,
    /// The program `kwok`.
    #[arg(long, env = "BIRBNEST_KWOK")]
    kwok: PathBuf,
}

/// Objects that are applied at the same time.
const CONCURRENCY: usize = 8;
const CONVERGENCE: Duration = Duration::from_mins(20);

#[tokio::main]
async fn main() {
    let settings = Settings::parse();
    story("herd", async |space| {
        let _backends = space.backends().await;
        let node = Node::start(space, &settings.kwok).await;
        println!("| BirbNests | ready after | memory | of CPU time at rest | requests a minute at rest | a new operator knows all after |");
        println!("|---|---|---|---|---|---|");
        let mut there = 0;
        for wanted in settings.nests {
            let line = Line::measure(space, there..wanted, Duration::from_secs(settings.rest)).await;
            println!("{line}");
            there = wanted;
        }
        node.remove().await;
    })
    .await;
}

struct Line {
    nests: u32,
    ready: Duration,
    memory_mb: f64,
    cpu_percent: f64,
    requests: Vec<(&'static str, f64)>,
    known: Duration,
}

impl Line {
    async fn measure(space: &Space, more: std::ops::Range<u32>, rest: Duration) -> Self {
        let (nests, began) = (more.end, Instant::now());
        stream::iter(more.map(|number| async move { apply(space, number).await }))
            .buffer_unordered(CONCURRENCY)
            .collect::<Vec<_>>()
            .await;
        until_ready(space, nests).await;
        let ready = began.elapsed();
        let before = leader(space).await;
        let cpu_before = before.process().cpu();
        tokio::time::sleep(rest).await;
        let after = leader(space).await;
        let minutes = rest.as_secs_f64() / 60.0;
        let asked = requests(&after).into_iter().zip(requests(&before));
        let requests = asked
            .map(|((verb, after), (_, before))| (verb, (after - before) / minutes))
            .collect();
        let cpu = after.process().cpu().saturating_sub(cpu_before);
        let cpu_percent = cpu.as_secs_f64() / rest.as_secs_f64() * 100.0;
        let memory_mb = after.process().resident_mb();
        let known = replace(after, space, nests).await;
        Self {
            nests,
            ready,
            memory_mb,
            cpu_percent,
            requests,
            known,
        }
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let asked = self.requests.iter().filter(|(_, count)| *count > 0.0);
        let asked: Vec<_> = asked.map(|(verb, count)| format!("{count:.0} {verb}")).collect();
        write!(
            f,
            "| {} | {:.0} s | {:.0} MB | {:.1} % of a core | {} | {:.1} s |",
            self.nests,
            self.ready.as_secs_f64(),
            self.memory_mb,
            self.cpu_percent,
            if asked.is_empty() {
                "none".to_owned()
            } else {
                asked.join(", ")
            },
            self.known.as_secs_f64(),
        )
    }
}

async fn apply(space: &Space, number: u32) -> Nest {
    let mut spec = Backends::spec();
    spec["postgres"]["schema"] = json!(format!("herd_{number}"));
    spec["nats"]["stream"] = json!({ "partitions": 1 });
    spec["api"] = json!({ "replicas": 1 });
    spec["pod"] = Node::pods_there();
    space.apply_nest(&name(number), &spec).await
}

fn name(number: u32) -> String {
    format!("bird-{number}")
}

async fn until_ready(space: &Space, count: u32) {
    let nests = space.api::<BirbNest>();
    eventually_within(CONVERGENCE, "every BirbNest is ready", || async {
        let listed = nests
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let statuses = listed.items.iter().filter_map(|nest| nest.status.as_ref());
        let ready = statuses.filter(|status| is_true(status, "Ready")).count();
        seen(ready, |ready| *ready == count as usize)
    })
    .await;
}
