//! Notices watches that went silent.
//!
//! The API server sends most watches an event or a bookmark about once a minute, and closes them after some minutes. One on
//! which nothing comes for longer ends as if it had been closed, and begins again where it was: what happened meanwhile is
//! told then. That is no trouble: of a kind of which nothing has happened since an API server started, it sends nothing.
//! Bookmarks do not surface in a stream of objects, so the bytes are looked at as well: a watch that does not come back by
//! beginning again is dead, and the liveness probe says so.

use std::{
    collections::HashMap,
    error::Error,
    future::ready,
    io,
    iter::successors,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use birbnest_service::{Health, Heartbeat};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use http::{Request, Response};
use http_body_util::{BodyExt, BodyStream, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

/// How long a connection may be silent while something is expected of it: bookmarks come each 60 to 75 s, and an answer
/// within the API server's own limit of a minute.
pub const PATIENCE: Duration = Duration::from_secs(100);
/// A watch without a byte for so long is dead: its connection was given up more than once.
const SILENCE: Duration = Duration::from_mins(5);

/// Watches by the plural of their kind.
#[derive(Clone)]
pub struct Pulses(Arc<HashMap<&'static str, Heartbeat>>);

impl Pulses {
    /// Watches of these kinds, by their plurals.
    pub fn new(health: &Health, plurals: &[&'static str]) -> Self {
        let beats = plurals
            .iter()
            .map(|plural| (*plural, health.heartbeat(plural, SILENCE)));
        Self(Arc::new(beats.collect()))
    }

    fn of<B>(&self, request: &Request<B>) -> Option<Heartbeat> {
        let plural = request.uri().path().rsplit('/').next()?;
        self.0.get(plural).filter(|_| is_watch(request)).cloned()
    }
}

/// Whether a request asks to be told of changes from now on.
pub(crate) fn is_watch<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|option| option == "watch=true")
}

impl<S> Layer<S> for Pulses {
    type Service = Pulsing<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Pulsing {
            inner,
            pulses: self.clone(),
        }
    }
}

/// A client that feels the pulse of its watches.
#[derive(Clone)]
pub struct Pulsing<S> {
    inner: S,
    pulses: Pulses,
}

impl<S, B> Service<Request<Body>> for Pulsing<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let beat = self.pulses.of(&request);
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await.map_err(Into::into)?;
            let Some(beat) = beat else {
                return Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()));
            };
            beat.beat();
            Ok(answer.map(|body| {
                let felt = body.map_frame(move |frame| {
                    beat.beat();
                    frame
                });
                let felt = BodyStream::new(felt.map_err(Into::into));
                let heard = felt.take_while(|frame| ready(!frame.as_ref().is_err_and(is_silence)));
                BodyExt::boxed_unsync(StreamBody::new(heard))
            }))
        }
        .boxed()
    }
}

/// Whether a body failed because nothing came for as long as the client waits.
fn is_silence(error: &BoxError) -> bool {
    let first: &(dyn Error + 'static) = error.as_ref();
    let mut causes = successors(Some(first), |cause| Error::source(*cause));
    causes.any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
    })
}

#[cfg(test)]
mod tests {
    use birbnest_service::Shutdown;
    use futures::stream::iter;
    use http_body::Frame;
    use tower::ServiceExt;

    use super::*;

    fn request(uri: &str) -> Request<()> {
        Request::builder().uri(uri).body(()).unwrap()
    }

    #[derive(Debug, thiserror::Error)]
    #[error("error reading a body from connection")]
    struct Unread(#[source] io::Error);

    /// What a watch tells whose connection fails with this kind of error.
    async fn heard(failure: io::ErrorKind) -> Result<Bytes, BoxError> {
        let health = Health::new("test", Shutdown::new());
        let frames = [
            Ok(Frame::data(Bytes::from_static(b"an event"))),
            Err(Unread(io::Error::from(failure))),
        ];
        let mut answer = Some(Response::new(StreamBody::new(iter(frames))));
        let server = tower::service_fn(|_: Request<Body>| ready(answer.take().ok_or("it was asked twice")));
        let watch = request("/apis/birbnest.dev/v1alpha1/birbnests?watch=true").map(|()| Body::empty());
        let client = Pulses::new(&health, &["birbnests"]).layer(server);
        let answer = client.oneshot(watch).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn a_silent_watch_ends_as_if_it_had_been_closed_and_a_broken_one_fails() {
        assert_eq!(heard(io::ErrorKind::TimedOut).await.unwrap(), "an event");
        assert!(heard(io::ErrorKind::ConnectionReset).await.is_err());
    }

    #[test]
    fn only_watches_of_known_kinds_have_a_pulse() {
        let health = Health::new("test", Shutdown::new());
        let pulses = Pulses::new(&health, &["birbnests"]);
        assert!(
            pulses
                .of(&request(
                    "/apis/birbnest.dev/v1alpha1/birbnests?&watch=true&timeoutSeconds=290"
                ))
                .is_some()
        );
        assert!(
            pulses
                .of(&request("/apis/birbnest.dev/v1alpha1/birbnests?limit=500"))
                .is_none()
        );
        assert!(pulses.of(&request("/api/v1/pods?watch=true")).is_none());
    }
}
