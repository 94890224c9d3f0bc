//! A network link that can be cut, silent or slow.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use super::free_port;

/// What a link reads at once.
const PACKET: usize = 64 << 10;

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    Flows,
    /// Every packet takes so long.
    Slow(Duration),
    /// Packets wait until the link is mended.
    Silent,
    /// There are no connections.
    Cut,
}

/// Carries connections to a server for as long as it is let; ends with the test.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    traffic: watch::Sender<Traffic>,
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
        let (traffic, state) = watch::channel(Traffic::Flows);
        tokio::spawn(carry_all(listener, server, state));
        Self { address, traffic }
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection; new ones are closed at once.
    pub fn cut(&self) {
        self.traffic.send_replace(Traffic::Cut);
    }

    /// Loses every packet, as it seems to both sides. What was sent arrives when the link is mended, for TCP sends it again.
    pub fn silence(&self) {
        self.traffic.send_replace(Traffic::Silent);
    }

    /// Lets every packet take so long.
    pub fn slow(&self, delay: Duration) {
        self.traffic.send_replace(Traffic::Slow(delay));
    }

    /// Carries everything again, at once.
    pub fn mend(&self) {
        self.traffic.send_replace(Traffic::Flows);
    }
}

async fn carry_all(listener: TcpListener, server: SocketAddr, state: watch::Receiver<Traffic>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry(client, server, state.clone()));
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<Traffic>) {
    if *state.borrow() == Traffic::Cut {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    tokio::select! {
        // Either side may end it.
        _ = carry_one_way(from_client, to_server, state.clone()) => {}
        _ = carry_one_way(from_server, to_client, state.clone()) => {}
        _ = state.wait_for(|traffic| *traffic == Traffic::Cut) => {}
    }
}

async fn carry_one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<Traffic>,
) -> io::Result<()> {
    let mut packet = vec![0; PACKET];
    loop {
        let length = from.read(&mut packet).await?;
        if length == 0 {
            return Ok(());
        }
        let traffic = state.wait_for(|traffic| *traffic != Traffic::Silent).await;
        let traffic = traffic.map_or(Traffic::Cut, |traffic| *traffic);
        if let Traffic::Slow(delay) = traffic {
            sleep(delay).await;
        }
        to.write_all(&packet[..length]).await?;
    }
}
