//! An HTTP server that ends in good order.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::service::TowerToHyperService;
use tokio::{
    net::{TcpListener, TcpSocket},
    time::sleep,
};

use crate::{
    Shutdown,
    connections::{Connections, Drained, Welcome},
};

/// How long to wait after the operating system refused a connection for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections to a server that only clusters ask: a handful, and nobody else's affair.
const MOST_OPEN: usize = 256;
/// Bytes that the kernel holds for a client that does not read; it takes twice as much for its own bookkeeping. They
/// count as the pod's memory. Linux would go up to 4 MiB for each.
const SEND_BUFFER: u32 = 128 << 10;
/// Connections that the kernel accepts before we do.
const BACKLOG: u32 = 1024;

/// Opens a port whose connections hold little in the kernel.
///
/// # Errors
/// When the address is taken, or not of this machine.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Those that are accepted inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves HTTP/1.1 and HTTP/2 until the shutdown begins; then no connection is accepted, and requests in progress have
/// `grace` to end. Clients that keep their connections are asked to leave by the next answer: a connection that was closed
/// under them could swallow a request that is on its way. Only those that stay idle are closed.
pub async fn serve(listener: TcpListener, router: Router, shutdown: &Shutdown, grace: Duration) -> Drained {
    let connections = Connections::new(
        TowerToHyperService::new(router),
        Arc::new(|| false),
        None,
        shutdown,
    );
    let open = Arc::new(());
    while let Some(accepted) = shutdown.or(listener.accept()).await {
        match accepted {
            Ok(_) if Arc::strong_count(&open) > MOST_OPEN => {}
            Ok((stream, _)) => connections.add(stream, Welcome::Hurried, Arc::clone(&open)),
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
