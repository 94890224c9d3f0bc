//! The operator is killed, and another leads.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    time::Duration,
};

use birbnest_e2e::{
    client::ApiClient,
    cluster::{OPERATOR_NAMESPACE, Space, story},
    house::sum_of,
    wait::{eventually_within, seen},
};
use futures::FutureExt;
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use reqwest::Method;
use serde_json::json;

use crate::small;

const TAKEOVER: Duration = Duration::from_mins(2);

#[tokio::test]
async fn a_leader_killed_in_the_middle_of_a_rollout_is_followed_by_another() {
    story("leader", async |space| {
        let _backends = space.backends().await;
        let operators: Api<Deployment> = Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE);
        let installed = operators
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .remove(0);
        let (name, replicas) = (installed.metadata.name.unwrap(), installed.spec.unwrap().replicas);
        let scale = async |replicas: Option<i32>| {
            let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
            operators
                .patch(&name, &PatchParams::default(), &patch)
                .await
                .unwrap();
        };
        scale(Some(2)).await;
        let ending = AssertUnwindSafe(lead_and_follow(space)).catch_unwind().await;
        // The other stories have the operator that was installed, whatever happens in this one.
        scale(replicas).await;
        if let Err(failure) = ending {
            resume_unwind(failure);
        }
    })
    .await;
}

async fn lead_and_follow(space: &Space) {
    let nest = space.apply_nest("led", &small()).await;
    nest.until_ready().await;
    let first = until_one_leads(space, 2).await;

    nest.patch(json!({ "spec": { "worker": { "batch": { "size": 100 } }, "api": { "replicas": 2 } } }))
        .await;
    let pods: Api<Pod> = Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE);
    pods.delete(&first, &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    nest.until_status("the rollout converges", |nest| {
        let ready = nest
            .conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True");
        ready && nest.api.as_ref().is_some_and(|api| api.ready == 2)
    })
    .await;
    let sizes = nest
        .metric("worker", 8081, "birbnest_worker_batch_size_limit")
        .await
        .unwrap();
    assert!(sizes.iter().all(|size| (size - 100.0).abs() < 0.5), "{sizes:?}");
    let second = until_one_leads(space, 2).await;
    assert_ne!(first, second);
}

/// Waits until of so many operators exactly one leads and the others have reconciled nothing; returns who.
async fn until_one_leads(space: &Space, count: usize) -> String {
    let pods: Api<Pod> = Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE);
    eventually_within(TAKEOVER, "exactly one operator leads", || async {
        let mut leaders = vec![];
        let operators = pods
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        seen(operators.items.len(), |found| *found == count)?;
        for pod in operators {
            let name = pod.metadata.name.unwrap_or_default();
            let ip = pod
                .status
                .and_then(|status| status.pod_ip)
                .ok_or("an operator has no address yet")?;
            let client = ApiClient::new(&format!("http://{ip}:8082"));
            let answer = client.request(Method::GET, "/metrics").try_send().await;
            let metrics = answer.map_err(|error| error.to_string())?.text;
            if sum_of(&metrics, "birbnest_operator_leader") > 0.5 {
                leaders.push(name);
            } else {
                seen(sum_of(&metrics, "birbnest_operator_reconciles_total"), |count| {
                    *count < 0.5
                })?;
            }
        }
        let leader = leaders.pop().ok_or("nobody leads")?;
        if !leaders.is_empty() {
            return Err(format!("{leader} and {leaders:?} lead"));
        }
        let leases: Api<Lease> = Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE);
        let leases = leases
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let holders: Vec<_> = leases
            .items
            .into_iter()
            .filter_map(|lease| lease.spec?.holder_identity)
            .collect();
        seen(holders, |holders| {
            holders.iter().any(|holder| holder.contains(&leader))
        })?;
        Ok(leader)
    })
    .await
}
