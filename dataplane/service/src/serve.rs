//! An HTTP server that ends in good order.

use std::{io, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::Shutdown;

/// How long a client may take to send the head of a request; idle connections are closed by it too, so it is above
/// what load balancers keep theirs open for.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);

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
/// `grace` to end. Idle connections are closed at once.
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

async fn drain(connections: GracefulShutdown, grace: Duration) -> Drained {
    let open = connections.count();
    if timeout(grace, connections.shutdown()).await.is_ok() {
        return Drained::Fully;
    }
    tracing::warn!(
        open_at_shutdown = open,
        "the grace period ended before all requests did"
    );
    Drained::Cut(open)
}
