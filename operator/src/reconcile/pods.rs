//! Why pods do not run, in the words of the kubelet and of the processes in them.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

/// States in which a container waits for a person rather than for a moment.
const STUCK: [&str; 7] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
];

/// What keeps the newest troubled pod from running, if anything does.
pub(super) fn trouble(pods: &[Pod]) -> Option<String> {
    newest_first(pods).into_iter().find_map(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let told = unschedulable(pod).or_else(|| containers(pod).find_map(waiting))?;
        Some(format!("pod {name}: {told}"))
    })
}

/// The last words of the newest pod that failed.
pub(super) fn last_words(pods: &[Pod]) -> Option<String> {
    newest_first(pods)
        .into_iter()
        .find_map(|pod| containers(pod).find_map(|container| terminated(container).and_then(words)))
}

fn newest_first(pods: &[Pod]) -> Vec<&Pod> {
    let mut pods: Vec<&Pod> = pods.iter().collect();
    pods.sort_by(|a, b| b.metadata.creation_timestamp.cmp(&a.metadata.creation_timestamp));
    pods
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.container_statuses.as_ref())
        .into_iter()
        .flatten()
}

fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let refused = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    Some(format!(
        "it cannot be scheduled: {}",
        refused.message.as_deref().unwrap_or("no node fits")
    ))
}

fn waiting(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting
        .reason
        .as_deref()
        .filter(|reason| STUCK.contains(reason))?;
    let words = terminated(container)
        .and_then(words)
        .or_else(|| waiting.message.clone());
    Some(words.map_or_else(|| reason.to_owned(), |words| format!("{reason}: {words}")))
}

fn terminated(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = container
        .state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let before = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    now.or(before).filter(|terminated| terminated.exit_code != 0)
}

fn words(terminated: &ContainerStateTerminated) -> Option<String> {
    let message = terminated
        .message
        .as_deref()
        .map(str::trim)
        .filter(|message| !message.is_empty());
    message.map(str::to_owned).or_else(|| terminated.reason.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, created: &str, state: &serde_json::Value) -> Pod {
        let status = json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        serde_json::from_value(json!({
            "metadata": {"name": name, "creationTimestamp": created},
            "status": {"containerStatuses": [status]},
        }))
        .unwrap()
    }

    #[test]
    fn the_newest_failed_pod_has_the_last_word() {
        let failed = |message| json!({"terminated": {"exitCode": 1, "message": message}});
        let pods = [
            pod("a", "2026-01-01T00:00:00Z", &failed("relation exists\n")),
            pod(
                "b",
                "2026-01-01T00:01:00Z",
                &failed("permission denied for schema birbnest\n"),
            ),
            pod("c", "2026-01-01T00:02:00Z", &json!({"running": {}})),
        ];
        assert_eq!(
            last_words(&pods).as_deref(),
            Some("permission denied for schema birbnest")
        );
    }

    #[test]
    fn only_a_wait_that_does_not_pass_is_trouble() {
        let wait = |reason| json!({"waiting": {"reason": reason, "message": "no such image"}});
        assert_eq!(
            trouble(&[pod("a", "2026-01-01T00:00:00Z", &wait("ContainerCreating"))]),
            None
        );
        let told = trouble(&[pod("a", "2026-01-01T00:00:00Z", &wait("ImagePullBackOff"))]);
        assert_eq!(told.as_deref(), Some("pod a: ImagePullBackOff: no such image"));
    }
}
