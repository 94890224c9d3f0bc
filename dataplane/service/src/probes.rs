//! The routes that a cluster asks: `/livez`, `/readyz`, `/health` and `/metrics`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text, registry::Registry};
use serde::Serialize;

use crate::Health;

/// The exposition format, version 1.0: <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Probes {
    health: Health,
    registry: Arc<Registry>,
}

/// The paths of the routes.
pub const PROBES: [&str; 4] = ["/livez", "/readyz", "/health", "/metrics"];

/// The four routes. `/metrics` shows the registry, and the health checks as metrics too.
pub fn probes_router<S>(health: Health, mut registry: Registry) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    registry.register_collector(Box::new(health.clone()));
    let [live, ready, report, figures] = PROBES;
    Router::new()
        .route(live, get(livez))
        .route(ready, get(readyz))
        .route(report, get(health_report))
        .route(figures, get(metrics))
        .with_state(Probes {
            health,
            registry: Arc::new(registry),
        })
}

#[derive(Serialize)]
struct Liveness {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    silent: Vec<&'static str>,
}

/// 503 only when a restart would help: a missing backend is no reason.
async fn livez(State(probes): State<Probes>) -> Response {
    let silent = probes.health.silent_loops();
    let (code, status) = if silent.is_empty() {
        (StatusCode::OK, "alive")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stuck")
    };
    (code, Json(Liveness { status, silent })).into_response()
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    checks: BTreeMap<&'static str, String>,
}

async fn readyz(State(probes): State<Probes>) -> Response {
    let reason = probes.health.unready_reason();
    let (code, status) = match reason {
        None => (StatusCode::OK, "ready"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    (
        code,
        Json(Readiness {
            status,
            reason,
            checks: probes.health.statuses(),
        }),
    )
        .into_response()
}

#[derive(Serialize)]
struct HealthReport {
    status: &'static str,
    service: &'static str,
    version: &'static str,
    uptime: String,
    checks: BTreeMap<&'static str, String>,
}

/// What clients of the HTTP API read: `healthy`, `degraded` (something is missing, the rest is served) or `unhealthy`
/// with 503.
async fn health_report(State(probes): State<Probes>) -> Response {
    let health = &probes.health;
    let checks = health.statuses();
    let (code, status) = match (health.is_ready(), checks.values().all(|check| check == "healthy")) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        (true, false) => (StatusCode::OK, "degraded"),
        (true, true) => (StatusCode::OK, "healthy"),
    };
    let uptime = Duration::from_secs(health.uptime().as_secs());
    let report = HealthReport {
        status,
        service: health.service(),
        version: env!("CARGO_PKG_VERSION"),
        uptime: humantime::format_duration(uptime).to_string(),
        checks,
    };
    (code, Json(report)).into_response()
}

async fn metrics(State(probes): State<Probes>) -> Response {
    let mut body = String::new();
    match text::encode(&mut body, &probes.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
