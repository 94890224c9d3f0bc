//! What a person would look at first after a failed story.

use birbnest_crds::BirbNest;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api,
    api::{ListParams, LogParams},
};

use super::{OPERATOR_NAMESPACE, Space};

/// Prints the nests, pods, events and logs of the namespace, and the operator's log.
pub async fn print_report(space: &Space) {
    eprintln!("==== {} ====", space.name);
    print_nests(space).await;
    print_events(space).await;
    for namespace in [space.name.as_str(), OPERATOR_NAMESPACE] {
        print_pods(space, namespace).await;
    }
}

async fn print_nests(space: &Space) {
    for nest in space
        .api::<BirbNest>()
        .list(&ListParams::default())
        .await
        .into_iter()
        .flatten()
    {
        let name = nest.metadata.name.unwrap_or_default();
        eprintln!(
            "---- nest {name} ----\n{}",
            serde_yaml::to_string(&nest.status).unwrap_or_default()
        );
    }
}

async fn print_events(space: &Space) {
    eprintln!("---- events ----");
    for event in space
        .api::<Event>()
        .list(&ListParams::default())
        .await
        .into_iter()
        .flatten()
    {
        let object = event.involved_object;
        let (kind, name) = (object.kind.unwrap_or_default(), object.name.unwrap_or_default());
        let reason = event.reason.unwrap_or_default();
        eprintln!("{kind}/{name} {reason}: {}", event.message.unwrap_or_default());
    }
}

async fn print_pods(space: &Space, namespace: &str) {
    let pods: Api<Pod> = Api::namespaced(space.client.clone(), namespace);
    for pod in pods.list(&ListParams::default()).await.into_iter().flatten() {
        let name = pod.metadata.name.unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        let phase = status.phase.unwrap_or_default();
        let containers: Vec<_> = status
            .container_statuses
            .iter()
            .flatten()
            .map(|each| &each.state)
            .collect();
        eprintln!(
            "---- pod {namespace}/{name}: {phase} {} ----",
            serde_json::json!(containers)
        );
        for previous in [true, false] {
            let parameters = LogParams {
                tail_lines: Some(60),
                previous,
                ..LogParams::default()
            };
            if let Ok(log) = pods.logs(&name, &parameters).await {
                eprintln!("{log}");
            }
        }
    }
}
