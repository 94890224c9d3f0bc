//! From a connection to the answer: every request passes here.
//!
//! Most requests are GETs of a key that Redis has. They are answered right here, without the router: finding a route,
//! its extractors and the boxes around its layers cost as much as the answer itself.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, Method, header},
    response::{IntoResponse, Response},
};
use birbnest_core::{EntryId, EntryKey, InstanceName, Version};
use birbnest_service::{Answers, PROBES};
use hyper::{body::Incoming, service::service_fn};
use tower::Service;

use crate::{
    app::App,
    conditions::{Conditions, MIN_VERSION},
    keys::Keys,
    limits::{Limits, Visit},
    read::Miss,
    request::INSTANCE_HEADER,
    response,
    routes::{BATCHES, ENTRIES},
};

/// What one core answers with.
pub(crate) struct Front {
    pub(crate) app: App,
    pub(crate) limits: Limits,
    pub(crate) keys: Keys,
    /// Everything about entries.
    pub(crate) entries: Router,
    /// What a cluster asks; it is let in always.
    pub(crate) probes: Router,
}

impl Front {
    /// The service of a core's connections.
    pub(crate) fn into_service(self) -> impl Answers {
        let front = Arc::new(self);
        service_fn(move |request| {
            let front = Arc::clone(&front);
            async move { Ok::<_, Infallible>(front.answer(request).await) }
        })
    }

    async fn answer(&self, request: http::Request<Incoming>) -> Response {
        if PROBES.contains(&request.uri().path()) {
            return routed(&self.probes, request).await;
        }
        let (visit, admitted) = self.limits.enter(&request);
        let response = match admitted.and_then(|()| self.keys.admit(request.headers())) {
            Ok(()) => self.serve(&visit, request).await,
            Err(refusal) => refusal.into_response(),
        };
        visit.end(response)
    }

    async fn serve(&self, visit: &Visit<'_>, request: http::Request<Incoming>) -> Response {
        let Some(id) = plainly_asked(request.method(), request.uri().path(), request.headers()) else {
            return Box::pin(visit.within_its_time(routed(&self.entries, request))).await;
        };
        match self.app.read.cached(id, Version::ZERO).await {
            Ok(read) => response::found(read, &Conditions::default(), &self.app.budget).into_response(),
            Err(miss) => Box::pin(visit.within_its_time(self.ask(miss))).await,
        }
    }

    async fn ask(&self, miss: Miss) -> Response {
        let read = self.app.read.miss(miss, Version::ZERO).await;
        read.and_then(|read| response::found(read, &Conditions::default(), &self.app.budget))
            .into_response()
    }
}

/// The route's answer. Boxed, for its state is large.
async fn routed(router: &Router, request: http::Request<Incoming>) -> Response {
    let request: Request = request.map(axum::body::Body::new);
    match Box::pin(router.clone().call(request)).await {
        Ok(response) => response,
        Err(impossible) => match impossible {},
    }
}

/// The entry that is asked for by a GET which says nothing that needs a closer look: no escapes in its path, no
/// condition, and names that keep the rules. Whatever breaks one is told so by the route's extractors.
fn plainly_asked(method: &Method, path: &str, headers: &HeaderMap) -> Option<EntryId> {
    if *method != Method::GET || path.starts_with(BATCHES) || path.contains('%') || is_conditional(headers) {
        return None;
    }
    let key: EntryKey = path.strip_prefix(ENTRIES)?.parse().ok()?;
    let instance = match headers.get(INSTANCE_HEADER) {
        Some(name) => name.to_str().ok()?.parse().ok()?,
        None => InstanceName::global(),
    };
    Some(EntryId { instance, key })
}

fn is_conditional(headers: &HeaderMap) -> bool {
    [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        MIN_VERSION,
    ]
    .iter()
    .any(|name| headers.contains_key(name))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn asked(path: &str) -> Option<String> {
        plainly_asked(&Method::GET, path, &HeaderMap::new()).map(|id| id.key.to_string())
    }

    #[test]
    fn a_plain_get_of_a_key_is_understood_without_the_router() {
        assert_eq!(asked("/v1/cache/robin").as_deref(), Some("robin"));
        assert_eq!(asked("/v1/cache/a//b/").as_deref(), Some("a//b/"));
    }

    #[test]
    fn whatever_needs_a_closer_look_is_left_to_the_router() {
        let long = format!("/v1/cache/{}", "a".repeat(256));
        for path in [
            "/v1/cache/",
            "/v1/cache/batch/get",
            "/v1/cache/a%20b",
            "/v1/other/a",
            &long,
        ] {
            assert_eq!(asked(path), None, "{path}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"7\""));
        assert_eq!(plainly_asked(&Method::GET, "/v1/cache/a", &headers), None);
        assert_eq!(
            plainly_asked(&Method::POST, "/v1/cache/a", &HeaderMap::new()),
            None
        );
    }
}
