//! A namespace that is being deleted and held by somebody else.

use std::time::Duration;

use birbnest_e2e::{
    cluster::{Backends, Door, Nest, OwnOperator, Space, Verdict, story},
    table::Table,
    wait::{eventually_within, seen},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Secret},
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{changes::until_rolled_out, deletion::streams, merge, small};

/// In which an operator with nothing to do is at rest.
const REST: Duration = Duration::from_secs(20);
/// What it may ask in that time, for its Lease and a nest that is as it should be.
const REQUESTS_AT_REST: u64 = 40;
/// Writes that it may try between the end of two nests and the change of a third.
const WRITES: u64 = 100;
/// The namespace's controller takes its time between two looks.
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_held_on_its_way_out_costs_the_operator_nothing_and_then_goes() {
    story("ending-home", async |home| {
        story("ending", async |ending| held_and_then_gone(home, ending).await).await;
    })
    .await;
}

async fn held_and_then_gone(home: &Space, ending: &Space) {
    let backends = home.backends().await;
    ending.apply::<Secret>(&backends.secret()).await;
    let door = Door::open(home.client.clone()).await;
    let operator = OwnOperator::of(home, &[ending], door.address());
    operator.process().start();
    let alone = operator.apply_nest("alone", &with("alone", "Retain")).await;
    let kept = operator
        .apply_nest_in(ending, "kept", &with("kept", "Retain"))
        .await;
    let gone = operator
        .apply_nest_in(ending, "gone", &with("gone", "Delete"))
        .await;
    for nest in [&alone, &kept, &gone] {
        nest.until_ready().await;
    }
    gone.client().await.put("robin", json!(1)).await.expect(201);
    hold(ending, &["birbnest.dev/story"]).await;

    door.judge(|_| Verdict::Pass);
    let namespaces = ending.all::<Namespace>();
    namespaces
        .delete(&ending.name, &DeleteParams::default())
        .await
        .unwrap();
    let change = json!({ "worker": { "batch": { "size": 100 } } });
    alone.patch(json!({ "spec": change })).await;
    until_rolled_out(&alone, &change).await;
    for nest in [&kept, &gone] {
        until_no_nest(nest).await;
    }
    let writes = door.writes();
    eprintln!("{writes} writes until both were gone");
    assert!(writes < WRITES, "{writes} writes");
    eventually_within(PATIENCE, "no child is left", || async {
        let left = ending.api::<Deployment>().list(&ListParams::default()).await;
        let left = left.map_err(|error| error.to_string())?;
        seen(left.items.len(), |left| *left == 0)
    })
    .await;
    door.until_at_rest(REST, REQUESTS_AT_REST).await;
    let namespace = namespaces.get(&ending.name).await.unwrap();
    assert!(namespace.metadata.deletion_timestamp.is_some(), "it is held");

    hold(ending, &[]).await;
    ending.until_deleted().await;
    what_is_not_in_the_namespace_stays(&backends, ending).await;
    alone.until_ready().await;
}

/// Nobody could drain the queue, so nothing of it was given up.
async fn what_is_not_in_the_namespace_stays(backends: &Backends, ending: &Space) {
    let prefix = format!("cache_{}_gone", ending.name);
    let streams = streams(&backends.nats.jetstream().await).await;
    let left = streams.iter().filter(|name| name.starts_with(&prefix)).count();
    assert_eq!(left, 5, "{streams:?}");
    Table::new(&backends.postgres.url(), "gone")
        .until_row("robin", |_| true)
        .await;
}

fn with(schema: &str, policy: &str) -> Value {
    let mut spec = small();
    merge(
        &mut spec,
        &json!({ "postgres": { "schema": schema }, "deletionPolicy": policy }),
    );
    spec
}

/// A ConfigMap with these finalizers.
async fn hold(space: &Space, finalizers: &[&str]) {
    let metadata = json!({ "name": "held", "finalizers": finalizers });
    let held = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
    let api = space.api::<ConfigMap>();
    let applied = PatchParams::apply("story").force();
    api.patch("held", &applied, &Patch::Apply(&held)).await.unwrap();
}

async fn until_no_nest(nest: &Nest) {
    eventually_within(PATIENCE, &format!("{} is gone", nest.name), || async {
        let now = nest.api().get_opt(&nest.name).await;
        let now = now.map_err(|error| error.to_string())?;
        seen(now.map(|nest| nest.status), Option::is_none)
    })
    .await;
}
