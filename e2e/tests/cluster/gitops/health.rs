//! Through its whole life a nest is called current only while everything that its spec asks for is rolled out.

use birbnest_e2e::{
    cluster::{Door, Nest, OwnOperator, story},
    wait::{eventually_within, seen},
};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::{
    kstatus::{Health, health},
    timeline::{States, Timeline},
};
use crate::changes::doubled;

/// On pods, so that a Deployment shows which state of the spec it is made from.
const STEP: &str = "example.com/step";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nest_is_current_only_while_its_spec_is_rolled_out() {
    story("health", async |space| {
        let _backends = space.backends().await;
        let timeline = Timeline::record(space).await;
        let door = Door::open(space.client.clone()).await;
        let operator = OwnOperator::new(space, door.address());
        let mut spec = doubled();
        spec["deletionPolicy"] = json!("Delete");
        spec["pod"] = json!({ "annotations": { STEP: "made" } });
        // Nobody has looked at it yet.
        let nest = operator.apply_nest("life", &spec).await;
        operator.process().start();
        until(&nest, Health::Current).await;

        step(&nest, "changed", json!({})).await;
        until(&nest, Health::Current).await;

        // What cannot be done needs a person, and is no rollout any more; what can be goes on.
        let secret = |key: &str| json!({ "redis": { "urlFrom": { "secretKeyRef": { "key": key } } } });
        step(&nest, "refused", secret("no-such-key")).await;
        until(&nest, Health::Failed).await;
        step(&nest, "mended", secret("redis-url")).await;
        until(&nest, Health::Current).await;
        step(
            &nest,
            "stuck",
            json!({ "pod": { "image": "birbnest.local/no-such-image:1" } }),
        )
        .await;
        until(&nest, Health::Failed).await;
        step(&nest, "loose", json!({ "pod": { "image": null } })).await;
        until(&nest, Health::Current).await;

        step(&nest, "paused", json!({ "paused": true })).await;
        nest.until_said("Reconciling", "True", |said| said.reason == "Paused")
            .await;
        nest.patch(json!({ "spec": { "paused": false } })).await;
        until(&nest, Health::Current).await;

        nest.api()
            .delete(&nest.name, &DeleteParams::default())
            .await
            .unwrap();
        let states = eventually_within(std::time::Duration::from_mins(2), "its end was seen", || async {
            seen(timeline.states(), |states| {
                states
                    .values()
                    .any(|state| is_nest(state) && state["deleted"] == true)
            })
        })
        .await;
        judge(&states);
    })
    .await;
}

async fn step(nest: &Nest, name: &str, mut change: Value) {
    crate::merge(&mut change, &json!({ "pod": { "annotations": { STEP: name } } }));
    nest.patch(json!({ "spec": change })).await;
}

async fn until(nest: &Nest, wanted: Health) {
    let what = format!("the nest is {wanted:?}");
    eventually_within(std::time::Duration::from_mins(3), &what, || async {
        let object = serde_json::to_value(nest.object().await).map_err(|error| error.to_string())?;
        seen(health(&object), |now| *now == wanted)
            .map_err(|now| format!("{now}: {}", object["status"]["conditions"]))
    })
    .await;
}

/// Holds each state of the nest against the Deployments as they were when it was written.
fn judge(states: &States) {
    let (mut current, mut faults) = (vec![], vec![]);
    for (revision, nest) in states.iter().filter(|(_, state)| is_nest(state)) {
        let deployments = ["life-api", "life-worker"].map(|name| {
            let before = states.range(..revision).rev().map(|(_, state)| state);
            let mut named = before.filter(|state| state["metadata"]["name"] == name);
            named.next().unwrap_or(&Value::Null)
        });
        if let Err(fault) = check(nest, deployments) {
            faults.push(format!(
                "at {revision}: {fault}: {} {}",
                nest["metadata"]["generation"], nest["status"]
            ));
        }
        let step = step_of(&nest["spec"]["pod"]);
        if health(nest) == Health::Current && current.last() != Some(&step) {
            current.push(step);
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(current, ["made", "changed", "mended", "loose", "paused"]);
    let drained = |state: &Value| is_nest(state) && health(state) == Health::Terminating;
    assert!(states.values().any(drained), "it drains before it goes");
}

/// What is wrong with a state.
fn check(nest: &Value, deployments: [&Value; 2]) -> Result<(), &'static str> {
    let is = |kind: &str| {
        let mut conditions = nest["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|of| of["type"] == kind && of["status"] == "True")
    };
    let observed = nest["status"]["observedGeneration"] == nest["metadata"]["generation"];
    let allowed = |holds: bool, fault| if holds { Ok(()) } else { Err(fault) };
    allowed(!is("Reconciling") || !is("Stalled"), "it goes on and does not")?;
    match health(nest) {
        Health::Current => {
            allowed(observed && is("Ready"), "it is current and not ready")?;
            let rolled_out = deployments.iter().all(|deployment| shows(deployment, nest));
            allowed(rolled_out, "it is current before it has rolled out")
        }
        Health::InProgress => allowed(!observed || is("Reconciling"), "nobody is about it"),
        Health::Failed => allowed(observed && !is("Ready"), "it is ready and cannot go on"),
        Health::Terminating => Ok(()),
    }
}

/// Every pod is of the newest template, which is that of the spec, and it serves. How many workers there are is scaling's.
fn shows(deployment: &Value, nest: &Value) -> bool {
    let (metadata, status) = (&deployment["metadata"], &deployment["status"]);
    let same = step_of(&deployment["spec"]["template"]["metadata"]) == step_of(&nest["spec"]["pod"]);
    let observed = status["observedGeneration"] == metadata["generation"];
    let newest = status["updatedReplicas"] == status["replicas"];
    same && observed && newest && status["availableReplicas"].as_i64() >= Some(1)
}

fn step_of(holder: &Value) -> &str {
    holder["annotations"][STEP].as_str().unwrap_or_default()
}

fn is_nest(state: &Value) -> bool {
    state["metadata"]["name"] == "life"
}
