//! The objects that nests own, as far as the watches have told: their metadata only.

use std::{collections::BTreeSet, fmt::Debug};

use futures::{Stream, StreamExt, TryStreamExt, stream::SelectAll};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::Job,
    core::v1::{ConfigMap, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, watcher},
    },
};

use crate::{GuardedNest, reconcile::NestId};

type Meta = PartialObjectMeta<DynamicObject>;

/// The kinds of objects that a nest owns.
pub fn kinds() -> [ApiResource; 8] {
    [
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<Job>(&()),
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<HorizontalPodAutoscaler>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
    ]
}

/// The kinds that are watched, by their plurals: nests and what they own.
pub const WATCHED: [&str; 9] = [
    "birbnests",
    "configmaps",
    "serviceaccounts",
    "services",
    "statefulsets",
    "jobs",
    "deployments",
    "horizontalpodautoscalers",
    "poddisruptionbudgets",
];

/// A child by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChildName {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl ChildName {
    /// The name of an object.
    pub fn of<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            name: object.meta().name.clone().unwrap_or_default(),
        }
    }
}

/// A child that there is.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Its kind.
    pub resource: ApiResource,
    /// Its name.
    pub name: String,
    /// Which object of that name.
    pub uid: Option<String>,
}

/// Those of the children that nobody planned.
pub fn orphans(children: Vec<Child>, planned: &BTreeSet<ChildName>) -> Vec<Child> {
    let unplanned = |child: &Child| {
        !planned.contains(&ChildName {
            kind: child.resource.kind.clone(),
            name: child.name.clone(),
        })
    };
    children.into_iter().filter(unplanned).collect()
}

/// What the watches of all kinds have told.
pub struct Children(Vec<(ApiResource, Store<Meta>)>);

impl Children {
    /// Starts a watch for every kind; whatever changes names its owner in the stream.
    pub fn watch(
        client: &Client,
    ) -> (
        Self,
        impl Stream<Item = Result<ObjectRef<GuardedNest>, watcher::Error>> + Send + use<>,
    ) {
        let mut stores = Vec::new();
        let mut owners = SelectAll::new();
        for resource in kinds() {
            let writer = Writer::<Meta>::new(resource.clone());
            stores.push((resource.clone(), writer.as_reader()));
            let api = Api::<Meta>::all_with(client.clone(), &resource);
            // A child whose label is taken away leaves this selection, which is seen as its deletion.
            let ours = watcher::Config::default()
                .labels(&format!("app.kubernetes.io/managed-by={}", NestId::MANAGER));
            let touched = watcher(api, ours)
                .default_backoff()
                .reflect(writer)
                .touched_objects();
            owners.push(
                touched
                    .try_filter_map(|child| std::future::ready(Ok(owner(&child))))
                    .boxed(),
            );
        }
        (Self(stores), owners)
    }

    /// Completes when every kind has been listed once.
    ///
    /// # Errors
    /// When a watch ended first, which it does only with the process.
    pub async fn listed(&self) -> Result<(), kube::runtime::reflector::store::WriterDropped> {
        for (_, store) in &self.0 {
            store.wait_until_ready().await?;
        }
        Ok(())
    }

    /// What the nest with this uid owns.
    pub fn of(&self, namespace: &str, owner_uid: &str) -> Vec<Child> {
        let mut children = Vec::new();
        for (resource, store) in &self.0 {
            let owned = store.state_filter(|child| is_owned(child, namespace, owner_uid));
            children.extend(owned.iter().map(|child| Child {
                resource: resource.clone(),
                name: child.metadata.name.clone().unwrap_or_default(),
                uid: child.metadata.uid.clone(),
            }));
        }
        children
    }
}

fn is_owned(child: &Meta, namespace: &str, owner_uid: &str) -> bool {
    let owners = child.metadata.owner_references.iter().flatten();
    child.metadata.namespace.as_deref() == Some(namespace)
        && child.metadata.deletion_timestamp.is_none()
        && owners.into_iter().any(|owner| owner.uid == owner_uid)
}

/// The nest that controls the object.
fn owner(child: &Meta) -> Option<ObjectRef<GuardedNest>> {
    let namespace = child.metadata.namespace.as_deref();
    let owners = child.metadata.owner_references.iter().flatten();
    owners
        .into_iter()
        .find_map(|owner| ObjectRef::from_owner_ref(namespace, owner, ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child<K: Resource<DynamicType = ()>>(name: &str) -> Child {
        Child {
            resource: ApiResource::erase::<K>(&()),
            name: name.to_owned(),
            uid: None,
        }
    }

    #[test]
    fn every_kind_is_watched_for_silence() {
        assert_eq!(kinds().map(|kind| kind.plural).as_slice(), &WATCHED[1..]);
    }

    #[test]
    fn only_children_that_nobody_planned_are_orphans() {
        let there = vec![
            child::<Service>("prices-api"),
            child::<Deployment>("prices-api"),
            child::<Job>("prices-migrate-1"),
            child::<Job>("prices-migrate-2"),
        ];
        let planned =
            [("Service", "prices-api"), ("Job", "prices-migrate-2")].map(|(kind, name)| ChildName {
                kind: kind.to_owned(),
                name: name.to_owned(),
            });
        let left = orphans(there, &BTreeSet::from(planned));
        let names: Vec<_> = left
            .iter()
            .map(|child| (child.resource.kind.as_str(), child.name.as_str()))
            .collect();
        assert_eq!(names, [("Deployment", "prices-api"), ("Job", "prices-migrate-1")]);
    }
}
