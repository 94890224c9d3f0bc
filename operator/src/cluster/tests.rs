use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::client::Body;
use tower::service_fn;

use super::*;
use crate::children::Children;

/// An API server that echoes what is written, and remembers what it was asked.
fn cluster(gate: Gate) -> (Cluster, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let service = service_fn(move |request: Request<Body>| {
        let seen = Arc::clone(&seen);
        async move {
            seen.lock()
                .unwrap()
                .push(format!("{} {}", request.method(), request.uri()));
            let body = request.into_body().collect_bytes().await.unwrap();
            Ok::<_, Infallible>(Response::new(Body::from(body.to_vec())))
        }
    });
    let answers = Answers::new(Arc::new(Children::default()));
    (
        Cluster::new(Client::new(service, "default"), gate, answers),
        asked,
    )
}

fn config_map() -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some("prices-config".to_owned());
    map.metadata.namespace = Some("shop".to_owned());
    map
}

#[tokio::test]
async fn a_standby_writes_nothing() {
    let (_opener, gate) = Gate::new();
    let (cluster, asked) = cluster(gate);
    let kind = ApiResource::erase::<ConfigMap>(&());
    let refused = [
        cluster.apply(&config_map()).await.map(drop),
        cluster.create(&config_map()).await.map(drop),
        cluster
            .merge::<ConfigMap>("shop", "prices-config", &json!({}))
            .await,
        cluster
            .apply_status::<ConfigMap>(FIELD_MANAGER, "shop", "prices-config", &json!({}))
            .await,
        cluster.scale::<Deployment>("shop", "prices-worker", 3).await,
        cluster.delete(&kind, "shop", "prices-config", None).await,
        cluster.remove::<ConfigMap>("shop", "prices-config").await,
    ];
    for outcome in refused {
        assert!(matches!(outcome, Err(ClusterError::NotLeading(_))), "{outcome:?}");
    }
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_leader_that_lost_its_lease_stops_at_once() {
    let (opener, gate) = Gate::new();
    let (cluster, asked) = cluster(gate);
    opener.open();
    cluster.apply(&config_map()).await.unwrap();
    opener.close();
    assert!(cluster.apply(&config_map()).await.is_err());
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn replicas_are_written_through_the_scale_subresource_by_their_one_writer() {
    let (opener, gate) = Gate::new();
    let (cluster, asked) = cluster(gate);
    opener.open();
    cluster
        .scale::<Deployment>("shop", "prices-worker", 3)
        .await
        .unwrap();
    let asked = asked.lock().unwrap().join("\n");
    assert!(
        asked.starts_with("PATCH /apis/apps/v1/namespaces/shop/deployments/prices-worker/scale?"),
        "{asked}"
    );
    assert!(asked.contains("fieldManager=birbnest-scaler"), "{asked}");
}
