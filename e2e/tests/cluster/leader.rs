//! The operator is killed, and another leads.

use std::{
    fs,
    panic::{AssertUnwindSafe, resume_unwind},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use birbnest_e2e::{
    client::ApiClient,
    cluster::{Nest, OPERATOR_NAMESPACE, Space, story},
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
use tokio::time::timeout;

use crate::small;

const TAKEOVER: Duration = Duration::from_mins(2);
/// How long the Lease of a leader that says nothing more is valid (operator/src/leader.rs).
const LEASE: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(1);
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
    let began = Instant::now();
    pods.delete(&first, &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    until_another_leads(space, &first).await;
    eprintln!(
        "another operator led {:?} after the first was told to go",
        began.elapsed()
    );
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
    one_that_freezes_is_followed_and_leads_no_more(space, &nest, &second).await;
}

/// As when its node is cut off: it cannot give the Lease back, and believes when it wakes up that it has it still.
async fn one_that_freezes_is_followed_and_leads_no_more(space: &Space, nest: &Nest, leader: &str) {
    let process = process_of(leader);
    signal("STOP", &process);
    let began = Instant::now();
    until_another_leads(space, leader).await;
    let took = began.elapsed();
    eprintln!("another operator led {took:?} after the second froze");
    nest.patch(json!({ "spec": { "worker": { "batch": { "size": 200 } } } }))
        .await;
    nest.until_ready().await;
    signal("CONT", &process);
    assert_ne!(until_one_leads(space, 2).await, leader);
    assert!(took < LEASE + MARGIN, "{took:?}");
}

/// The number of the process in a pod, which its environment names, on this machine.
fn process_of(pod: &str) -> String {
    let host = format!("HOSTNAME={pod}");
    let has = |process: &PathBuf| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == host.as_bytes())
            && fs::read_link(process.join("exe")).is_ok_and(|exe| exe.ends_with("birbnest-operator"))
    };
    let mut processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let process = processes.find(has);
    assert!(process.is_some(), "{pod} does not run on this machine");
    let process = process.unwrap();
    process.file_name().unwrap().to_string_lossy().into_owned()
}

fn signal(name: &str, process: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), process])
        .status()
        .unwrap();
    assert!(sent.success(), "kill -{name} {process}");
}

/// Waits until of so many operators exactly one leads, holds the Lease, and the others have reconciled nothing; returns who.
async fn until_one_leads(space: &Space, count: usize) -> String {
    eventually_within(TAKEOVER, "exactly one operator leads", || async {
        let operators = seen(operators(space).await?, |found| found.len() == count)?;
        let (leading, standing_by): (Vec<_>, Vec<_>) = operators.into_iter().partition(Operator::leads);
        for operator in standing_by {
            seen(
                sum_of(&operator.metrics, "birbnest_operator_reconciles_total"),
                |count| *count < 0.5,
            )?;
        }
        let names: Vec<_> = leading.into_iter().map(|operator| operator.name).collect();
        let [leader] = names.as_slice() else {
            return Err(format!("{names:?} lead"));
        };
        let leases: Api<Lease> = Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE);
        let leases = leases.list(&ListParams::default()).await;
        let holders = leases.map_err(|error| error.to_string())?.items.into_iter();
        let holders: Vec<_> = holders.filter_map(|lease| lease.spec?.holder_identity).collect();
        seen(holders, |holders| {
            holders.iter().any(|holder| holder.contains(leader))
        })?;
        Ok(leader.clone())
    })
    .await
}

/// Waits until somebody else than this one leads.
async fn until_another_leads(space: &Space, than: &str) {
    eventually_within(TAKEOVER, "another operator leads", || async {
        let leading = operators(space).await?.into_iter().filter(Operator::leads);
        let names: Vec<_> = leading.map(|operator| operator.name).collect();
        seen(names, |names| names.iter().any(|name| name != than)).map(drop)
    })
    .await;
}

#[derive(Debug)]
struct Operator {
    name: String,
    metrics: String,
}

impl Operator {
    fn leads(&self) -> bool {
        sum_of(&self.metrics, "birbnest_operator_leader") > 0.5
    }
}

/// Those that run and answer.
async fn operators(space: &Space) -> Result<Vec<Operator>, String> {
    let pods: Api<Pod> = Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE);
    let pods = pods
        .list(&ListParams::default())
        .await
        .map_err(|error| error.to_string())?;
    let mut found = vec![];
    for pod in pods {
        let Some(ip) = pod.status.and_then(|status| status.pod_ip) else {
            continue;
        };
        let client = ApiClient::new(&format!("http://{ip}:8082"));
        // One that is frozen takes the connection and says nothing.
        let answer = timeout(ANSWER, client.request(Method::GET, "/metrics").try_send()).await;
        if let Ok(Ok(answer)) = answer {
            let name = pod.metadata.name.unwrap_or_default();
            found.push(Operator {
                name,
                metrics: answer.text,
            });
        }
    }
    Ok(found)
}
