//! The door: who gets in, for how long, and one log line for whatever failed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use birbnest_core::config::ApiConfig;
use tokio::sync::Semaphore;

use crate::{
    metrics::Metrics,
    problem::{Cause, Problem},
    request::INSTANCE_HEADER,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over from a client.
const MAX_REQUEST_ID_LEN: usize = 128;

/// The bounds of the service.
pub(crate) struct Limits {
    slots: Semaphore,
    request_timeout: Duration,
    ids: RequestIds,
    metrics: Metrics,
}

impl Limits {
    pub(crate) fn new(config: &ApiConfig, metrics: Metrics) -> Self {
        let slots = usize::try_from(config.max_concurrent_requests).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            slots: Semaphore::new(slots.min(Semaphore::MAX_PERMITS)),
            request_timeout: config.request_timeout.get(),
            ids: RequestIds::new(),
            metrics,
        }
    }

    /// Runs the request within its time, or refuses it while too many are in progress: an early no costs the client
    /// less than a late one.
    async fn answer(&self, request: Request, next: Next) -> Response {
        let Ok(_slot) = self.slots.try_acquire() else {
            self.metrics.shed();
            return Problem::unavailable("too many requests are in progress").into_response();
        };
        match tokio::time::timeout(self.request_timeout, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "TIMEOUT")
                .detail("the request took too long; a write may or may not have been stored")
                .retry_after(1)
                .into_response(),
        }
    }
}

/// Counts the request, gives it an id, and logs its failure.
pub(crate) async fn admit(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let request_id = match request.headers().get(REQUEST_ID) {
        Some(id) if id.len() <= MAX_REQUEST_ID_LEN => id.clone(),
        _ => limits.ids.next(),
    };
    let instance = request.headers().get(INSTANCE_HEADER).cloned();
    let in_progress = InProgress::start(&limits.metrics);
    let mut response = limits.answer(request, next).await;
    drop(in_progress);
    let took = started.elapsed();
    limits.metrics.answered(&method, response.status(), took);
    if response.status().is_server_error() {
        log_failure(&method, &response, &request_id, took);
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, request_id);
    if let Some(instance) = instance {
        headers.insert(INSTANCE_HEADER, instance);
    }
    response
}

/// Somebody should look: a backend is away, or something is broken. Keys and values stay out of the log.
fn log_failure(method: &axum::http::Method, response: &Response, request_id: &HeaderValue, took: Duration) {
    let cause = response
        .extensions()
        .get::<Cause>()
        .map_or("", |Cause(cause)| cause.as_str());
    let request_id = String::from_utf8_lossy(request_id.as_bytes());
    let (status, duration_ms) = (response.status().as_u16(), took.as_millis());
    tracing::warn!(%method, status, %request_id, duration_ms, cause, "a request failed");
}

/// Counts a request as in progress, also when its client hangs up.
struct InProgress<'a>(&'a Metrics);

impl<'a> InProgress<'a> {
    fn start(metrics: &'a Metrics) -> Self {
        metrics.started();
        Self(metrics)
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.0.ended();
    }
}

/// Ids that are unique among processes: a random prefix and a counter.
struct RequestIds {
    prefix: u32,
    counter: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        Self {
            prefix: rand::random(),
            counter: AtomicU64::new(0),
        }
    }

    fn next(&self) -> HeaderValue {
        let id = format!(
            "{:08x}-{:x}",
            self.prefix,
            self.counter.fetch_add(1, Ordering::Relaxed)
        );
        // Hexadecimal digits are always a valid header value.
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }
}
