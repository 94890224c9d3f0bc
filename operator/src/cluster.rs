//! The API server as the operator uses it: everybody may read, only the leader writes.

use std::{fmt::Debug, sync::Arc};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{autoscaling::v1::Scale, core::v1::Namespace},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    answers::{Answered, Answers, Place, is_as_applied},
    kinds::Foreign,
    leader::{Gate, NotLeading},
    reconcile::Digest,
};

/// Whose fields these are in server-side apply, other than the replicas of the workers.
pub const FIELD_MANAGER: &str = "birbnest-operator";
/// Whose fields the replicas of the workers and the figures in the status are: the one writer of each.
pub const SCALER: &str = "birbnest-scaler";

/// A kind of object that lives in a namespace.
pub trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Another operator leads.
    #[error(transparent)]
    NotLeading(#[from] NotLeading),
    /// The API server did not answer, or refused.
    #[error("cannot {verb} {kind} {name}: {}", in_words(source))]
    Api {
        /// What was tried.
        verb: &'static str,
        /// The kind of object.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
}

/// The sentence with which the API server refused, without the codes around it.
fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

impl ClusterError {
    fn api<K: Resource<DynamicType = ()>>(verb: &'static str, name: &str, source: kube::Error) -> Self {
        let (kind, name) = (K::kind(&()).into_owned(), name.to_owned());
        Self::Api {
            verb,
            kind,
            name,
            source: Box::new(source),
        }
    }
}

/// A client whose writes are refused while another operator leads.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    gate: Gate,
    answers: Arc<Answers>,
}

impl Cluster {
    /// A client behind a gate, which asks nothing again that it knows.
    pub fn new(client: Client, gate: Gate, answers: Answers) -> Self {
        Self {
            client,
            gate,
            answers: Arc::new(answers),
        }
    }

    /// Forgets what was said about children that are gone.
    pub fn forget_gone(&self) {
        self.answers.sweep();
    }

    /// Whether this operator leads.
    pub fn may_write(&self) -> bool {
        self.gate.is_open()
    }

    fn api<K: Namespaced>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The object, if there is one of that name.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn read<K: Namespaced>(&self, namespace: &str, name: &str) -> Result<Option<K>, ClusterError> {
        let read = self.api::<K>(namespace).get_opt(name).await;
        read.map_err(|source| ClusterError::api::<K>("read", name, source))
    }

    /// A child that is created and never applied; asked for only when the watches know of something newer than the last
    /// answer.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn look<K: Namespaced>(&self, namespace: &str, name: &str) -> Result<Option<K>, ClusterError> {
        let place = Place {
            kind: K::kind(&()).into_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        if let Some(last) = self.answers.last(&place, None)
            && last.is_current
        {
            return Ok(Some(last.object));
        }
        let found = self.read(namespace, name).await?;
        if let Some(found) = &found {
            self.answers.keep(&place, None, found);
        }
        Ok(found)
    }

    /// Whether the namespace is being deleted, so that nothing can be made in it any more. One that cannot be asked about is
    /// not.
    pub async fn is_ending(&self, namespace: &str) -> bool {
        let found = Api::<Namespace>::all(self.client.clone())
            .get_metadata(namespace)
            .await;
        match found {
            Ok(found) => found.metadata.deletion_timestamp.is_some(),
            Err(error) => {
                tracing::debug!(namespace, %error, "whether the namespace is being deleted is not known");
                false
            }
        }
    }

    /// The objects with these labels (`key=value,…`).
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn list<K: Namespaced>(&self, namespace: &str, labels: &str) -> Result<Vec<K>, ClusterError> {
        let listed = self
            .api::<K>(namespace)
            .list(&ListParams::default().labels(labels))
            .await;
        listed
            .map(|list| list.items)
            .map_err(|source| ClusterError::api::<K>("list", labels, source))
    }

    /// Applies the fields that the object names, as this operator's, and gives back what the API server has. Where they are
    /// known to be as they were applied before, nothing is written.
    ///
    /// # Errors
    /// When this operator does not lead, or the API server does not answer or refuses.
    pub async fn apply<K: Namespaced>(&self, object: &K) -> Result<K, ClusterError> {
        self.apply_over(object).await.map(|applied| applied.now)
    }

    /// As [`Cluster::apply`], and tells what it found changed.
    ///
    /// # Errors
    /// When this operator does not lead, or the API server does not answer or refuses.
    pub async fn apply_over<K: Namespaced>(&self, object: &K) -> Result<Answered<K>, ClusterError> {
        let api = self.api(&object.namespace().unwrap_or_default());
        self.apply_by(&api, &K::kind(&()), object).await
    }

    /// As [`Cluster::apply`], for a kind that is not known by type.
    ///
    /// # Errors
    /// When this operator does not lead, or the API server does not answer or refuses.
    pub async fn apply_foreign(&self, foreign: &Foreign) -> Result<(), ClusterError> {
        let Foreign { kind, object } = foreign;
        let namespace = object.namespace().unwrap_or_default();
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &namespace, kind);
        self.apply_by(&api, &kind.kind, object).await.map(drop)
    }

    async fn apply_by<K>(&self, api: &Api<K>, kind: &str, object: &K) -> Result<Answered<K>, ClusterError>
    where
        K: Resource + Clone + Debug + Serialize + DeserializeOwned,
    {
        self.gate.pass()?;
        let place = Place {
            kind: kind.to_owned(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        };
        let failed = |verb, source| ClusterError::Api {
            verb,
            kind: place.kind.clone(),
            name: place.name.clone(),
            source: Box::new(source),
        };
        let digest = serde_json::to_vec(object).ok().map(|json| Digest::of(&json));
        let mut before = None;
        if let Some(last) = self.answers.last::<K>(&place, digest.as_ref()) {
            if last.is_current {
                return Ok(Answered::untouched(last.object));
            }
            let now = api.get_opt(&place.name).await;
            let now = now.map_err(|source| failed("read", source))?;
            if let Some(now) = now {
                if is_as_applied(&last.object, &now) {
                    self.answers.keep(&place, digest, &now);
                    return Ok(Answered::untouched(now));
                }
                before = Some(now);
            }
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = api.patch(&place.name, &params, &Patch::Apply(object)).await;
        let applied = applied.map_err(|source| failed("apply", source))?;
        self.answers.keep(&place, digest, &applied);
        Ok(Answered { now: applied, before })
    }

    /// Creates the object unless there is one of that name, which is left as it is.
    ///
    /// # Errors
    /// When this operator does not lead, or the API server does not answer or refuses.
    pub async fn create<K: Namespaced>(&self, object: &K) -> Result<K, ClusterError> {
        self.gate.pass()?;
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        match self.api::<K>(&namespace).create(&params, object).await {
            Ok(created) => Ok(created),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let existing = self.api::<K>(&namespace).get(&name).await;
                existing.map_err(|source| ClusterError::api::<K>("read", &name, source))
            }
            Err(source) => Err(ClusterError::api::<K>("create", &name, source)),
        }
    }

    /// Changes some fields of an object.
    ///
    /// # Errors
    /// When this operator does not lead, or the API server does not answer or refuses.
    pub async fn merge<K: Namespaced>(
        &self,
        namespace: &str,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<(), ClusterError> {
        self.gate.pass()?;
        let api = Api::<DynamicObject>::namespaced_with(
            self.client.clone(),
            namespace,
            &ApiResource::erase::<K>(&()),
        );
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..Default::default()
        };
        let merged = api.patch(name, &params, &Patch::Merge(patch)).await;
        merged
            .map(|_| ())
            .map_err(|source| ClusterError::api::<K>("change", name, source))
    }

    /// Applies the named fields of the status.
    ///
    /// # Errors
    /// When this operator does not lead, or the API server does not answer or refuses.
    pub async fn apply_status<K: Namespaced>(
        &self,
        manager: &str,
        namespace: &str,
        name: &str,
        status: &serde_json::Value,
    ) -> Result<(), ClusterError> {
        self.gate.pass()?;
        let resource = ApiResource::erase::<K>(&());
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource);
        let patch = json!({"apiVersion": resource.api_version, "kind": resource.kind, "status": status});
        let applied = api
            .patch_status(name, &PatchParams::apply(manager).force(), &Patch::Apply(&patch))
            .await;
        applied
            .map(|_| ())
            .map_err(|source| ClusterError::api::<K>("report the status of", name, source))
    }

    /// Sets the replicas of a workload through its scale subresource.
    ///
    /// # Errors
    /// When this operator does not lead, or the API server does not answer or refuses.
    pub async fn scale<K: Namespaced>(
        &self,
        namespace: &str,
        name: &str,
        replicas: i32,
    ) -> Result<(), ClusterError> {
        self.gate.pass()?;
        let resource = ApiResource::erase::<Scale>(&());
        let patch = json!({"apiVersion": resource.api_version, "kind": resource.kind, "spec": {"replicas": replicas}});
        let params = PatchParams::apply(SCALER).force();
        let scaled = self
            .api::<K>(namespace)
            .patch_scale(name, &params, &Patch::Apply(&patch))
            .await;
        scaled
            .map(|_| ())
            .map_err(|source| ClusterError::api::<K>("scale", name, source))
    }

    /// Deletes an object and, in the background, what it owns. One that is gone already counts as deleted; with `uid`,
    /// so does one that was created anew under the name.
    ///
    /// # Errors
    /// When this operator does not lead, or the API server does not answer or refuses.
    pub async fn delete(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<(), ClusterError> {
        self.gate.pass()?;
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, resource);
        let preconditions = uid.map(|uid| Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        });
        let params = DeleteParams {
            preconditions,
            ..DeleteParams::background()
        };
        match api.delete(name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(source) => Err(ClusterError::Api {
                verb: "delete",
                kind: resource.kind.clone(),
                name: name.to_owned(),
                source: Box::new(source),
            }),
        }
    }

    /// Deletes an object of a kind that is known by type, as [`Cluster::delete`] does.
    ///
    /// # Errors
    /// When this operator does not lead, or the API server does not answer or refuses.
    pub async fn remove<K: Namespaced>(&self, namespace: &str, name: &str) -> Result<(), ClusterError> {
        self.delete(&ApiResource::erase::<K>(&()), namespace, name, None)
            .await
    }
}

#[cfg(test)]
mod tests;
