//! Which namespaces the operator looks after: those that it was told, or all of the cluster.
//!
//! Several namespaces are several watches, since no right for the whole cluster is needed then. They are merged to one that
//! looks as if the API server had told it: there is one first list, complete when every namespace was listed, and a namespace
//! that is listed again tells only what has changed.

use std::{collections::HashMap, fmt::Debug};

use futures::{StreamExt, stream, stream::BoxStream};
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

/// The namespaces; none named means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(Vec<String>);

type Events<K> = BoxStream<'static, watcher::Result<Event<K>>>;

impl Scope {
    /// These namespaces, or all if there are none.
    pub fn new(namespaces: impl IntoIterator<Item = String>) -> Self {
        let mut named: Vec<_> = namespaces.into_iter().filter(|name| !name.is_empty()).collect();
        named.sort_unstable();
        named.dedup();
        Self(named)
    }

    /// Watches what `api` finds in each of them, or in the whole cluster, for which it is given no name.
    pub fn watch<K>(&self, api: impl Fn(Option<&str>) -> Api<K>, config: &watcher::Config) -> Events<K>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let one = |namespace| watcher(api(namespace), config.clone()).default_backoff().boxed();
        match self.0.as_slice() {
            [] => one(None),
            [namespace] => one(Some(namespace)),
            namespaces => merge(namespaces.iter().map(|namespace| one(Some(namespace))).collect()),
        }
    }
}

fn merge<K: Resource + Clone + Send + 'static>(watches: Vec<Events<K>>) -> Events<K> {
    let mut merged = Merged::of(watches.len());
    let numbered = watches
        .into_iter()
        .enumerate()
        .map(|(number, watch)| watch.map(move |event| (number, event)).boxed());
    let events = stream::select_all(numbered).flat_map(move |(number, event)| {
        let told = match event {
            Ok(event) => merged.hear(number, event).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(told)
    });
    events.boxed()
}

/// What the watches have told so far, each about objects of its own.
struct Merged<K> {
    watches: Vec<Watch<K>>,
    listed: bool,
}

struct Watch<K> {
    known: Objects<K>,
    /// The list that it is in the middle of.
    list: Option<Objects<K>>,
    listed: bool,
}

/// By namespace and name.
type Objects<K> = HashMap<(Option<String>, String), K>;

fn name_of<K: Resource>(object: &K) -> (Option<String>, String) {
    (object.namespace(), object.name_any())
}

impl<K: Resource + Clone> Merged<K> {
    fn of(count: usize) -> Self {
        let watch = || Watch {
            known: HashMap::new(),
            list: None,
            listed: false,
        };
        Self {
            watches: std::iter::repeat_with(watch).take(count).collect(),
            listed: false,
        }
    }

    /// What is to be told after this.
    fn hear(&mut self, number: usize, event: Event<K>) -> Vec<Event<K>> {
        let changes = self.watches[number].hear(event);
        if self.listed {
            return changes;
        }
        if !self.watches.iter().all(|watch| watch.listed) {
            return vec![];
        }
        self.listed = true;
        let objects = self
            .watches
            .iter()
            .flat_map(|watch| watch.known.values().cloned());
        std::iter::once(Event::Init)
            .chain(objects.map(Event::InitApply))
            .chain([Event::InitDone])
            .collect()
    }
}

impl<K: Resource + Clone> Watch<K> {
    /// What this changes.
    fn hear(&mut self, event: Event<K>) -> Vec<Event<K>> {
        match event {
            Event::Init => self.list = Some(HashMap::new()),
            Event::InitApply(object) => {
                if let Some(list) = &mut self.list {
                    list.insert(name_of(&object), object.clone());
                }
                return vec![Event::Apply(object)];
            }
            Event::InitDone => {
                self.listed = true;
                let list = self.list.take().unwrap_or_default();
                let mut before = std::mem::replace(&mut self.known, list);
                before.retain(|name, _| !self.known.contains_key(name));
                return before.into_values().map(Event::Delete).collect();
            }
            Event::Apply(object) => {
                self.known.insert(name_of(&object), object.clone());
                return vec![Event::Apply(object)];
            }
            Event::Delete(object) => {
                self.known.remove(&name_of(&object));
                return vec![Event::Delete(object)];
            }
        }
        vec![]
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str) -> ConfigMap {
        let (namespace, name) = name.split_once('/').unwrap();
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.namespace = Some(namespace.to_owned());
        object
    }

    fn told(events: &[Event<ConfigMap>]) -> Vec<String> {
        let name = |object: &ConfigMap| format!("{}/{}", object.namespace().unwrap(), object.name_any());
        let mut told: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Init => "init".to_owned(),
                Event::InitApply(object) => format!("listed {}", name(object)),
                Event::InitDone => "init done".to_owned(),
                Event::Apply(object) => format!("apply {}", name(object)),
                Event::Delete(object) => format!("delete {}", name(object)),
            })
            .collect();
        // The order within a list is of no interest.
        let last = told.len().saturating_sub(1);
        if last > 0 {
            told[1..last].sort();
        }
        told
    }

    fn list(merged: &mut Merged<ConfigMap>, number: usize, names: &[&str]) -> Vec<String> {
        let mut events = vec![Event::Init];
        events.extend(names.iter().map(|name| Event::InitApply(object(name))));
        events.push(Event::InitDone);
        let hear = |event| merged.hear(number, event);
        told(&events.into_iter().flat_map(hear).collect::<Vec<_>>())
    }

    #[test]
    fn the_first_list_is_complete_when_every_namespace_was_listed() {
        let mut merged = Merged::of(2);
        assert_eq!(list(&mut merged, 1, &["b/one"]), [""; 0]);
        assert_eq!(told(&merged.hear(1, Event::Apply(object("b/two")))), [""; 0]);
        assert_eq!(told(&merged.hear(1, Event::Delete(object("b/one")))), [""; 0]);
        assert_eq!(
            list(&mut merged, 0, &["a/one"]),
            ["init", "listed a/one", "listed b/two", "init done"]
        );
        assert_eq!(
            told(&merged.hear(0, Event::Delete(object("a/one")))),
            ["delete a/one"]
        );
    }

    #[test]
    fn a_namespace_that_is_listed_again_tells_what_is_gone_and_leaves_the_others_alone() {
        let mut merged = Merged::of(2);
        list(&mut merged, 0, &["a/one", "a/two"]);
        list(&mut merged, 1, &["b/one"]);
        assert_eq!(list(&mut merged, 0, &["a/two"]), ["apply a/two", "delete a/one"]);
        assert_eq!(list(&mut merged, 0, &["a/two"]), ["apply a/two"]);
    }

    #[test]
    fn no_name_and_empty_names_mean_the_whole_cluster() {
        assert_eq!(Scope::new([String::new()]), Scope::default());
        let named = Scope::new(["b", "a", "b"].map(str::to_owned));
        assert_eq!(named, Scope(vec!["a".to_owned(), "b".to_owned()]));
    }
}
