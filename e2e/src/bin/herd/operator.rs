//! The operator as it is seen from outside: its metrics, and its process on this machine.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use birbnest_e2e::{
    client::ApiClient,
    cluster::{OPERATOR_NAMESPACE, Space},
    house::sum_of,
    wait::{eventually_within, seen},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use reqwest::Method;

const VERBS: [&str; 5] = ["watch", "read", "create", "patch", "delete"];
/// Clock ticks of /proc in a second.
const TICKS: u32 = 100;
const PATIENCE: Duration = Duration::from_mins(5);

/// The operator that leads.
pub(crate) struct Operator {
    pod: String,
    client: ApiClient,
    process: PathBuf,
}

impl Operator {
    /// Looks for it.
    ///
    /// # Panics
    /// When there is none that leads for five minutes.
    pub(crate) async fn find(space: &Space) -> Self {
        let pods: Api<Pod> = Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE);
        eventually_within(PATIENCE, "an operator leads", || async {
            let listed = pods.list(&ListParams::default()).await;
            let mut items = listed.map_err(|error| error.to_string())?.items;
            items.retain(|pod| pod.metadata.deletion_timestamp.is_none());
            let [pod] = items.as_slice() else {
                return Err(format!("{} pods", items.len()));
            };
            let status = pod.status.clone().unwrap_or_default();
            let client = ApiClient::new(&format!("http://{}:8082", status.pod_ip.ok_or("no address yet")?));
            let found = Self {
                pod: pod.metadata.name.clone().unwrap_or_default(),
                client,
                process: process().ok_or("no process yet")?,
            };
            seen(
                sum_of(&found.metrics().await?, "birbnest_operator_leader"),
                |leads| *leads > 0.5,
            )?;
            Ok(found)
        })
        .await
    }

    async fn metrics(&self) -> Result<String, String> {
        let answer = self.client.request(Method::GET, "/metrics").try_send().await;
        Ok(answer.map_err(|error| error.to_string())?.text)
    }

    /// Requests to the API server so far, by verb.
    ///
    /// # Panics
    /// When it does not answer.
    pub(crate) async fn requests(&self) -> Vec<(String, f64)> {
        let metrics = self
            .metrics()
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", self.pod));
        let count = |verb: &str| {
            sum_of(
                &metrics,
                &format!("birbnest_operator_api_requests_total{{verb=\"{verb}\"}}"),
            )
        };
        VERBS
            .iter()
            .map(|verb| ((*verb).to_owned(), count(verb)))
            .collect()
    }

    /// What it has in memory.
    pub(crate) fn memory_mb(&self) -> f64 {
        let status = fs::read_to_string(self.process.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.unwrap_or_default() / 1024.0
    }

    /// CPU time that it has used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(self.process.join("stat")).unwrap_or_default();
        // After the name, which may hold spaces, user and system time are the 12th and 13th.
        let fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(11)
            .take(2);
        let ticks: u32 = fields.filter_map(|field| field.parse::<u32>().ok()).sum();
        Duration::from_secs(1) * ticks / TICKS
    }

    /// Kills it; returns after which time another one has reconciled so many BirbNests.
    ///
    /// # Panics
    /// When none does.
    pub(crate) async fn replace(self, space: &Space, nests: u32) -> Duration {
        let pods: Api<Pod> = Api::namespaced(space.client.clone(), OPERATOR_NAMESPACE);
        let began = Instant::now();
        let deleted = pods
            .delete(&self.pod, &DeleteParams::default().grace_period(0))
            .await;
        deleted.unwrap_or_else(|error| panic!("{}: {error}", self.pod));
        let next = Self::find(space).await;
        eventually_within(PATIENCE, "every BirbNest was reconciled", || async {
            let done = sum_of(&next.metrics().await?, "birbnest_operator_reconciles_total");
            seen(done, |done| *done >= f64::from(nests))
        })
        .await;
        began.elapsed()
    }
}

/// The folder of its process.
fn process() -> Option<PathBuf> {
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    processes
        .filter(|process| {
            fs::read_link(process.join("exe")).is_ok_and(|exe| exe.ends_with("birbnest-operator"))
        })
        .last()
}
