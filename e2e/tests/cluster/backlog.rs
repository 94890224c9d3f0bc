//! PostgreSQL is away while 100,000 writes are acknowledged.

use std::time::{Duration, Instant};

use birbnest_e2e::{
    cluster::{Nest, story},
    load::fill,
    wait::{eventually_within, seen},
};
use serde_json::json;

use crate::external;

const WRITES: u64 = 100_000;
/// Written a second time, so that the last value is another than the first.
const OVERWRITES: u64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_drained_by_more_workers_and_nothing_is_lost() {
    story("backlog", async |space| {
        let backends = space.backends().await;
        let autoscaling = json!({
            "min": 1, "max": 3, "targetQueueDepth": 20_000, "drainTarget": "5s", "scaleDownStabilization": "20s",
        });
        let spec = json!({ "api": { "replicas": 1 }, "worker": { "autoscaling": autoscaling } });
        let nest = space.apply_nest("flood", &external(&spec)).await;
        nest.until_ready().await;
        backends.postgres.stop().await;

        let began = Instant::now();
        let client = nest.client().await;
        let mut ledger = fill(&client, 0..WRITES, 64).await;
        ledger.merge(fill(&client, 0..OVERWRITES, 64).await);
        eprintln!("{} writes acknowledged without PostgreSQL in {:?}", ledger.acknowledged, began.elapsed());
        assert_eq!(ledger.failures, Vec::<String>::new());
        until_queue(&nest, "the queue is seen", |depth| depth >= 100_000).await;
        let during = nest.status().await.workers.unwrap_or_default();
        assert_eq!(during.desired, 1, "more workers cannot help: {}", during.reason);
        assert_eq!(during.reason, "nothing is being persisted, so more workers would not help: see whether PostgreSQL and Redis answer");

        backends.postgres.start().await;
        let began = Instant::now();
        eventually_within(Duration::from_mins(1), "more workers are wanted", || async {
            seen(nest.status().await.workers.unwrap_or_default(), |workers| workers.desired > 1)
        })
        .await;
        until_queue(&nest, "the queue is drained", |depth| depth == 0).await;
        eprintln!("drained in {:?}", began.elapsed());
        assert_eq!(ledger.check(&backends.table().rows().await), Ok(()));

        let rested = eventually_within(Duration::from_mins(2), "the workers go down again", || async {
            let workers = nest.status().await.workers.unwrap_or_default();
            seen(workers, |workers| workers.desired == 1 && workers.ready == 1)
        })
        .await;
        assert!(!rested.reason.is_empty());
        let scaled: Vec<_> =
            nest.events().await.into_iter().filter(|(reason, _)| reason.contains("Scal")).collect();
        eprintln!("{scaled:#?}");
        assert!(scaled.len() >= 2, "an event for the way up and one for the way down: {scaled:?}");
    })
    .await;
}

async fn until_queue(nest: &Nest, what: &str, condition: impl Fn(i64) -> bool) {
    eventually_within(Duration::from_mins(2), what, || async {
        seen(nest.status().await.queue, |queue| {
            queue.as_ref().is_some_and(|queue| condition(queue.depth))
        })
    })
    .await;
}
