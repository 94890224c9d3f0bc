//! Kinds that are not part of every cluster.

use std::time::Duration;

use birbnest_service::Shutdown;
use kube::{
    Client,
    api::{ApiResource, DynamicObject, ObjectMeta, TypeMeta},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::reconcile::{Invalid, build::Plan};

const MONITORING: &str = "monitoring.coreos.com";
const GATEWAY: &str = "gateway.networking.k8s.io";

/// Between two looks for what is not there yet.
const LOOK: Duration = Duration::from_mins(1);
/// Between two questions that are not answered.
const PAUSE: Duration = Duration::from_secs(1);

/// The kind of the Prometheus operator that says which pods have metrics.
pub fn pod_monitor() -> ApiResource {
    of_group(MONITORING, "PodMonitor", "podmonitors")
}

/// The kind of the Prometheus operator that says when to alert.
pub fn prometheus_rule() -> ApiResource {
    of_group(MONITORING, "PrometheusRule", "prometheusrules")
}

/// The kind of the Gateway API that leads requests to a Service.
pub fn http_route() -> ApiResource {
    of_group(GATEWAY, "HTTPRoute", "httproutes")
}

fn of_group(group: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{group}/v1"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// An object of a kind that is not known by type.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Foreign {
    /// Its kind.
    #[serde(skip)]
    pub kind: ApiResource,
    /// The object.
    #[serde(flatten)]
    pub object: DynamicObject,
}

impl Foreign {
    /// One of this kind with this spec.
    pub fn new(kind: ApiResource, metadata: ObjectMeta, spec: &Value) -> Self {
        let types = TypeMeta {
            api_version: kind.api_version.clone(),
            kind: kind.kind.clone(),
        };
        let object = DynamicObject {
            types: Some(types),
            metadata,
            data: json!({ "spec": spec }),
        };
        Self { kind, object }
    }
}

/// Which of the kinds that are not part of every cluster this one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// `PodMonitor` and `PrometheusRule` of the Prometheus operator.
    pub monitoring: bool,
    /// `HTTPRoute` of the Gateway API.
    pub routes: bool,
}

impl Kinds {
    /// Asks the API server until it answers.
    pub async fn discover(client: &Client) -> Self {
        loop {
            match Self::look(client).await {
                Ok(kinds) => return kinds,
                Err(error) => tracing::warn!(%error, "cannot find out which kinds the cluster has"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends the process when a kind comes that was not there: a new one then begins with it. Watches are made once.
    pub async fn end_on_change(self, client: Client, shutdown: Shutdown) {
        let mut turn = tokio::time::interval(LOOK);
        while !(self.monitoring && self.routes) && shutdown.or(turn.tick()).await.is_some() {
            let Ok(now) = Self::look(&client).await else {
                continue;
            };
            if (now.monitoring && !self.monitoring) || (now.routes && !self.routes) {
                tracing::info!(
                    monitoring = now.monitoring,
                    routes = now.routes,
                    "kinds are there that were not: starting again to use them"
                );
                shutdown.begin();
            }
        }
    }

    /// Whether everything in the plan that was asked for by name can be made.
    ///
    /// # Errors
    /// Names the field that asks for what cannot.
    pub fn allow(self, plan: &Plan) -> Result<(), Invalid> {
        if plan.workloads.route.is_none() || self.routes {
            return Ok(());
        }
        Err(Invalid::KindNotInstalled {
            field: "spec.api.httpRoute",
            kind: "HTTPRoute",
            from: "the Gateway API",
        })
    }

    async fn look(client: &Client) -> kube::Result<Self> {
        Ok(Self {
            monitoring: has(client, &[pod_monitor(), prometheus_rule()]).await?,
            routes: has(client, &[http_route()]).await?,
        })
    }
}

/// Whether there are these kinds of one group.
async fn has(client: &Client, wanted: &[ApiResource]) -> kube::Result<bool> {
    let there = match client.list_api_group_resources(&wanted[0].api_version).await {
        Ok(there) => there.resources,
        // By its code: for a group that it does not know the API server answers with plain text.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(wanted
        .iter()
        .all(|kind| there.iter().any(|found| found.name == kind.plural)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::{build::build, fixtures};

    #[test]
    fn what_cannot_be_made_is_said_with_the_field_that_asks_for_it() {
        let mut nest = fixtures::managed();
        let without = Kinds::default();
        assert_eq!(without.allow(&build(&fixtures::valid(&nest)).unwrap()), Ok(()));
        nest.spec.api.http_route =
            serde_json::from_value(json!({ "parentRefs": [{ "name": "door" }] })).unwrap();
        let plan = build(&fixtures::valid(&nest)).unwrap();
        let refused = without.allow(&plan).unwrap_err();
        assert_eq!(refused.reason(), "KindNotInstalled");
        assert!(
            refused
                .to_string()
                .starts_with("spec.api.httpRoute asks for an object of the kind HTTPRoute")
        );
        let there = Kinds {
            routes: true,
            ..without
        };
        assert_eq!(there.allow(&plan), Ok(()));
    }
}
