//! A cluster that refuses what a nest needs: its status says what and why, the other nests go on, and it goes on itself as
//! soon as it may.

use std::time::Duration;

use birbnest_e2e::{
    cluster::{Nest, Space, story, tidied},
    wait::{eventually_within, seen},
};
use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apps::v1::Deployment,
    core::v1::{Pod, ResourceQuota},
};
use kube::{
    Api,
    api::{DeleteParams, EvictParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    changes::{doubled, until_rolled_out},
    rollout::{assert_all_kept, under_load, with_schema},
    small,
};

/// For a drain to get rid of a pod, whose replacement has to come first.
const EVICTION: Duration = Duration::from_mins(2);

#[tokio::test]
async fn a_quota_stops_one_nest_and_not_the_others() {
    story("quota", async |space| {
        let _backends = space.backends().await;
        let first = space.apply_nest("first", &small()).await;
        first.until_ready().await;
        let quota = json!({
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": { "name": "three" },
            "spec": { "hard": { "count/deployments.apps": "3" } },
        });
        until_counted(space, &quota).await;
        let second = space.apply_nest("second", &with_schema("second")).await;
        until_told(&second, "exceeded quota").await;
        let change = json!({ "worker": { "batch": { "size": 100 } } });
        first.patch(json!({ "spec": change })).await;
        until_rolled_out(&first, &change).await;
        space.delete::<ResourceQuota>("three").await;
        second.until_ready().await;

        // One that lets no pod come keeps the old ones.
        let quota = json!({
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": { "name": "full" },
            "spec": { "hard": { "pods": "0" } },
        });
        until_counted(space, &quota).await;
        let change = json!({ "worker": { "batch": { "size": 200 } } });
        first.patch(json!({ "spec": change })).await;
        first
            .until_said("Ready", "False", |ready| {
                ready.reason == "PodsRefused" && ready.message.contains("exceeded quota")
            })
            .await;
        space.delete::<ResourceQuota>("full").await;
        until_rolled_out(&first, &change).await;
    })
    .await;
}

/// A quota holds nobody back before its status says what it is.
async fn until_counted(space: &Space, quota: &Value) {
    space.apply::<ResourceQuota>(quota).await;
    let name = quota["metadata"]["name"].as_str().unwrap();
    eventually_within(Duration::from_mins(1), "the quota is enforced", || async {
        let found = space.api::<ResourceQuota>().get(name).await;
        let status = found.map_err(|error| error.to_string())?.status;
        seen(json!(status.unwrap_or_default().hard), |hard| {
            *hard == quota["spec"]["hard"]
        })
    })
    .await;
}

#[tokio::test]
async fn a_policy_that_refuses_a_child_is_quoted() {
    story("admission", async |space| {
        let _backends = space.backends().await;
        let (policies, bindings) = policies(space);
        // Whichever is there.
        tidied(space, refuse_and_relent, async {
            let _ = policies.delete(&space.name, &DeleteParams::default()).await;
            let _ = bindings.delete(&space.name, &DeleteParams::default()).await;
        })
        .await;
    })
    .await;
}

async fn refuse_and_relent(space: &Space) {
    const RULE: &str = "every Deployment names a cost center";
    let policy = json!({
        "metadata": { "name": space.name },
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    { "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"] },
                ],
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": space.name } },
            },
            "validations": [
                { "expression": "'example.com/cost-center' in object.spec.template.metadata.labels", "message": RULE },
            ],
        },
    });
    let binding = json!({
        "metadata": { "name": space.name },
        "spec": { "policyName": space.name, "validationActions": ["Deny"] },
    });
    let (policies, bindings) = policies(space);
    let create = PostParams::default();
    policies
        .create(&create, &serde_json::from_value(policy).unwrap())
        .await
        .unwrap();
    bindings
        .create(&create, &serde_json::from_value(binding).unwrap())
        .await
        .unwrap();
    until_enforced(space, RULE).await;
    let nest = space.apply_nest("thrifty", &small()).await;
    until_told(&nest, RULE).await;
    let labels = json!({ "pod": { "labels": { "example.com/cost-center": "birds" } } });
    nest.patch(json!({ "spec": labels })).await;
    nest.until_ready().await;
}

/// It takes some moments until the API server has heard of a policy.
async fn until_enforced(space: &Space, rule: &str) {
    let pod = json!({ "labels": { "app": "probe" } });
    let probe = json!({
        "metadata": { "name": "probe" },
        "spec": {
            "selector": { "matchLabels": { "app": "probe" } },
            "template": { "metadata": pod, "spec": { "containers": [{ "name": "probe", "image": "probe" }] } },
        },
    });
    let probe = serde_json::from_value(probe).unwrap();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    eventually_within(EVICTION, "the policy is enforced", || async {
        match space.api::<Deployment>().create(&dry, &probe).await {
            Err(refused) if refused.to_string().contains(rule) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

fn policies(
    space: &Space,
) -> (
    Api<ValidatingAdmissionPolicy>,
    Api<ValidatingAdmissionPolicyBinding>,
) {
    (space.all(), space.all())
}

async fn until_told(nest: &Nest, what: &str) {
    let told = nest
        .until_said("Ready", "False", |ready| ready.message.contains(what))
        .await;
    eprintln!("{}: {}", told.reason, told.message);
}

/// As `kubectl drain` does, and a node that comes back at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_costs_no_request() {
    story("drained", async |space| {
        let backends = space.backends().await;
        let nest = space.apply_nest("moved", &doubled()).await;
        nest.until_ready().await;
        let load = under_load(&nest).await;
        for component in ["api", "worker"] {
            let pods = nest.pods(component).await.unwrap();
            assert_eq!(pods.len(), 2, "{component}");
            for pod in pods {
                evict(space, &pod.metadata.name.unwrap()).await;
            }
        }
        until_rolled_out(&nest, &json!({})).await;
        load.until_more(200).await;
        assert_all_kept(load.stop().await, &backends).await;
    })
    .await;
}

/// Asks until the disruption budget allows it.
async fn evict(space: &Space, pod: &str) {
    eventually_within(EVICTION, &format!("{pod} is evicted"), || async {
        let evicted = space.api::<Pod>().evict(pod, &EvictParams::default()).await;
        evicted.map(drop)
    })
    .await;
}
