//! An HTTP server that ends in good order.

use std::{io, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, header::CONNECTION},
    middleware::map_response_with_state,
    response::Response,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

use crate::Shutdown;

/// How long a client may take to send the head of a request; idle connections are closed by it too, so it is above
/// what load balancers keep theirs open for.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);

/// How long connections may go on to be used after the shutdown began, so that their clients can be asked to leave.
const LEAVING: Duration = Duration::from_secs(2);
const LEAVING_LOOK: Duration = Duration::from_millis(20);

/// How long to wait after the operating system refused a connection for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request in progress was answered.
    Fully,
    /// The grace period ended first; this many connections were open when it began.
    Cut(usize),
}

/// Serves HTTP/1.1 and HTTP/2 until the shutdown begins; then no connection is accepted, and requests in progress have
/// `grace` to end. Clients that keep their connections are asked to leave by the next answer: a connection that was closed
/// under them could swallow a request that is on its way. Only those that stay idle are closed.
pub async fn serve(listener: TcpListener, router: Router, shutdown: &Shutdown, grace: Duration) -> Drained {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADER_READ_TIMEOUT);
    let connections = GracefulShutdown::new();
    let router = router.layer(map_response_with_state(shutdown.clone(), ask_to_leave));
    while let Some(accepted) = shutdown.or(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => spawn_connection(stream, &builder, &connections, router.clone()),
            Err(error) => pause_after(&error).await,
        }
    }
    drop(listener);
    drain(connections, grace).await
}

fn spawn_connection(
    stream: TcpStream,
    builder: &Builder<TokioExecutor>,
    connections: &GracefulShutdown,
    router: Router,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection keeps Nagle's algorithm");
    }
    let service = TowerToHyperService::new(router);
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    let watched = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(error, "the connection ended early");
        }
    });
}

/// A client that left before it was accepted is no trouble; anything else (most likely no file descriptors) is, and
/// accepting at once again would spin.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        return;
    }
    tracing::error!(%error, "cannot accept connections");
    sleep(ACCEPT_PAUSE).await;
}

/// HTTP/2 has a message of its own for this, and drops the header.
async fn ask_to_leave(State(shutdown): State<Shutdown>, mut response: Response) -> Response {
    if shutdown.has_begun() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

async fn drain(connections: GracefulShutdown, grace: Duration) -> Drained {
    let open = connections.count();
    let leaving = LEAVING.min(grace / 2);
    let asked = Instant::now();
    while connections.count() > 0 && asked.elapsed() < leaving {
        sleep(LEAVING_LOOK).await;
    }
    if timeout(grace.saturating_sub(asked.elapsed()), connections.shutdown())
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
