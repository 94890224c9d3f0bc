//! The probes and the server, seen by a client.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use birbnest_service::{Drained, Health, Shutdown, probes_router, serve};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

struct House {
    health: Health,
    shutdown: Shutdown,
    url: String,
    server: JoinHandle<Drained>,
}

impl House {
    async fn open(extra: Router, registry: Registry, grace: Duration) -> Self {
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let shutdown = Shutdown::new();
        let health = Health::new("birbnest-test", shutdown.clone());
        let router = extra.merge(probes_router(health.clone(), registry));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fired = shutdown.clone();
        let server = tokio::spawn(async move { serve(listener, router, &fired, grace).await });
        Self {
            health,
            shutdown,
            url,
            server,
        }
    }

    async fn ask(&self, path: &str) -> (u16, Value) {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn the_health_report_names_each_backend() {
    let house = House::open(Router::new(), Registry::default(), Duration::ZERO).await;
    let (redis, database) = (house.health.check("redis"), house.health.check("database"));
    redis.healthy();
    let (code, body) = house.ask("/readyz").await;
    assert_eq!(
        (code, body["reason"].as_str()),
        (503, Some("database: not reached yet"))
    );
    assert_eq!(house.ask("/health").await.0, 503);

    database.healthy();
    let (code, body) = house.ask("/health").await;
    assert_eq!((code, body["status"].as_str()), (200, Some("healthy")));
    assert_eq!(body["service"], "birbnest-test");
    assert!(body["uptime"].is_string() && body["version"].is_string());

    redis.failing("connection refused");
    let (code, body) = house.ask("/health").await;
    assert_eq!((code, body["status"].as_str()), (200, Some("degraded")));
    assert_eq!(body["checks"]["redis"], "connection refused");
    assert_eq!(house.ask("/readyz").await.0, 200);
}

#[tokio::test]
async fn metrics_show_the_registry_and_the_backends() {
    let mut registry = Registry::with_prefix("birbnest");
    let rows = Counter::<u64>::default();
    rows.inc_by(7);
    registry.register("rows", "Rows written", rows);
    let house = House::open(Router::new(), registry, Duration::ZERO).await;
    house.health.check("nats").healthy();
    let text = reqwest::get(format!("{}/metrics", house.url))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for line in [
        "birbnest_rows_total 7",
        "birbnest_backend_up{backend=\"nats\"} 1",
        "birbnest_ready 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn a_silent_loop_fails_the_liveness_probe() {
    let house = House::open(Router::new(), Registry::default(), Duration::ZERO).await;
    assert_eq!(house.ask("/livez").await.0, 200);
    house.health.heartbeat("drain", Duration::ZERO);
    let (code, body) = house.ask("/livez").await;
    assert_eq!((code, &body["silent"][0]), (503, &Value::from("drain")));
}

/// A route that answers only when told to.
fn slow_route() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (started, wait) = (entered.clone(), release.clone());
    let answer = move || async move {
        started.notify_one();
        wait.notified().await;
        "done"
    };
    (Router::new().route("/slow", get(answer)), entered, release)
}

#[tokio::test]
async fn a_request_in_progress_is_answered_after_the_shutdown_began() {
    let (routes, entered, release) = slow_route();
    let house = House::open(routes, Registry::default(), Duration::from_secs(30)).await;
    let request = tokio::spawn(reqwest::get(format!("{}/slow", house.url)));
    entered.notified().await;
    house.shutdown.begin();
    release.notify_one();
    assert_eq!(request.await.unwrap().unwrap().text().await.unwrap(), "done");
    assert_eq!(house.server.await.unwrap(), Drained::Fully);
    reqwest::get(format!("{}/livez", house.url)).await.unwrap_err();
}

#[tokio::test]
async fn a_request_that_outlives_the_grace_period_is_cut() {
    let (routes, entered, _release) = slow_route();
    let house = House::open(routes, Registry::default(), Duration::from_millis(50)).await;
    let _request = tokio::spawn(reqwest::get(format!("{}/slow", house.url)));
    entered.notified().await;
    house.shutdown.begin();
    assert_eq!(house.server.await.unwrap(), Drained::Cut(1));
}

#[tokio::test]
async fn a_client_that_keeps_its_connection_is_asked_to_leave_and_not_cut_off() {
    let house = House::open(Router::new(), Registry::default(), Duration::from_secs(30)).await;
    let (client, url) = (reqwest::Client::new(), format!("{}/livez", house.url));
    let kept = client.get(&url).send().await.unwrap();
    assert!(!kept.headers().contains_key("connection"));
    kept.bytes().await.unwrap();
    house.shutdown.begin();
    // Over the same connection: nobody accepts a new one any more.
    let last = client.get(&url).send().await.unwrap();
    assert_eq!(last.headers()["connection"], "close");
    last.bytes().await.unwrap();
    assert_eq!(house.server.await.unwrap(), Drained::Fully);
}
