use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Client, ResourceExt,
    api::{DynamicObject, PartialObjectMeta},
    client::Body,
    runtime::{reflector::store::Writer, watcher::Event},
};
use serde_json::{Value, json};
use tower::service_fn;

use super::*;
use crate::{children::tests::told, cluster::Cluster, leader::Gate};

/// An API server with one ConfigMap, a watch that tells of it, and who applies it.
struct Scene {
    cluster: Cluster,
    there: Arc<Mutex<Value>>,
    asked: Arc<Mutex<Vec<String>>>,
    watch: Writer<PartialObjectMeta<DynamicObject>>,
}

impl Scene {
    fn new() -> Self {
        let (there, asked) = (
            Arc::new(Mutex::new(config_map("1", "birbnest-operator"))),
            Arc::default(),
        );
        let (opener, gate) = Gate::new();
        opener.open();
        let (children, watch) = told::<ConfigMap>();
        let answers = Answers::new(Arc::new(children));
        let client = Client::new(
            service_fn(answer(Arc::clone(&there), Arc::clone(&asked))),
            "default",
        );
        Self {
            cluster: Cluster::new(client, gate, answers),
            there,
            asked,
            watch,
        }
    }

    /// Somebody changes it, and the watch tells.
    fn changes(&mut self, to: Value) {
        *self.there.lock().unwrap() = to;
        self.tell();
    }

    fn tell(&mut self) {
        let meta = serde_json::from_value(self.there.lock().unwrap().clone()).unwrap();
        self.watch.apply_watcher_event(&Event::Apply(meta));
    }

    /// Applies a value, and says what was asked of the API server for it.
    async fn applies(&self, value: &str) -> Vec<String> {
        let wanted: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "prices-config", "namespace": "shop"}, "data": {"key": value}
        }))
        .unwrap();
        let now = self.cluster.apply(&wanted).await.unwrap();
        assert_eq!(
            now.resource_version().unwrap(),
            self.there.lock().unwrap()["metadata"]["resourceVersion"]
        );
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn answer(
    there: Arc<Mutex<Value>>,
    asked: Arc<Mutex<Vec<String>>>,
) -> impl FnMut(Request<Body>) -> std::future::Ready<Result<Response<Body>, Infallible>> + Clone {
    move |request| {
        asked.lock().unwrap().push(request.method().to_string());
        let body = there.lock().unwrap().to_string().into_bytes();
        std::future::ready(Ok(Response::new(Body::from(body))))
    }
}

/// The object as the API server has it in this version, with the key that this manager applied.
fn config_map(version: &str, manager: &str) -> Value {
    let fields = json!({"f:data": {"f:key": {}}});
    let entry = json!({"manager": manager, "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"key": "1"}, "metadata": {
        "name": "prices-config", "namespace": "shop", "resourceVersion": version, "managedFields": [entry]
    }})
}

#[tokio::test]
async fn what_is_as_it_was_applied_is_not_asked_for_again() {
    let mut scene = Scene::new();
    assert_eq!(scene.applies("1").await, ["PATCH"]);
    scene.tell();
    assert_eq!(scene.applies("1").await, [""; 0]);
    assert_eq!(scene.applies("2").await, ["PATCH"], "something else is wanted");
}

#[tokio::test]
async fn what_the_watches_have_not_told_of_is_applied() {
    let scene = Scene::new();
    assert_eq!(scene.applies("1").await, ["PATCH"]);
    assert_eq!(scene.applies("1").await, ["PATCH"]);
}

#[tokio::test]
async fn a_change_of_what_others_own_is_read_once() {
    let mut scene = Scene::new();
    scene.applies("1").await;
    scene.changes(config_map("2", "birbnest-operator"));
    assert_eq!(scene.applies("1").await, ["GET"]);
    assert_eq!(scene.applies("1").await, [""; 0]);
}

#[tokio::test]
async fn a_change_of_what_was_applied_is_set_back() {
    let mut scene = Scene::new();
    scene.applies("1").await;
    scene.changes(config_map("2", "kubectl-edit"));
    assert_eq!(scene.applies("1").await, ["GET", "PATCH"]);
}

#[tokio::test]
async fn what_is_gone_is_applied_and_forgotten() {
    let mut scene = Scene::new();
    scene.applies("1").await;
    scene.tell();
    let meta = serde_json::from_value(scene.there.lock().unwrap().clone()).unwrap();
    scene.watch.apply_watcher_event(&Event::Delete(meta));
    assert_eq!(scene.applies("1").await, ["PATCH"]);
    scene.cluster.forget_gone();
    scene.tell();
    assert_eq!(scene.applies("1").await, ["PATCH"], "nothing is remembered");
}

#[tokio::test]
async fn what_is_only_read_is_read_when_there_is_something_new() {
    let mut scene = Scene::new();
    let look = async |scene: &Scene| {
        let found = scene.cluster.look::<ConfigMap>("shop", "prices-config").await;
        assert!(found.unwrap().is_some());
        std::mem::take(&mut *scene.asked.lock().unwrap())
    };
    scene.tell();
    assert_eq!(look(&scene).await, ["GET"]);
    assert_eq!(look(&scene).await, [""; 0]);
    scene.changes(config_map("2", "kubectl-edit"));
    assert_eq!(look(&scene).await, ["GET"]);
}

#[test]
fn who_owns_the_replicas_is_read_from_the_managed_fields() {
    let owns = |fields: Value| {
        let entry = json!({ "manager": "somebody", "fieldsType": "FieldsV1", "fieldsV1": fields });
        owns_replicas(&serde_json::from_value(entry).unwrap())
    };
    assert!(owns(json!({ "f:spec": { "f:replicas": {} } })));
    assert!(!owns(json!({ "f:spec": { "f:template": {} } })));
}
