//! What a report of a problem needs, printed as it comes. What cannot be had is said in its place.

use std::{fmt::Debug, io::Write};

use birbnest_crds::BirbNest;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, StatefulSet},
        batch::v1::Job,
        core::v1::{ConfigMap, Event, Pod},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, LogParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{http_api::HttpApi, nests};

/// Prints it.
pub(crate) async fn print(
    client: &Client,
    namespace: &str,
    name: &str,
    lines: i64,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut section = |title: &str, text: anyhow::Result<String>| {
        let text = text.unwrap_or_else(|error| format!("cannot be had: {error:#}"));
        writeln!(out, "===== {title}\n{}\n", text.trim_end())
    };
    let nest = nests::read(client, namespace, name).await?;
    section(&format!("BirbNest {namespace}/{name}"), shown(&nest))?;
    // Something else may have the name of the nest.
    let ours = format!("app.kubernetes.io/managed-by=birbnest-operator,app.kubernetes.io/instance={name}");
    let ours = ListParams::default().labels(&ours);
    section(
        "deployments",
        objects::<Deployment>(client, namespace, &ours).await,
    )?;
    section("servers", objects::<StatefulSet>(client, namespace, &ours).await)?;
    section("migrations", objects::<Job>(client, namespace, &ours).await)?;
    section("pods", objects::<Pod>(client, namespace, &ours).await)?;
    // Configuration holds no address and no password: those are in Secrets.
    section(
        "configuration",
        objects::<ConfigMap>(client, namespace, &ours).await,
    )?;
    section("events", events(client, namespace, name).await)?;
    let api = HttpApi::of(client, &nest);
    for path in ["/health", "/v1/admin/watermarks"] {
        section(path, api.get(path).await.and_then(|answer| yaml(&answer)))?;
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for pod in pods.list(&ours).await?.items {
        let name = pod.name_any();
        section(&format!("log of {name}"), log(&pods, &name, lines, false).await)?;
        if has_restarted(&pod) {
            let title = format!("log of {name} before it was started again");
            section(&title, log(&pods, &name, lines, true).await)?;
        }
    }
    Ok(())
}

fn has_restarted(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let mut statuses = statuses.into_iter().flatten();
    statuses.any(|container| container.restart_count > 0)
}

fn yaml<T: Serialize>(value: &T) -> anyhow::Result<String> {
    Ok(serde_yaml::to_string(value)?)
}

/// An object as it may be shown to others.
fn shown<T: Serialize>(object: &T) -> anyhow::Result<String> {
    let mut object = serde_json::to_value(object)?;
    withhold(&mut object);
    yaml(&object)
}

/// Takes out the values of environment variables, wherever they are, and what is only long: who changed which field, and what
/// was applied last, in which the values would be once more.
fn withhold(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(withhold),
        Value::Object(fields) => {
            fields.remove("managedFields");
            fields.remove("kubectl.kubernetes.io/last-applied-configuration");
            let variables = fields.get_mut("env").and_then(Value::as_array_mut);
            for variable in variables.into_iter().flatten() {
                if let Some(value) = variable.get_mut("value") {
                    *value = "(withheld)".into();
                }
            }
            fields.values_mut().for_each(withhold);
        }
        _ => {}
    }
}

async fn objects<K>(client: &Client, namespace: &str, which: &ListParams) -> anyhow::Result<String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let objects = Api::<K>::namespaced(client.clone(), namespace);
    shown(&objects.list(which).await?.items)
}

async fn events(client: &Client, namespace: &str, name: &str) -> anyhow::Result<String> {
    let about = format!(
        "involvedObject.kind={},involvedObject.name={name}",
        BirbNest::kind(&())
    );
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let events = events.list(&ListParams::default().fields(&about)).await?.items;
    let line = |event: Event| {
        let (reason, message) = (
            event.reason.unwrap_or_default(),
            event.message.unwrap_or_default(),
        );
        format!(
            "{} x{} {reason}: {message}",
            event.type_.unwrap_or_default(),
            event.count.unwrap_or(1)
        )
    };
    Ok(events.into_iter().map(line).collect::<Vec<_>>().join("\n"))
}

async fn log(pods: &Api<Pod>, name: &str, lines: i64, previous: bool) -> anyhow::Result<String> {
    let params = LogParams {
        tail_lines: Some(lines),
        previous,
        ..LogParams::default()
    };
    Ok(pods.logs(name, &params).await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_values_of_variables_are_withheld_wherever_they_are() {
        let pod =
            json!({ "env": [{ "name": "TOKEN", "value": "hidden" }, { "name": "OTHER", "valueFrom": {} }] });
        let object = json!({
            "metadata": {
                "managedFields": [{}],
                "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "hidden", "mine": "1" },
            },
            "spec": { "pod": pod, "containers": [pod] },
        });
        let text = shown(&object).unwrap();
        assert!(
            !text.contains("hidden") && !text.contains("managedFields"),
            "{text}"
        );
        for part in ["TOKEN", "(withheld)", "valueFrom", "mine"] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
