//! Ten times the load, all at once, and back.

use std::{
    slice::from_ref,
    time::{Duration, Instant},
};

use birbnest_e2e::{
    cluster::{Backends, Nest, story},
    load::Load,
    wait::{eventually_within, seen},
};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::external;

const MIN: i32 = 1;
/// More than PostgreSQL has connections for.
const MAX: i32 = 8;
const USER: &str = "swift";
const OF_A_POD: usize = 4;
/// Those of an API pod and five workers, and two that the leader and a migration have.
const CONNECTIONS: usize = OF_A_POD * (1 + 5) + 2;
const AFFORDABLE: i32 = 5;
const DRAIN_TARGET: Duration = Duration::from_secs(10);
/// More keys than writes: an overwritten write leaves the queue, and so would the backlog.
const KEYS: u64 = 10_000_000;
const PAUSE: Duration = Duration::from_millis(10);
/// Writers before and after the spike, and ten times as many in it.
const WRITERS: usize = 3;
const SPIKE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_follow_a_spike_within_the_connections_of_postgresql_and_go_calmly() {
    story("spike", async |space| {
        let backends = space.backends().await;
        let limit = format!("CONNECTION LIMIT {CONNECTIONS}");
        let mut secret = backends.secret();
        secret["stringData"]["postgres-url"] = json!(backends.postgres.create_role(USER, &limit).await);
        space.apply::<Secret>(&secret).await;
        let drain_target = format!("{}s", DRAIN_TARGET.as_secs());
        // A write per statement, so that a worker is slow enough for a test to bring more than it can take.
        let worker = json!({
            "batch": { "size": 1, "adaptive": false },
            "concurrency": 1,
            "autoscaling": { "min": MIN, "max": MAX, "drainTarget": drain_target, "scaleDownStabilization": "20s" },
        });
        let spec = json!({
            "api": { "replicas": 1 },
            "worker": worker,
            "nats": { "stream": { "partitions": 1 } },
            "postgres": { "maxConnections": OF_A_POD },
        });
        let nest = space.apply_nest("surge", &external(&spec)).await;
        nest.until_ready().await;
        let client = nest.client().await;
        let steady = Load::start(from_ref(&client), WRITERS, KEYS, PAUSE);
        steady.until_more(1_000).await;

        let mut seen_so_far = Seen::default();
        let spike = Load::start(&[client], WRITERS * 9, KEYS, PAUSE);
        let began = Instant::now();
        while began.elapsed() < SPIKE {
            seen_so_far.look(&nest, &backends).await;
        }
        let spiked = spike.stop().await;
        let began = Instant::now();
        eventually_within(
            Duration::from_mins(2),
            "the backlog of the spike is drained",
            || async { seen(depth(&nest).await, |depth| *depth < 200) },
        )
        .await;
        eprintln!("drained {:?} after the spike", began.elapsed());
        let steady = steady.stop().await;
        while *seen_so_far.workers.last().unwrap_or(&MAX) > MIN && began.elapsed() < Duration::from_mins(3) {
            seen_so_far.look(&nest, &backends).await;
        }
        eprintln!("{seen_so_far:?}");
        assert_eq!([steady.failures, spiked.failures], [vec![], Vec::<String>::new()]);
        seen_so_far.judge();
    })
    .await;
}

/// A look at the nest every second.
#[derive(Debug, Default)]
struct Seen {
    depths: Vec<i64>,
    workers: Vec<i32>,
    connections: usize,
}

impl Seen {
    async fn look(&mut self, nest: &Nest, backends: &Backends) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.depths.push(depth(nest).await);
        self.workers
            .push(nest.status().await.workers.unwrap_or_default().desired);
        self.connections = self.connections.max(backends.postgres.sessions_of(USER).await);
    }

    fn judge(&self) {
        let most = self.workers.iter().max().copied().unwrap_or_default();
        assert!(
            most > MIN && most <= AFFORDABLE,
            "more workers came, and no more than there are connections for: {most}"
        );
        assert!(
            self.connections <= CONNECTIONS,
            "{} connections",
            self.connections
        );
        assert_eq!(self.workers.last(), Some(&MIN), "and went");
        let turns = self.workers.windows(2).filter(|pair| pair[0] != pair[1]);
        let directions: Vec<_> = turns.map(|pair| pair[1] > pair[0]).collect();
        let reversals = directions.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(reversals <= 1, "up, and then down: {:?}", self.workers);
    }
}

async fn depth(nest: &Nest) -> i64 {
    nest.status().await.queue.unwrap_or_default().depth
}
