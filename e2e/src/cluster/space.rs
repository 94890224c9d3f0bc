//! A namespace of a story's own.

use std::{env, panic::AssertUnwindSafe, process};

use futures::FutureExt;
use k8s_openapi::{
    ClusterResourceScope, NamespaceResourceScope,
    api::{
        authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
        core::v1::{Namespace, Secret},
    },
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Backends, Nest, print_report};
use crate::wait::{eventually, eventually_within, seen};

/// The namespace of one story.
#[derive(Clone)]
pub struct Space {
    /// The cluster, as an admin sees it or [somebody else](Self::seen_by).
    pub client: Client,
    /// The namespace.
    pub name: String,
}

/// Who applies what stories apply.
const MANAGER: &str = "story";

/// Tells a story in a namespace of its own, which is deleted afterwards. When the story fails, the pods, events, nests
/// and logs of the namespace are printed first.
///
/// # Panics
/// When the story does, or when there is no cluster.
pub async fn story(name: &str, told: impl AsyncFnOnce(&Space)) {
    let space = Space::open(name).await;
    let ending = AssertUnwindSafe(told(&space)).catch_unwind().await;
    if ending.is_err() {
        print_report(&space).await;
    }
    space.close().await;
    if let Err(failure) = ending {
        std::panic::resume_unwind(failure);
    }
}

/// Tells a part of a story and tidies up what does not go with its namespace, also when that part fails.
///
/// # Panics
/// When it does.
pub async fn tidied(space: &Space, told: impl AsyncFnOnce(&Space), tidy: impl Future<Output = ()>) {
    // Boxed: a story is large.
    let ending = AssertUnwindSafe(Box::pin(told(space))).catch_unwind().await;
    tidy.await;
    if let Err(failure) = ending {
        std::panic::resume_unwind(failure);
    }
}

impl Space {
    async fn open(story: &str) -> Self {
        let name = format!("story-{story}-{}", process::id());
        let space = Self {
            client: connect(None).await,
            name,
        };
        // As strict as a namespace can be: what runs here runs anywhere.
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": space.name, "labels": labels },
        });
        apply_to(&space.all::<Namespace>(), &namespace).await;
        space
    }

    /// Deletes the namespace with everything in it, without waiting for the end.
    async fn close(&self) {
        if env::var_os("BIRBNEST_E2E_KEEP").is_some() {
            return;
        }
        // A nest of a failed story may wait for a drain that cannot happen.
        let force = json!({ "metadata": { "annotations": { "birbnest.dev/force-delete": "true" } } });
        let nests = self.api::<birbnest_crds::BirbNest>();
        for nest in nests
            .list(&kube::api::ListParams::default())
            .await
            .into_iter()
            .flatten()
        {
            let name = nest.metadata.name.unwrap_or_default();
            // Best effort: the story's own outcome is what counts.
            let _ = nests
                .patch(&name, &PatchParams::default(), &Patch::Merge(&force))
                .await;
        }
        let _ = self
            .all::<Namespace>()
            .delete(&self.name, &DeleteParams::default())
            .await;
    }

    /// Deletes the namespace and waits until it is gone.
    ///
    /// # Panics
    /// When it does not go, because something in it holds it.
    pub async fn until_deleted(&self) {
        let namespaces = self.all::<Namespace>();
        let _ = namespaces.delete(&self.name, &DeleteParams::default()).await;
        let patience = std::time::Duration::from_secs(90);
        eventually_within(patience, "the namespace is gone", || async {
            let namespace = namespaces
                .get_opt(&self.name)
                .await
                .map_err(|error| error.to_string())?;
            seen(namespace.map(|namespace| namespace.status), Option::is_none)
        })
        .await;
    }

    /// The same namespace for a service account of it, which need not exist.
    ///
    /// # Panics
    /// When there is no cluster.
    pub async fn seen_by(&self, account: &str) -> Self {
        Self {
            client: connect(Some(self.user(account))).await,
            name: self.name.clone(),
        }
    }

    /// Whether a service account of this namespace has a right.
    ///
    /// # Panics
    /// When the API server does not say.
    pub async fn may(&self, account: &str, right: ResourceAttributes) -> bool {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(self.user(account)),
                resource_attributes: Some(right),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let review = self
            .all::<SubjectAccessReview>()
            .create(&PostParams::default(), &review)
            .await;
        let review = review.unwrap_or_else(|error| panic!("what {account} may: {error}"));
        review.status.is_some_and(|status| status.allowed)
    }

    fn user(&self, account: &str) -> String {
        format!("system:serviceaccount:{}:{account}", self.name)
    }

    /// Objects of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Objects of a kind that has no namespace.
    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    /// Applies an object (server-side, as `kubectl apply --server-side` does) and returns what is stored.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn apply<K>(&self, object: &Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        apply_to(&self.api::<K>(), object).await
    }

    /// A nest that need not exist yet.
    pub fn nest(&self, name: &str) -> Nest {
        Nest::new(self, name)
    }

    /// Applies a nest.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn apply_nest(&self, name: &str, spec: &Value) -> Nest {
        let nest = self.nest(name);
        self.apply::<birbnest_crds::BirbNest>(&nest.manifest(spec)).await;
        nest
    }

    /// The sentence with which the API server refuses a nest.
    ///
    /// # Panics
    /// When it accepts it.
    pub async fn refusal_of(&self, name: &str, spec: &Value) -> String {
        let manifest = self.nest(name).manifest(spec);
        let api = self.api::<birbnest_crds::BirbNest>();
        match patch(&api, &manifest).await {
            Ok(_) => panic!("the API server accepted {manifest}"),
            Err(error) => error.to_string(),
        }
    }

    /// Starts backends outside the cluster and stores their addresses in a Secret.
    pub async fn backends(&self) -> Backends {
        let backends = Backends::start().await;
        self.apply::<Secret>(&backends.secret()).await;
        backends
    }

    /// Deletes an object and waits until it, as it was, is gone.
    ///
    /// # Panics
    /// When it does not go.
    pub async fn delete<K>(&self, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api = self.api::<K>();
        let uid = api
            .get(name)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .meta()
            .uid
            .clone();
        let deleted = api.delete(name, &DeleteParams::background()).await;
        deleted.unwrap_or_else(|error| panic!("{name}: {error}"));
        eventually(&format!("{name} is gone"), || async {
            let now = api.get_opt(name).await.map_err(|error| error.to_string())?;
            seen(now.and_then(|object| object.meta().uid.clone()), |now| {
                *now != uid
            })
        })
        .await;
    }
}

async fn apply_to<K>(api: &Api<K>, object: &Value) -> K
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    patch(api, object)
        .await
        .unwrap_or_else(|error| panic!("applying {object}: {error}"))
}

async fn patch<K>(api: &Api<K>, object: &impl Serialize) -> kube::Result<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let object = serde_json::to_value(object).map_err(kube::Error::SerdeError)?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object))
        .await
}

async fn connect(user: Option<String>) -> Client {
    let Some(path) = env::var_os("KUBECONFIG") else {
        panic!("KUBECONFIG is not set: `make up` starts a cluster and prints it, `make test` does both");
    };
    let client = async {
        let file = Kubeconfig::read_from(&path).map_err(|error| error.to_string())?;
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(file, &options).await;
        let mut config = config.map_err(|error| error.to_string())?;
        config.auth_info.impersonate = user;
        Client::try_from(config).map_err(|error| error.to_string())
    };
    client
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
