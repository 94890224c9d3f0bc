//! The door: who gets in, for how long, and one log line for whatever failed.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode},
    response::{IntoResponse, Response},
};
use birbnest_core::config::ApiConfig;
use birbnest_service::Crowded;

use crate::{
    metrics::{Metrics, Shed},
    problem::{Cause, Problem},
    request::INSTANCE_HEADER,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const INSTANCE: HeaderName = HeaderName::from_static(INSTANCE_HEADER);
/// Longest request id that is taken over from a client.
const MAX_REQUEST_ID_LEN: usize = 128;

/// The bounds of the service.
pub(crate) struct Limits {
    most: i64,
    request_timeout: Duration,
    ids: RequestIds,
    failures: Quota,
    metrics: Metrics,
}

/// A request that was let in. It counts as in progress until this is dropped, also when its client hangs up.
pub(crate) struct Visit<'a> {
    limits: &'a Limits,
    started: Instant,
    method: Method,
    request_id: HeaderValue,
    instance: Option<HeaderValue>,
}

impl Limits {
    /// The bounds of one core; what is in progress is counted over all of them, by the metrics.
    pub(crate) fn new(config: &ApiConfig, metrics: Metrics) -> Self {
        Self {
            most: i64::from(config.max_concurrent_requests),
            request_timeout: config.request_timeout.get(),
            ids: RequestIds::new(),
            failures: Quota::default(),
            metrics,
        }
    }

    /// Lets a request in, or refuses it while too many are in progress: an early no costs the client less than a late
    /// one.
    pub(crate) fn enter<B>(&self, request: &Request<B>) -> (Visit<'_>, Result<(), Problem>) {
        let in_progress = self.metrics.started();
        let visit = Visit {
            limits: self,
            started: Instant::now(),
            method: request.method().clone(),
            request_id: self.request_id(request.headers()),
            instance: request.headers().get(INSTANCE).cloned(),
        };
        let (reason, detail) = if request.extensions().get::<Crowded>().is_some() {
            (Shed::Connections, "too many connections are open")
        } else if in_progress >= self.most {
            (Shed::Requests, "too many requests are in progress")
        } else {
            return (visit, Ok(()));
        };
        self.metrics.shed(reason);
        (visit, Err(Problem::unavailable(detail)))
    }

    fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        match headers.get(REQUEST_ID) {
            Some(id) if id.len() <= MAX_REQUEST_ID_LEN => id.clone(),
            _ => self.ids.next(),
        }
    }
}

impl Visit<'_> {
    /// The work's answer, or that it took too long: the time counts from the request's start.
    pub(crate) async fn within_its_time(&self, work: impl Future<Output = Response>) -> Response {
        let end = self.started + self.limits.request_timeout;
        match tokio::time::timeout_at(end.into(), work).await {
            Ok(response) => response,
            Err(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "TIMEOUT")
                .detail("the request took too long; a write may or may not have been stored")
                .retry_after(1)
                .into_response(),
        }
    }

    /// Counts the answer, tells the client which request it belongs to, and logs a failure.
    pub(crate) fn end(mut self, mut response: Response) -> Response {
        let took = self.started.elapsed();
        self.limits
            .metrics
            .answered(&self.method, response.status(), took);
        if response.status().is_server_error() {
            self.log_failure(&response, took);
        }
        let nothing = HeaderValue::from_static("");
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, std::mem::replace(&mut self.request_id, nothing));
        if let Some(instance) = self.instance.take() {
            headers.insert(INSTANCE, instance);
        }
        response
    }

    /// Somebody should look: a backend is away, or something is broken. Keys and values stay out of the log.
    fn log_failure(&self, response: &Response, took: Duration) {
        if !self.limits.failures.takes(Instant::now()) {
            return;
        }
        let cause = response
            .extensions()
            .get::<Cause>()
            .map_or("", |Cause(cause)| cause.as_str());
        let request_id = String::from_utf8_lossy(self.request_id.as_bytes());
        let (method, status) = (&self.method, response.status().as_u16());
        let duration_ms = took.as_millis();
        tracing::warn!(%method, status, %request_id, duration_ms, cause, "a request failed");
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.limits.metrics.ended();
    }
}

/// Lines of failures in each second: refusing thousands of requests must not cost as much as answering them. The metrics
/// count them all.
#[derive(Default)]
struct Quota(Mutex<Option<(Instant, u32)>>);

impl Quota {
    const MOST: u32 = 20;

    fn takes(&self, now: Instant) -> bool {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, lines) = match &mut *second {
            Some(current) if now.duration_since(current.0) < Duration::from_secs(1) => current,
            over => over.insert((now, 0)),
        };
        *lines = lines.saturating_add(1);
        *lines <= Self::MOST
    }
}

/// Ids that are unique among processes and cores: a random prefix and a counter.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_one_has_as_many() {
        let (quota, now) = (Quota::default(), Instant::now());
        let lines = |now| (0..50).filter(|_| quota.takes(now)).count();
        assert_eq!(lines(now), 20);
        assert_eq!(lines(now + Duration::from_millis(999)), 0);
        assert_eq!(lines(now + Duration::from_secs(1)), 20);
    }
}
