//! An admin changes a nest that is in use.

use std::{collections::BTreeSet, time::Duration};

use birbnest_e2e::{
    cluster::{Backends, Nest, Space, story},
    ledger::Ledger,
    load::Load,
    servers::RedisServer,
    wait::{eventually, eventually_within, seen},
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::{external, small};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_batch_size_rolls_the_workers_and_no_request_fails() {
    story("batch-size", async |space| {
        let backends = space.backends().await;
        let spec = external(&json!({ "worker": { "autoscaling": { "min": 2, "max": 2 } } }));
        let nest = space.apply_nest("tuned", &spec).await;
        nest.until_ready().await;
        let (apis, workers) = (uids(&nest, "api").await, uids(&nest, "worker").await);
        let load = under_load(&nest).await;

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
        until_replaced(&nest, "worker", &workers).await;
        assert_eq!(uids(&nest, "api").await, apis, "the API pods were left alone");

        load.until_more(200).await;
        assert_all_kept(load.stop().await, &backends).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_api_pods_take_over_without_a_failed_request() {
    story("api-rollout", async |space| {
        let backends = space.backends().await;
        let spec = external(&json!({ "worker": { "autoscaling": { "min": 1, "max": 1 } } }));
        let nest = space.apply_nest("busy", &spec).await;
        nest.until_ready().await;
        let before = uids(&nest, "api").await;
        let load = under_load(&nest).await;
        nest.patch(json!({ "spec": { "api": { "requestTimeout": "4s" } } }))
            .await;
        until_replaced(&nest, "api", &before).await;
        load.until_more(200).await;
        assert_all_kept(load.stop().await, &backends).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_partitions_take_over_without_a_failed_request() {
    story("partitions", async |space| {
        let backends = space.backends().await;
        let nest = space.apply_nest("spread", &patient()).await;
        nest.until_ready().await;
        let (apis, workers) = (uids(&nest, "api").await, uids(&nest, "worker").await);
        let load = under_load(&nest).await;
        let spread_over =
            |partitions: u16| json!({ "spec": { "nats": { "stream": { "partitions": partitions } } } });
        nest.patch(spread_over(6)).await;
        nest.until_status("the workers drain other partitions", |status| {
            let partitions: Vec<_> = status.persisted_through.iter().map(|of| of.partition).collect();
            partitions == [4, 5, 6, 7, 8, 9]
        })
        .await;
        nest.until_ready().await;
        assert_eq!(uids(&nest, "api").await, apis, "the API pods were left alone");
        assert_eq!(uids(&nest, "worker").await, workers, "and so were the workers");
        load.until_more(200).await;
        assert_all_kept(load.stop().await, &backends).await;
    })
    .await;
}

#[tokio::test]
async fn a_changed_secret_rolls_the_pods_that_use_it() {
    story("changed-secret", async |space| {
        let backends = space.backends().await;
        let nest = space.apply_nest("moved", &small()).await;
        nest.until_ready().await;
        let before = uids(&nest, "api").await;
        let redis = RedisServer::start_on(Backends::host()).await;
        let mut secret = backends.secret();
        secret["stringData"]["redis-url"] = json!(redis.url());
        space.apply::<Secret>(&secret).await;
        until_replaced(&nest, "api", &before).await;
        let client = nest.client().await;
        client.put("robin", json!(1)).await.expect(201);
        backends.redis.stop().await;
        client.put("robin", json!(2)).await.expect(201);
        assert_eq!(client.get("robin").await.expect(200).value(), json!(2));
    })
    .await;
}

#[tokio::test]
async fn a_paused_nest_is_left_as_it_is_until_it_goes_on() {
    story("paused", async |space| {
        let _backends = space.backends().await;
        let nest = space.apply_nest("asleep", &small()).await;
        nest.until_ready().await;
        nest.patch(json!({ "spec": { "paused": true } })).await;
        nest.until_status("it says that it is paused", |status| {
            status
                .conditions
                .iter()
                .any(|condition| condition.reason.contains("Paused"))
        })
        .await;
        remove_service(space, "asleep-api").await;
        // A second nest that converges meanwhile shows that the operator had the time.
        space
            .apply_nest("awake", &with_schema("awake"))
            .await
            .until_ready()
            .await;
        assert!(
            space
                .api::<Service>()
                .get_opt("asleep-api")
                .await
                .unwrap()
                .is_none()
        );
        nest.patch(json!({ "spec": { "paused": false } })).await;
        eventually("the Service is back", || async {
            let service = space.api::<Service>().get_opt("asleep-api").await;
            seen(service.map_err(|error| error.to_string())?, Option::is_some)
        })
        .await;
        nest.until_ready().await;
    })
    .await;
}

async fn remove_service(space: &Space, name: &str) {
    space
        .api::<Service>()
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
}

pub(super) fn with_schema(schema: &str) -> Value {
    let mut spec = small();
    spec["postgres"]["schema"] = json!(schema);
    spec
}

/// A small nest whose writes may take as long as the partitions change on a busy machine.
fn patient() -> Value {
    let mut spec = small();
    spec["api"]["requestTimeout"] = json!("10s");
    spec
}

/// Waits until the last of the pods of before is gone, and others are there. Of a Secret the operator hears when it looks at the
/// nest the next time, and a migration comes first.
pub(super) async fn until_replaced(nest: &Nest, component: &str, before: &BTreeSet<String>) {
    eventually_within(Duration::from_mins(5), "every pod is a new one", || async {
        seen(uids(nest, component).await, |now| {
            now.is_disjoint(before) && !now.is_empty()
        })
    })
    .await;
    nest.until_ready().await;
}

/// Clients that write to the nest and read from it, and have begun.
pub(super) async fn under_load(nest: &Nest) -> Load {
    let load = Load::start(&[nest.client().await], 4, 500, Duration::from_millis(5));
    load.until_more(200).await;
    load
}

pub(super) async fn assert_all_kept(ledger: Ledger, backends: &Backends) {
    assert_eq!(ledger.failures, Vec::<String>::new());
    let table = backends.table();
    eventually_within(
        Duration::from_mins(1),
        "every acknowledged write is in PostgreSQL",
        || async { ledger.check(&table.rows().await) },
    )
    .await;
}

pub(super) async fn uids(nest: &Nest, component: &str) -> BTreeSet<String> {
    let pods = nest.pods(component).await.unwrap();
    pods.into_iter().filter_map(|pod| pod.metadata.uid).collect()
}
