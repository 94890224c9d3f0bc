//! What is applied twice changes nothing, and what somebody changes by hand is put right.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use async_nats::jetstream::consumer::pull;
use birbnest_e2e::{
    cluster::{Child, Nest, Space, story},
    wait::{eventually, eventually_within, seen},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
    policy::v1::PodDisruptionBudget,
};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::external;

#[tokio::test]
async fn applying_twice_changes_no_child_and_children_are_repaired() {
    story("repair", async |space| {
        let backends = space.backends().await;
        let spec = external(&json!({ "worker": { "autoscaling": { "min": 1, "max": 1 } } }));
        let nest = space.apply_nest("steady", &spec).await;
        nest.until_ready().await;
        let before = until_settled(&nest).await;
        let generation = nest.object().await.metadata.generation;

        space.apply_nest("steady", &spec).await;
        space.apply_nest("steady", &spec).await;
        // The repair of one child shows that the nest was reconciled after all of this.
        let uid_before = before["Service/steady-api"].uid.clone();
        space.delete::<Service>("steady-api").await;
        until_child(&nest, "Service/steady-api", |child| child.uid != uid_before).await;
        let mut after = until_settled(&nest).await;
        after.insert(
            "Service/steady-api".to_owned(),
            before["Service/steady-api"].clone(),
        );
        assert_eq!(after, before);
        assert_eq!(nest.object().await.metadata.generation, generation);

        edited_and_deleted_children_come_back(space, &nest).await;
        streams_come_back(
            &nest,
            &backends.nats.jetstream().await,
            &format!("cache_{}_steady", space.name),
        )
        .await;
        nest.until_ready().await;
        nest.client().await.put("robin", json!(1)).await.expect(201);
    })
    .await;
}

async fn edited_and_deleted_children_come_back(space: &Space, nest: &Nest) {
    let (configs, deployments) = (space.api::<ConfigMap>(), space.api::<Deployment>());
    let merge = |change: serde_json::Value| Patch::Merge(change);
    let parameters = PatchParams::default();

    let config = configs.get("steady-config").await.unwrap().data;
    let broken = merge(json!({ "data": { "worker.yaml": "worker: {batch: {size: 1}}" } }));
    configs
        .patch("steady-config", &parameters, &broken)
        .await
        .unwrap();
    eventually("the ConfigMap is repaired", || async {
        let now = configs
            .get("steady-config")
            .await
            .map_err(|error| error.to_string())?;
        seen(now.data, |now| *now == config)
    })
    .await;

    let idle = merge(json!({ "spec": { "replicas": 0 } }));
    for name in ["steady-api", "steady-worker"] {
        let replicas = deployments.get(name).await.unwrap().spec.unwrap().replicas;
        deployments.patch(name, &parameters, &idle).await.unwrap();
        eventually(&format!("the replicas of {name} are repaired"), || async {
            let now = deployments.get(name).await.map_err(|error| error.to_string())?;
            seen(now.spec.and_then(|spec| spec.replicas), |now| *now == replicas)
        })
        .await;
    }
    space.delete::<Deployment>("steady-worker").await;
    space.delete::<PodDisruptionBudget>("steady-api").await;
    until_child(nest, "Deployment/steady-worker", |_| true).await;
    until_child(nest, "PodDisruptionBudget/steady-api", |_| true).await;
}

async fn streams_come_back(nest: &Nest, jetstream: &async_nats::jetstream::Context, prefix: &str) {
    let name = format!("{prefix}_persist_0");
    let mut config = jetstream
        .get_stream(&name)
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    let wanted = (config.max_messages, config.max_bytes);
    (config.max_messages, config.max_bytes) = (5, 5_000);
    jetstream.update_stream(&config).await.unwrap();
    let stream = jetstream.get_stream(&name).await.unwrap();
    stream.delete_consumer("drain_1").await.unwrap();
    eventually_within(
        Duration::from_mins(2),
        "limits and consumer are repaired",
        || async {
            let stream = jetstream
                .get_stream(&name)
                .await
                .map_err(|error| error.to_string())?;
            let config = &stream.cached_info().config;
            seen((config.max_messages, config.max_bytes), |now| *now == wanted)?;
            let consumer = stream.get_consumer::<pull::Config>("drain_1").await;
            consumer.map(drop).map_err(|error| error.to_string())
        },
    )
    .await;
    nest.until_event("what was set right", |reason, note| {
        reason == "StreamProvisioned" && note.contains("max_bytes was 5000, max_msgs was 5")
    })
    .await;
    nest.until_condition("StreamsReady", "True").await;
}

/// The children once nobody has written any of them for three seconds: pods have become ready, and no controller writes
/// in a loop.
async fn until_settled(nest: &Nest) -> BTreeMap<String, Child> {
    let last = RefCell::new((BTreeMap::new(), Instant::now()));
    eventually("nobody writes the children any more", || async {
        let now = nest.children().await;
        let mut last = last.borrow_mut();
        if last.0 != now {
            *last = (now.clone(), Instant::now());
        }
        seen(last.1.elapsed(), |quiet| *quiet > Duration::from_secs(3)).map(|_| now)
    })
    .await
}

async fn until_child(nest: &Nest, child: &str, condition: impl Fn(&Child) -> bool) {
    eventually(&format!("{child} is there again"), || async {
        let children = nest.children().await;
        let child = children.get(child).ok_or("it is missing")?;
        if condition(child) {
            Ok(())
        } else {
            Err("it is the old one")
        }
    })
    .await;
}
