//! A BirbNest as its user and its admin see it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use birbnest_crds::{BirbNest, BirbNestStatus};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Event, Pod, Service},
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::Space;
use crate::{
    client::ApiClient,
    house::sum_of,
    wait::{eventually, eventually_within, seen},
};

/// A nest in a story's namespace.
#[derive(Clone)]
pub struct Nest {
    space: Space,
    /// Its name.
    pub name: String,
}

/// What tells whether an object was written: its `resourceVersion` and `generation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Changes with every write, of its status too.
    pub resource_version: String,
    /// Changes with every write of its spec, where it has one.
    pub generation: Option<i64>,
    /// Who it is, over its whole life.
    pub uid: String,
}

/// The kinds of a nest's children: group, version, kind.
const KINDS: [(&str, &str, &str); 11] = [
    ("", "v1", "ConfigMap"),
    ("", "v1", "Secret"),
    ("", "v1", "Service"),
    ("", "v1", "ServiceAccount"),
    ("apps", "v1", "Deployment"),
    ("apps", "v1", "StatefulSet"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ("batch", "v1", "Job"),
    ("networking.k8s.io", "v1", "Ingress"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("policy", "v1", "PodDisruptionBudget"),
];

/// Pulling nothing and starting a handful of pods on a busy machine with two cores.
const CONVERGENCE: Duration = Duration::from_mins(3);

impl Nest {
    pub(super) fn new(space: &Space, name: &str) -> Self {
        Self {
            space: space.clone(),
            name: name.to_owned(),
        }
    }

    pub(super) fn manifest(&self, spec: &Value) -> Value {
        json!({
            "apiVersion": "birbnest.dev/v1alpha1",
            "kind": "BirbNest",
            "metadata": { "name": self.name },
            "spec": spec,
        })
    }

    /// Nests of the namespace.
    pub fn api(&self) -> Api<BirbNest> {
        self.space.api()
    }

    /// The object.
    ///
    /// # Panics
    /// When it does not exist.
    pub async fn object(&self) -> BirbNest {
        self.api()
            .get(&self.name)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Its status.
    pub async fn status(&self) -> BirbNestStatus {
        self.object().await.status.unwrap_or_default()
    }

    /// Changes it by a merge patch, such as `{"spec": {"paused": true}}`.
    ///
    /// # Panics
    /// When the API server refuses.
    pub async fn patch(&self, patch: Value) -> BirbNest {
        let patched = self
            .api()
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        patched.unwrap_or_else(|error| panic!("{patch}: {error}"))
    }

    /// Waits until the status, which must speak about the current spec, fulfils the condition.
    ///
    /// # Panics
    /// When that takes longer than three minutes.
    pub async fn until_status(
        &self,
        what: &str,
        condition: impl Fn(&BirbNestStatus) -> bool,
    ) -> BirbNestStatus {
        eventually_within(CONVERGENCE, &format!("{}: {what}", self.name), || async {
            let nest = self
                .api()
                .get(&self.name)
                .await
                .map_err(|error| error.to_string())?;
            let generation = nest.metadata.generation;
            seen(nest.status.unwrap_or_default(), |status| {
                status.observed_generation == generation && condition(status)
            })
        })
        .await
    }

    /// Waits until a condition of the current spec has this status, and returns it.
    ///
    /// # Panics
    /// When that takes longer than three minutes.
    pub async fn until_condition(&self, kind: &str, status: &str) -> Condition {
        self.until_said(kind, status, |_| true).await
    }

    /// Waits until a condition of the current spec has this status and is as it should be, and returns it.
    ///
    /// # Panics
    /// When that takes longer than three minutes.
    pub async fn until_said(
        &self,
        kind: &str,
        status: &str,
        as_it_should_be: impl Fn(&Condition) -> bool,
    ) -> Condition {
        let found = |nest: &BirbNestStatus| {
            condition_of(nest, kind).filter(|said| said.status == status && as_it_should_be(said))
        };
        let reached = self
            .until_status(&format!("{kind} is {status} as it should be"), |nest| {
                found(nest).is_some()
            })
            .await;
        found(&reached).unwrap_or_else(|| panic!("{kind} vanished"))
    }

    /// Waits until it is Ready with its current spec.
    pub async fn until_ready(&self) -> Condition {
        self.until_condition("Ready", "True").await
    }

    /// A client of its API, over the Service's address inside the cluster. A Service's address works some moments after
    /// its pods are ready: when the node has learned of them.
    ///
    /// # Panics
    /// When there is no such Service, or nothing answers there.
    pub async fn client(&self) -> ApiClient {
        let client = ApiClient::new(&format!("http://{}", self.address_of("api").await));
        self.until_answered(client).await
    }

    /// The same where the API has this certificate, which has to be for the name of the Service.
    ///
    /// # Panics
    /// As [`client`](Self::client).
    pub async fn client_trusting(&self, certificate: &str) -> ApiClient {
        let address = self.address_of("api").await;
        let address = address
            .parse::<IpAddr>()
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        let client = ApiClient::trusting(certificate, &self.host(), (address, 443).into());
        self.until_answered(client).await
    }

    /// The host name of its API.
    pub fn host(&self) -> String {
        format!("{}-api.{}.svc", self.name, self.space.name)
    }

    async fn until_answered(&self, client: ApiClient) -> ApiClient {
        eventually(
            &format!("the Service of {} leads to a pod", self.name),
            || async {
                let answer = client.request(Method::GET, "/readyz").try_send().await;
                seen(answer.map_err(|error| format!("{error:?}"))?, |answer| {
                    answer.status == 200
                })
            },
        )
        .await;
        client
    }

    /// The address of one of its Services.
    ///
    /// # Panics
    /// When there is no such Service.
    pub async fn address_of(&self, component: &str) -> String {
        let name = format!("{}-{component}", self.name);
        let service = self.space.api::<Service>().get(&name).await;
        let service = service.unwrap_or_else(|error| panic!("{name}: {error}"));
        let address = service.spec.and_then(|spec| spec.cluster_ip);
        address
            .filter(|address| address != "None")
            .unwrap_or_else(|| panic!("{name} has no address"))
    }

    /// The pods of a component, those on their way out included.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn pods(&self, component: &str) -> kube::Result<Vec<Pod>> {
        let labels = format!(
            "app.kubernetes.io/instance={},app.kubernetes.io/component={component}",
            self.name
        );
        let pods = self.space.api::<Pod>();
        Ok(pods.list(&ListParams::default().labels(&labels)).await?.items)
    }

    /// The Deployment of a component.
    ///
    /// # Errors
    /// When the API server does not answer, or has none.
    pub async fn deployment(&self, component: &str) -> Result<Deployment, String> {
        let name = format!("{}-{component}", self.name);
        let deployment = self.space.api::<Deployment>().get(&name).await;
        deployment.map_err(|error| error.to_string())
    }

    /// A metric of each pod of a component that is not on its way out, summed over its labels.
    ///
    /// # Errors
    /// When a pod does not answer.
    pub async fn metric(&self, component: &str, port: u16, name: &str) -> Result<Vec<f64>, String> {
        let mut pods = self.pods(component).await.map_err(|error| error.to_string())?;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let mut values = vec![];
        for pod in pods {
            let ip = pod
                .status
                .and_then(|status| status.pod_ip)
                .ok_or("a pod has no address yet")?;
            let client = ApiClient::new(&format!("http://{ip}:{port}"));
            let answer = client.request(Method::GET, "/metrics").try_send().await;
            values.push(sum_of(&answer.map_err(|error| error.to_string())?.text, name));
        }
        Ok(values)
    }

    /// What it owns, by kind and name.
    ///
    /// # Panics
    /// When the API server does not answer.
    pub async fn children(&self) -> BTreeMap<String, Child> {
        let owner = self.object().await.metadata.uid.unwrap_or_default();
        self.owned_by(&owner).await
    }

    /// What the nest of this uid owns, also after its end.
    ///
    /// # Panics
    /// When the API server does not answer.
    pub async fn owned_by(&self, owner: &str) -> BTreeMap<String, Child> {
        let mut children = BTreeMap::new();
        for (group, version, kind) in KINDS {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.space.client.clone(), &self.space.name, &resource);
            let objects = api.list(&ListParams::default()).await;
            let objects = objects.unwrap_or_else(|error| panic!("listing {kind}: {error}"));
            let ours = objects
                .items
                .into_iter()
                .map(|object| object.metadata)
                .filter(|metadata| {
                    metadata
                        .owner_references
                        .iter()
                        .flatten()
                        .any(|reference| reference.uid == owner)
                });
            children.extend(ours.map(|metadata| {
                let child = Child {
                    resource_version: metadata.resource_version.unwrap_or_default(),
                    generation: metadata.generation,
                    uid: metadata.uid.unwrap_or_default(),
                };
                (format!("{kind}/{}", metadata.name.unwrap_or_default()), child)
            }));
        }
        children
    }

    /// The events about it: reason and note.
    ///
    /// # Panics
    /// When the API server does not answer.
    pub async fn events(&self) -> Vec<(String, String)> {
        let fields = format!("involvedObject.kind=BirbNest,involvedObject.name={}", self.name);
        let events = self
            .space
            .api::<Event>()
            .list(&ListParams::default().fields(&fields))
            .await;
        let events = events.unwrap_or_else(|error| panic!("events: {error}"));
        let told = |event: Event| {
            (
                event.reason.unwrap_or_default(),
                event.message.unwrap_or_default(),
            )
        };
        events.items.into_iter().map(told).collect()
    }

    /// Waits until there is an event for whose reason and note the condition holds.
    pub async fn until_event(&self, what: &str, condition: impl Fn(&str, &str) -> bool) {
        eventually(&format!("{}: an event about {what}", self.name), || async {
            seen(self.events().await, |events| {
                events.iter().any(|(reason, note)| condition(reason, note))
            })
        })
        .await;
    }
}

/// Whether as many pods as are wanted are available, all made from the newest template.
pub fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    deployment.status.as_ref().is_some_and(|status| {
        let counts = [
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
        ];
        status.observed_generation == deployment.metadata.generation
            && counts.iter().all(|count| *count == wanted)
    })
}

/// Whether a condition of a status is True.
pub fn is_true(status: &BirbNestStatus, kind: &str) -> bool {
    condition_of(status, kind).is_some_and(|condition| condition.status == "True")
}

/// A condition of a status.
pub fn condition_of(status: &BirbNestStatus, kind: &str) -> Option<Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .cloned()
}
