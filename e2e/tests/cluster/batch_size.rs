//! An admin tunes the batch size of a nest that is in use.

use std::{collections::BTreeSet, time::Duration};

use birbnest_e2e::{
    cluster::{Nest, story},
    load::Load,
    wait::{eventually_within, seen},
};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use crate::external;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_batch_size_rolls_the_workers_and_no_request_fails() {
    story("batch-size", async |space| {
        let backends = space.backends().await;
        let spec = external(&json!({ "worker": { "autoscaling": { "min": 2, "max": 2 } } }));
        let nest = space.apply_nest("tuned", &spec).await;
        nest.until_ready().await;
        let (apis, workers) = (uids(&nest, "api").await, uids(&nest, "worker").await);
        let load = Load::start(&[nest.client().await], 4, 500, Duration::from_millis(5));
        load.until_more(200).await;

        nest.patch(json!({ "spec": { "worker": { "batch": { "size": 250 } } } }))
            .await;
        eventually_within(
            Duration::from_mins(2),
            "every worker has the new size",
            || async {
                let sizes = nest
                    .metric("worker", 8081, "birbnest_worker_batch_size_limit")
                    .await?;
                seen(sizes, |sizes| {
                    sizes.len() == 2 && sizes.iter().all(|size| (size - 250.0).abs() < 0.5)
                })
            },
        )
        .await;
        nest.until_ready().await;
        let files = space
            .api::<ConfigMap>()
            .get("tuned-config")
            .await
            .unwrap()
            .data
            .unwrap();
        assert!(
            files["worker.yaml"].contains("size: 250"),
            "{}",
            files["worker.yaml"]
        );
        assert!(
            uids(&nest, "worker").await.is_disjoint(&workers),
            "every worker is a new one"
        );
        assert_eq!(uids(&nest, "api").await, apis, "the API pods were left alone");

        load.until_more(200).await;
        let ledger = load.stop().await;
        assert_eq!(ledger.failures, Vec::<String>::new());
        let table = backends.table();
        eventually_within(
            Duration::from_mins(1),
            "every acknowledged write is in PostgreSQL",
            || async { ledger.check(&table.rows().await) },
        )
        .await;
    })
    .await;
}

async fn uids(nest: &Nest, component: &str) -> BTreeSet<String> {
    nest.pods(component)
        .await
        .unwrap()
        .into_iter()
        .filter_map(|pod| pod.metadata.uid)
        .collect()
}
