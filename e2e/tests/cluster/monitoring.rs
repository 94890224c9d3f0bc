//! A cluster gets the Prometheus operator: nests are monitored from then on.

use std::time::Duration;

use birbnest_e2e::{
    cluster::{Nest, Space, story},
    wait::{eventually, eventually_within},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::small;

/// The operator looks every minute whether the kinds are there, and then starts again.
const NOTICED: Duration = Duration::from_mins(3);

#[tokio::test]
async fn a_nest_is_monitored_when_the_cluster_has_the_kinds_and_not_when_its_spec_says_so() {
    story("monitoring", async |space| {
        let _backends = space.backends().await;
        let spec = json!({ "monitoring": { "labels": { "release": "prometheus" } } });
        let mut monitored = small();
        crate::merge(&mut monitored, &spec);
        let nest = space.apply_nest("watched", &monitored).await;
        nest.until_ready().await;
        install(space, "PodMonitor").await;
        install(space, "PrometheusRule").await;

        let monitor = until_there(space, &nest, "PodMonitor").await;
        let labels = monitor.metadata.labels.unwrap_or_default();
        assert_eq!(labels["release"], "prometheus");
        let selector = &monitor.data["spec"]["selector"]["matchLabels"];
        assert_eq!(selector["app.kubernetes.io/instance"], "watched");
        let rule = until_there(space, &nest, "PrometheusRule").await;
        let rules = rule.data["spec"]["groups"].to_string();
        assert!(
            rules.contains(&format!(r#"namespace=\"{}\", nest=\"watched\""#, space.name)),
            "{rules}"
        );

        // What somebody deletes comes back, and what is not asked for any more goes.
        let monitors = objects(space, "PodMonitor");
        monitors
            .delete("watched", &DeleteParams::default())
            .await
            .unwrap();
        until_there(space, &nest, "PodMonitor").await;
        nest.patch(json!({ "spec": { "monitoring": { "enabled": false } } }))
            .await;
        for kind in ["PodMonitor", "PrometheusRule"] {
            eventually(&format!("the {kind} is gone"), || async {
                let found = objects(space, kind)
                    .get_opt("watched")
                    .await
                    .map_err(|error| error.to_string())?;
                found.map_or(Ok(()), |_| Err("it is there".to_owned()))
            })
            .await;
        }
        nest.until_ready().await;
    })
    .await;
}

async fn until_there(space: &Space, nest: &Nest, kind: &str) -> DynamicObject {
    eventually_within(NOTICED, &format!("{} has a {kind}", nest.name), || async {
        let found = objects(space, kind).get_opt(&nest.name).await;
        found
            .map_err(|error| error.to_string())?
            .ok_or_else(|| "it is missing".to_owned())
    })
    .await
}

fn objects(space: &Space, kind: &str) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("monitoring.coreos.com", "v1", kind));
    Api::namespaced_with(space.client.clone(), &space.name, &kind)
}

/// As much of the definition as the API server wants; it stays, as other stories may meet it as well.
async fn install(space: &Space, kind: &str) {
    let plural = format!("{}s", kind.to_lowercase());
    let name = format!("{plural}.monitoring.coreos.com");
    let anything: Value = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": name },
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": anything } } },
            }],
        },
    });
    let definitions = space.all::<CustomResourceDefinition>();
    let params = PatchParams::apply("story").force();
    definitions
        .patch(&name, &params, &Patch::Apply(&definition))
        .await
        .unwrap();
}
