//! Open HTTP connections, and how they end.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    http::{HeaderValue, Request, header::CONNECTION},
    response::Response,
};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    Shutdown, Tls,
    patience::{Patient, Tight},
    tls,
};

/// How long a client may take to send the head of a request; idle connections are closed by it too, so it is above
/// what load balancers keep theirs open for.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);
/// The same when many connections are open already.
const HURRIED_HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read or written of a connection at once, and so the longest head of a request.
const BUFFER_BYTES: usize = 16 << 10;
/// What an HTTP/2 client may have in progress on one connection: requests, and bytes that nobody has read yet.
const STREAMS: u32 = 100;
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
const STREAM_SEND_BYTES: usize = 64 << 10;

/// How long connections may go on to be used after the shutdown began, so that their clients can be asked to leave.
const LEAVING: Duration = Duration::from_secs(2);
const LEAVING_LOOK: Duration = Duration::from_millis(20);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request in progress was answered.
    Fully,
    /// The grace period ended first; this many connections were open when it began.
    Cut(usize),
}

impl Drained {
    /// How two servers ended together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Cut(one), Self::Cut(two)) => Self::Cut(one + two),
            (Self::Fully, other) => other,
            (cut, Self::Fully) => cut,
        }
    }
}

/// What answers the requests of a connection. Every connection has a clone.
pub trait Answers:
    Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// How a connection is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Welcome {
    /// It may stay.
    Usual,
    /// It may stay as long as it asks something: many others are open.
    Hurried,
    /// There are too many: its first request is marked as [`Crowded`], and it is closed after the answer.
    Crowded,
}

/// Marks a request of a connection that is one too many: only what keeps the process alive should be answered.
#[derive(Clone, Copy, Debug)]
pub struct Crowded;

/// The connections of one runtime.
pub(crate) struct Connections<S> {
    usual: Arc<Builder<TokioExecutor>>,
    hurried: Arc<Builder<TokioExecutor>>,
    service: S,
    tight: Tight,
    tls: Option<Tls>,
    open: GracefulShutdown,
    /// Of its own, so that runtimes do not meet at one lock with every answer.
    shutdown: Arc<Shutdown>,
}

impl<S: Answers> Connections<S> {
    pub(crate) fn new(service: S, tight: Tight, tls: Option<Tls>, shutdown: &Shutdown) -> Self {
        Self {
            usual: Arc::new(builder(HEADER_READ_TIMEOUT)),
            hurried: Arc::new(builder(HURRIED_HEADER_READ_TIMEOUT)),
            service,
            tight,
            tls,
            open: GracefulShutdown::new(),
            shutdown: Arc::new(shutdown.child()),
        }
    }

    /// Serves the connection in a task; `token` is dropped when it has ended.
    pub(crate) fn add(&self, stream: TcpStream, welcome: Welcome, token: impl Send + 'static) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the connection keeps Nagle's algorithm");
        }
        let (service, shutdown) = (self.service.clone(), Arc::clone(&self.shutdown));
        let crowded = welcome == Welcome::Crowded;
        let polite = service_fn(move |mut request: Request<Incoming>| {
            if crowded {
                request.extensions_mut().insert(Crowded);
            }
            let (answer, shutdown) = (service.call(request), Arc::clone(&shutdown));
            async move {
                let answer = answer.await?;
                let leaves = crowded || shutdown.has_begun();
                Ok::<_, Infallible>(if leaves { asked_to_leave(answer) } else { answer })
            }
        });
        let (builder, greeting) = match welcome {
            Welcome::Usual => (&self.usual, HEADER_READ_TIMEOUT),
            Welcome::Hurried | Welcome::Crowded => (&self.hurried, HURRIED_HEADER_READ_TIMEOUT),
        };
        let (builder, encryption, tight) = (Arc::clone(builder), self.tls.clone(), Arc::clone(&self.tight));
        // Counts as open from now on, whatever the client has yet to agree on.
        let watcher = self.open.watcher();
        tokio::spawn(async move {
            match tls::open(stream, encryption).await {
                Ok(channel) => {
                    let stream = Patient::new(channel, tight, greeting);
                    let connection = builder.serve_connection(TokioIo::new(stream), polite);
                    if let Err(error) = watcher.watch(connection.into_owned()).await {
                        tracing::debug!(error, "the connection ended early");
                    }
                }
                Err(error) => tracing::debug!(%error, "the client does not speak TLS as it should"),
            }
            drop(token);
        });
    }

    /// Lets the requests in progress end, and the clients leave.
    pub(crate) async fn drain(self, grace: Duration) -> Drained {
        let open = self.open.count();
        let leaving = LEAVING.min(grace / 2);
        let asked = Instant::now();
        while self.open.count() > 0 && asked.elapsed() < leaving {
            sleep(LEAVING_LOOK).await;
        }
        if timeout(grace.saturating_sub(asked.elapsed()), self.open.shutdown())
            .await
            .is_ok()
        {
            return Drained::Fully;
        }
        tracing::warn!(
            open_at_shutdown = open,
            "the grace period ended before all requests did"
        );
        Drained::Cut(open)
    }
}

fn builder(header_read_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_read_timeout)
        .max_buf_size(BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(header_read_timeout)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_SEND_BYTES);
    builder
}

/// HTTP/2 has a message of its own for this, and drops the header.
fn asked_to_leave(mut response: Response) -> Response {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}
