//! Every state of a nest and of its Deployments, in the order in which the API server stored them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use birbnest_e2e::cluster::Space;
use futures::StreamExt;
use kube::{
    Api,
    api::{DynamicObject, WatchEvent, WatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::Value;
use tokio::task::JoinHandle;

/// By revision: etcd counts the writes of all kinds together.
pub(super) type States = BTreeMap<u64, Value>;

/// What is recorded, until it is dropped.
pub(super) struct Timeline {
    states: Arc<Mutex<States>>,
    watches: Vec<JoinHandle<()>>,
}

impl Timeline {
    /// Records the nests and Deployments of a namespace from now on.
    pub(super) async fn record(space: &Space) -> Self {
        let states = Arc::<Mutex<States>>::default();
        let mut watches = vec![];
        for (group, version, kind) in [
            ("birbnest.dev", "v1alpha1", "BirbNest"),
            ("apps", "v1", "Deployment"),
        ] {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let api = Api::namespaced_with(space.client.clone(), &space.name, &resource);
            let listed = api
                .list_metadata(&kube::api::ListParams::default())
                .await
                .unwrap();
            let since = listed.metadata.resource_version.unwrap();
            watches.push(tokio::spawn(watch(api, since, states.clone())));
        }
        Self { states, watches }
    }

    /// What was recorded so far.
    pub(super) fn states(&self) -> States {
        self.states.lock().unwrap().clone()
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        self.watches.iter().for_each(JoinHandle::abort);
    }
}

/// The API server ends a watch now and then: it goes on where it was.
async fn watch(api: Api<DynamicObject>, mut since: String, states: Arc<Mutex<States>>) {
    loop {
        let events = api.watch(&WatchParams::default(), &since).await.unwrap();
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            let (object, deleted) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(_) | WatchEvent::Error(_) => continue,
            };
            since = object.metadata.resource_version.clone().unwrap();
            let mut state = serde_json::to_value(&object).unwrap();
            state["deleted"] = deleted.into();
            states.lock().unwrap().insert(since.parse().unwrap(), state);
        }
    }
}
