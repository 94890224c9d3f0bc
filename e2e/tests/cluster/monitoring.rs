//! A cluster gets the Prometheus operator: nests are monitored from then on.

use std::time::Duration;

use birbnest_e2e::{
    cluster::{ForeignKind, Nest, Space, story},
    wait::{eventually, eventually_within},
};
use kube::api::{DeleteParams, DynamicObject};
use serde_json::json;

use crate::small;

/// The operator looks every minute whether the kinds are there, and then starts again.
const NOTICED: Duration = Duration::from_mins(3);

const MONITORS: ForeignKind = of_prometheus("PodMonitor");
const RULES: ForeignKind = of_prometheus("PrometheusRule");

const fn of_prometheus(kind: &'static str) -> ForeignKind {
    ForeignKind {
        group: "monitoring.coreos.com",
        kind,
        annotations: &[],
    }
}

#[tokio::test]
async fn a_nest_is_monitored_when_the_cluster_has_the_kinds_and_not_when_its_spec_says_so() {
    story("monitoring", async |space| {
        let _backends = space.backends().await;
        let spec = json!({ "monitoring": { "labels": { "release": "prometheus" } } });
        let mut monitored = small();
        crate::merge(&mut monitored, &spec);
        let nest = space.apply_nest("watched", &monitored).await;
        nest.until_ready().await;
        MONITORS.install(space).await;
        RULES.install(space).await;

        let monitor = until_there(space, &nest, &MONITORS).await;
        let labels = monitor.metadata.labels.unwrap_or_default();
        assert_eq!(labels["release"], "prometheus");
        let selector = &monitor.data["spec"]["selector"]["matchLabels"];
        assert_eq!(selector["app.kubernetes.io/instance"], "watched");
        let rule = until_there(space, &nest, &RULES).await;
        let rules = rule.data["spec"]["groups"].to_string();
        assert!(
            rules.contains(&format!(r#"namespace=\"{}\", nest=\"watched\""#, space.name)),
            "{rules}"
        );

        // What somebody deletes comes back, and what is not asked for any more goes.
        let monitors = MONITORS.objects(space);
        monitors
            .delete("watched", &DeleteParams::default())
            .await
            .unwrap();
        until_there(space, &nest, &MONITORS).await;
        nest.patch(json!({ "spec": { "monitoring": { "enabled": false } } }))
            .await;
        for kind in [MONITORS, RULES] {
            eventually(&format!("the {} is gone", kind.kind), || async {
                let found = kind
                    .objects(space)
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

async fn until_there(space: &Space, nest: &Nest, kind: &ForeignKind) -> DynamicObject {
    eventually_within(NOTICED, &format!("{} has a {}", nest.name, kind.kind), || async {
        let found = kind.objects(space).get_opt(&nest.name).await;
        found
            .map_err(|error| error.to_string())?
            .ok_or_else(|| "it is missing".to_owned())
    })
    .await
}
