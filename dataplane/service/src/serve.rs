//! An HTTP server that ends in good order.

use std::{io, time::Duration};

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::{net::TcpListener, time::sleep};

use crate::{
    Shutdown,
    connections::{Connections, Drained},
};

/// How long to wait after the operating system refused a connection for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 and HTTP/2 until the shutdown begins; then no connection is accepted, and requests in progress have
/// `grace` to end. Clients that keep their connections are asked to leave by the next answer: a connection that was closed
/// under them could swallow a request that is on its way. Only those that stay idle are closed.
pub async fn serve(listener: TcpListener, router: Router, shutdown: &Shutdown, grace: Duration) -> Drained {
    let connections = Connections::new(TowerToHyperService::new(router), shutdown);
    while let Some(accepted) = shutdown.or(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => connections.add(stream, ()),
            Err(error) => pause_after(&error).await,
        }
    }
    drop(listener);
    connections.drain(grace).await
}

/// A client that left before it was accepted is no trouble; anything else (most likely no file descriptors) is, and
/// accepting at once again would spin.
pub(crate) async fn pause_after(error: &io::Error) {
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
