//! A network link that can be cut.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::free_port;

/// Carries connections to a server until it is cut; ends with the test.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Link {
    /// A link to this address.
    ///
    /// # Panics
    /// When nothing can listen on loopback.
    pub async fn to(server: SocketAddr) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let listener = TcpListener::bind(address).await;
        let listener = listener.unwrap_or_else(|error| panic!("a link on {address}: {error}"));
        let (open, state) = watch::channel(true);
        tokio::spawn(carry_all(listener, server, state));
        Self { address, open }
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection; new ones are closed at once.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Carries new connections again.
    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn carry_all(listener: TcpListener, server: SocketAddr, state: watch::Receiver<bool>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry(client, server, state.clone()));
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<bool>) {
    if !*state.borrow() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    tokio::select! {
        // Either side may end it.
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = state.wait_for(|open| !open) => {}
    }
}
