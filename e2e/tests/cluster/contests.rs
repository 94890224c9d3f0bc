//! Somebody else sets the replicas that the operator sets: it sets them back, and says who it was.

use birbnest_e2e::{
    cluster::{Door, Nest, OwnOperator, Space, story},
    wait::{eventually, seen},
};
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::small;

const CONTESTED: &str = "ReplicasContested";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_else_sets_replicas_is_named_and_they_are_set_back() {
    story("contested", async |space| {
        let _backends = space.backends().await;
        let door = Door::open(space.client.clone()).await;
        let operator = OwnOperator::new(space, door.address());
        operator.process().start();
        let nest = operator.apply_nest("rival", &small()).await;
        nest.until_ready().await;

        let deployments = space.api::<Deployment>();
        let replicas = |count: i32| Patch::Merge(json!({ "spec": { "replicas": count } }));
        let by = |manager: &str| PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        deployments
            .patch("rival-worker", &by("argocd-controller"), &replicas(0))
            .await
            .unwrap();
        until_told(&nest, "WorkersAvailable", "Argo CD").await;
        until_replicas(&nest, "worker", 1).await;
        // As `kubectl scale` does, which leaves no name when it scales to zero.
        for (count, who) in [(2, "kubectl"), (0, "somebody")] {
            deployments
                .patch_scale("rival-api", &by("kubectl"), &replicas(count))
                .await
                .unwrap();
            until_told(&nest, "APIAvailable", who).await;
            until_replicas(&nest, "api", 1).await;
        }
        nest.until_ready().await;

        an_autoscaler_is_named(space, &nest).await;
        nest.until_ready().await;
    })
    .await;
}

/// It needs no figures to bring a Deployment to its least number of pods, every fifteen seconds.
async fn an_autoscaler_is_named(space: &Space, nest: &Nest) {
    let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "rival-worker" });
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "hawk" },
        "spec": { "scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 4 },
    });
    space.apply::<HorizontalPodAutoscaler>(&autoscaler).await;
    until_told(nest, "WorkersAvailable", "the HorizontalPodAutoscaler hawk").await;
    until_replicas(nest, "worker", 1).await;
    space.delete::<HorizontalPodAutoscaler>("hawk").await;
    until_replicas(nest, "worker", 1).await;
}

/// The pods serve, so the condition holds; its event is a warning all the same.
async fn until_told(nest: &Nest, condition: &str, who: &str) {
    let told = nest
        .until_said(condition, "True", |said| {
            said.reason == CONTESTED && said.message.contains(who)
        })
        .await;
    eprintln!("{}", told.message);
    nest.until_event("the contest", |reason, _| reason == CONTESTED)
        .await;
}

async fn until_replicas(nest: &Nest, component: &str, replicas: i32) {
    eventually(&format!("the {component} has {replicas} replicas"), || async {
        let deployment = nest.deployment(component).await?;
        seen(deployment.spec.and_then(|spec| spec.replicas), |now| {
            *now == Some(replicas)
        })
    })
    .await;
}
