//! Kinds that are not part of every cluster.

use std::time::Duration;

use birbnest_service::Shutdown;
use kube::{
    Client,
    api::{ApiResource, DynamicObject},
};
use serde::Serialize;

const MONITORING: &str = "monitoring.coreos.com";

/// Between two looks for what is not there yet.
const LOOK: Duration = Duration::from_mins(1);
/// Between two questions that are not answered.
const PAUSE: Duration = Duration::from_secs(1);

/// The kind of the Prometheus operator that says which pods have metrics.
pub fn pod_monitor() -> ApiResource {
    of_monitoring("PodMonitor", "podmonitors")
}

/// The kind of the Prometheus operator that says when to alert.
pub fn prometheus_rule() -> ApiResource {
    of_monitoring("PrometheusRule", "prometheusrules")
}

fn of_monitoring(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: MONITORING.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{MONITORING}/v1"),
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

/// Which of the kinds that are not part of every cluster this one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// `PodMonitor` and `PrometheusRule` of the Prometheus operator.
    pub monitoring: bool,
}

impl Kinds {
    /// Asks the API server until it answers.
    pub async fn discover(client: &Client) -> Self {
        loop {
            match has_monitoring(client).await {
                Ok(monitoring) => return Self { monitoring },
                Err(error) => tracing::warn!(%error, "cannot find out which kinds the cluster has"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends the process when a kind comes that was not there: a new one then begins with it. Watches are made once.
    pub async fn end_on_change(self, client: Client, shutdown: Shutdown) {
        let mut turn = tokio::time::interval(LOOK);
        while !self.monitoring && shutdown.or(turn.tick()).await.is_some() {
            if matches!(has_monitoring(&client).await, Ok(true)) {
                tracing::info!("the Prometheus operator's kinds are there now: starting again to use them");
                shutdown.begin();
            }
        }
    }
}

async fn has_monitoring(client: &Client) -> kube::Result<bool> {
    let wanted: [ApiResource; 2] = [pod_monitor(), prometheus_rule()];
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
