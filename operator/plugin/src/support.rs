//! What a report of a problem needs, printed as it comes. What cannot be had is said in its place.

use std::{fmt::Debug, io::Write};

use birbnest_crds::BirbNest;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        batch::v1::Job,
        core::v1::{ConfigMap, Event, Pod},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, LogParams},
};
use serde::{Serialize, de::DeserializeOwned};

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
    let mut nest = nests::read(client, namespace, name).await?;
    nest.metadata.managed_fields = None;
    section(&format!("BirbNest {namespace}/{name}"), yaml(&nest))?;
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/instance={name}"));
    section(
        "deployments",
        objects::<Deployment>(client, namespace, &ours).await,
    )?;
    section("migrations", objects::<Job>(client, namespace, &ours).await)?;
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
        section(&format!("log of {name}"), log(&pods, &name, lines).await)?;
    }
    Ok(())
}

fn yaml<T: Serialize>(value: &T) -> anyhow::Result<String> {
    Ok(serde_yaml::to_string(value)?)
}

async fn objects<K>(client: &Client, namespace: &str, which: &ListParams) -> anyhow::Result<String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let mut objects = Api::<K>::namespaced(client.clone(), namespace)
        .list(which)
        .await?
        .items;
    for object in &mut objects {
        object.meta_mut().managed_fields = None;
    }
    yaml(&objects)
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

async fn log(pods: &Api<Pod>, name: &str, lines: i64) -> anyhow::Result<String> {
    let params = LogParams {
        tail_lines: Some(lines),
        ..LogParams::default()
    };
    Ok(pods.logs(name, &params).await?)
}
