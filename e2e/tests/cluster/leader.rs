//! The operator is killed, and another leads.

use std::time::{Duration, Instant};

use birbnest_e2e::{
    cluster::{Nest, OPERATOR_NAMESPACE, Operator, Space, is_true, story, tidied},
    wait::{eventually_within, seen},
};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::small;

const TAKEOVER: Duration = Duration::from_mins(2);
/// How long the Lease of a leader that says nothing more is valid (operator/src/leader.rs).
const LEASE: Duration = Duration::from_secs(20);
/// To ask for it, on a busy machine.
const MARGIN: Duration = Duration::from_secs(10);

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
        // The other stories have the operator that was installed, whatever happens in this one.
        tidied(space, lead_and_follow, scale(replicas)).await;
    })
    .await;
}

async fn lead_and_follow(space: &Space) {
    let nest = space.apply_nest("led", &small()).await;
    nest.until_ready().await;
    let first = until_one_leads(space, 2).await;

    nest.patch(json!({ "spec": { "worker": { "batch": { "size": 100 } }, "api": { "replicas": 2 } } }))
        .await;
    let began = Instant::now();
    first.delete(space).await;
    until_another_leads(space, &first).await;
    eprintln!(
        "another operator led {:?} after the first was told to go",
        began.elapsed()
    );
    nest.until_status("the rollout converges", |nest| {
        is_true(nest, "Ready") && nest.api.as_ref().is_some_and(|api| api.ready == 2)
    })
    .await;
    let sizes = nest
        .metric("worker", 8081, "birbnest_worker_batch_size_limit")
        .await
        .unwrap();
    assert!(sizes.iter().all(|size| (size - 100.0).abs() < 0.5), "{sizes:?}");
    let second = until_one_leads(space, 2).await;
    assert_ne!(first.name, second.name);
    one_that_freezes_is_followed_and_leads_no_more(space, &nest, &second).await;
}

/// As when its node is cut off: it cannot give the Lease back, and believes when it wakes up that it has it still.
async fn one_that_freezes_is_followed_and_leads_no_more(space: &Space, nest: &Nest, leader: &Operator) {
    let process = leader.process();
    process.signal("STOP");
    let began = Instant::now();
    until_another_leads(space, leader).await;
    let took = began.elapsed();
    eprintln!("another operator led {took:?} after the second froze");
    nest.patch(json!({ "spec": { "worker": { "batch": { "size": 200 } } } }))
        .await;
    // Before the kubelet ends it: it wakes up while another makes a change.
    process.signal("CONT");
    nest.until_ready().await;
    assert_ne!(until_one_leads(space, 2).await.name, leader.name);
    assert!(took < LEASE + MARGIN, "{took:?}");
    let last_words = leader.last_words(space).await;
    assert!(last_words.contains("stood still"), "{last_words}");
}

/// Waits until of so many operators exactly one leads, holds the Lease, and the others have reconciled nothing; returns who.
async fn until_one_leads(space: &Space, count: usize) -> Operator {
    eventually_within(TAKEOVER, "exactly one operator leads", || async {
        let operators = seen(Operator::all(space).await?, |found| found.len() == count)?;
        let (mut leading, standing_by): (Vec<_>, Vec<_>) = operators.into_iter().partition(Operator::leads);
        for operator in standing_by {
            seen(operator.sum("birbnest_operator_reconciles_total"), |count| {
                *count < 0.5
            })?;
        }
        let leader = seen(leading.pop(), |_| leading.is_empty())?.ok_or("nobody leads")?;
        let leases: Api<Lease> = Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE);
        let leases = leases.list(&ListParams::default()).await;
        let holders = leases.map_err(|error| error.to_string())?.items.into_iter();
        let holders: Vec<_> = holders.filter_map(|lease| lease.spec?.holder_identity).collect();
        seen(holders, |holders| {
            holders.iter().any(|holder| holder.contains(&leader.name))
        })?;
        Ok::<_, String>(leader)
    })
    .await
}

/// Waits until somebody else than this one leads.
async fn until_another_leads(space: &Space, than: &Operator) {
    eventually_within(TAKEOVER, "another operator leads", || async {
        let leading = Operator::all(space).await?.into_iter().filter(Operator::leads);
        let names: Vec<_> = leading.map(|operator| operator.name).collect();
        seen(names, |names| names.iter().any(|name| *name != than.name)).map(drop)
    })
    .await;
}
