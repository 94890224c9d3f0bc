//! The operators of the cluster, as they are seen from outside: their metrics, and their processes on this machine.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, ListParams, LogParams},
};
use reqwest::Method;
use tokio::time::timeout;

use super::{OPERATOR_NAMESPACE, Space};
use crate::{client::ApiClient, house::sum_of, servers::Running};

const ANSWER: Duration = Duration::from_secs(1);

/// An operator that answers.
#[derive(Debug)]
pub struct Operator {
    /// Its pod.
    pub name: String,
    /// What it counts, in Prometheus' text format.
    pub metrics: String,
}

impl Operator {
    /// Those of the cluster that run and answer.
    ///
    /// # Errors
    /// What the API server says when it does not list their pods.
    pub async fn all(space: &Space) -> Result<Vec<Self>, String> {
        Self::among(pods(space)).await
    }

    /// Those in the story's own namespace.
    ///
    /// # Errors
    /// As [`Self::all`].
    pub async fn own(space: &Space) -> Result<Vec<Self>, String> {
        Self::among(space.api()).await
    }

    async fn among(pods: Api<Pod>) -> Result<Vec<Self>, String> {
        let operators = ListParams::default().labels("app.kubernetes.io/name=birbnest-operator");
        let listed = pods.list(&operators).await;
        let mut found = vec![];
        for pod in listed.map_err(|error| error.to_string())? {
            let Some(ip) = pod.status.and_then(|status| status.pod_ip) else {
                continue;
            };
            let client = ApiClient::new(&format!("http://{ip}:8082"));
            // One that is frozen takes the connection and says nothing.
            let answer = timeout(ANSWER, client.request(Method::GET, "/metrics").try_send()).await;
            if let Ok(Ok(answer)) = answer {
                let name = pod.metadata.name.unwrap_or_default();
                found.push(Self {
                    name,
                    metrics: answer.text,
                });
            }
        }
        Ok(found)
    }

    /// Whether it believes that it leads.
    pub fn leads(&self) -> bool {
        self.sum("birbnest_operator_leader") > 0.5
    }

    /// The sum of a metric over its series; with labels in braces, of those.
    pub fn sum(&self, metric: &str) -> f64 {
        sum_of(&self.metrics, metric)
    }

    /// Its process on this machine.
    ///
    /// # Panics
    /// When it does not run here.
    pub fn process(&self) -> Running {
        let process = Running::find("birbnest-operator", &format!("HOSTNAME={}", self.name));
        process.unwrap_or_else(|| panic!("{} does not run on this machine", self.name))
    }

    /// What its container said before it was started again.
    ///
    /// # Panics
    /// When it never was, and when the API server refuses.
    pub async fn last_words(&self, space: &Space) -> String {
        let before = LogParams {
            previous: true,
            ..LogParams::default()
        };
        let said = pods(space).logs(&self.name, &before).await;
        said.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Deletes its pod, which has no time to say that it goes.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn delete(&self, space: &Space) {
        let at_once = DeleteParams::default().grace_period(0);
        let deleted = pods(space).delete(&self.name, &at_once).await;
        deleted.unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }
}

fn pods(space: &Space) -> Api<Pod> {
    Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE)
}
