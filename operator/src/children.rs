//! The objects that nests own, as far as the watches have told: their metadata only.

use std::{collections::BTreeSet, fmt::Debug};

use futures::{Stream, StreamExt, TryStreamExt, stream::SelectAll};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::Job,
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};

use crate::{
    GuardedNest,
    answers::Place,
    kinds::{Foreign, Kinds, http_route, pod_monitor, prometheus_rule},
    reconcile::NestId,
    scope::Scope,
};

type Meta = PartialObjectMeta<DynamicObject>;

/// The kinds of objects that a nest owns, each with its plural.
fn owned(there: Kinds) -> Vec<(ApiResource, &'static str)> {
    let mut owned = vec![
        built_in::<ConfigMap>(),
        built_in::<ServiceAccount>(),
        built_in::<Service>(),
        built_in::<StatefulSet>(),
        built_in::<Job>(),
        built_in::<Deployment>(),
        built_in::<HorizontalPodAutoscaler>(),
        built_in::<PodDisruptionBudget>(),
        built_in::<NetworkPolicy>(),
        built_in::<Ingress>(),
    ];
    if there.monitoring {
        owned.extend([
            (pod_monitor(), "podmonitors"),
            (prometheus_rule(), "prometheusrules"),
        ]);
    }
    if there.routes {
        owned.push((http_route(), "httproutes"));
    }
    owned
}

fn built_in<K: k8s_openapi::Resource + Resource<DynamicType = ()>>() -> (ApiResource, &'static str) {
    (ApiResource::erase::<K>(&()), K::URL_PATH_SEGMENT)
}

/// The kinds that are watched, by their plurals: nests and what they own.
pub fn watched(there: Kinds) -> Vec<&'static str> {
    let owned = owned(there).into_iter().map(|(_, plural)| plural);
    std::iter::once("birbnests").chain(owned).collect()
}

/// A child by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChildName {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl ChildName {
    /// The name of an object of a kind that is known only by its name.
    pub fn of_foreign(foreign: &Foreign) -> Self {
        Self {
            kind: foreign.kind.kind.clone(),
            name: foreign.object.metadata.name.clone().unwrap_or_default(),
        }
    }

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
#[derive(Default)]
pub struct Children(Vec<(ApiResource, Store<Meta>)>);

impl Children {
    /// Starts a watch for every kind; whatever changes names its owner in the stream.
    pub fn watch(
        client: &Client,
        scope: &Scope,
        there: Kinds,
    ) -> (
        Self,
        impl Stream<Item = Result<ObjectRef<GuardedNest>, watcher::Error>> + Send + use<>,
    ) {
        let mut stores = Vec::new();
        let mut owners = SelectAll::new();
        for (resource, _) in owned(there) {
            let writer = Writer::<Meta>::new(resource.clone());
            stores.push((resource.clone(), writer.as_reader()));
            let api = |namespace: Option<&str>| match namespace {
                Some(namespace) => Api::<Meta>::namespaced_with(client.clone(), namespace, &resource),
                None => Api::all_with(client.clone(), &resource),
            };
            // A child whose label is taken away leaves this selection, which is seen as its deletion.
            let ours = watcher::Config::default()
                .labels(&format!("app.kubernetes.io/managed-by={}", NestId::MANAGER));
            let touched = scope.watch(api, &ours);
            // The book of whose each field is takes more room than all else.
            let touched = touched.modify(|child| child.managed_fields_mut().clear());
            let touched = touched.reflect(writer).touched_objects();
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

    /// The newest version of the object there that the watches have told of; `None` when there is none.
    pub fn version(&self, place: &Place) -> Option<String> {
        let (kind, store) = self.0.iter().find(|(kind, _)| kind.kind == place.kind)?;
        let child = ObjectRef::new_with(&place.name, kind.clone()).within(&place.namespace);
        store.get(&child)?.resource_version()
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
pub(crate) mod tests {
    use super::*;

    /// Children of one kind, and what tells of them.
    pub(crate) fn told<K: Resource<DynamicType = ()>>() -> (Children, Writer<Meta>) {
        let kind = ApiResource::erase::<K>(&());
        let writer = Writer::new(kind.clone());
        (Children(vec![(kind, writer.as_reader())]), writer)
    }

    fn child<K: Resource<DynamicType = ()>>(name: &str) -> Child {
        Child {
            resource: ApiResource::erase::<K>(&()),
            name: name.to_owned(),
            uid: None,
        }
    }

    #[test]
    fn every_kind_is_watched_for_silence() {
        for there in [true, false].map(|there| Kinds {
            monitoring: there,
            routes: there,
        }) {
            let owned = owned(there).into_iter().map(|(kind, _)| kind.plural);
            assert_eq!(owned.collect::<Vec<_>>(), &watched(there)[1..]);
        }
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
