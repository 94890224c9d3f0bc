//! Clients that take their time: they send requests that never end, or ask and never read.

use std::{io, net::SocketAddr, time::Duration};

use futures::{StreamExt, stream};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Bytes that a reader's socket takes before its peer has to wait: the least that Linux grants.
const RECEIVE_BUFFER: u32 = 4 << 10;
/// How long a part of a request may take to be sent: the server may have stopped reading.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that are opened at the same time.
const AT_ONCE: usize = 32;

/// What a slow client does.
#[derive(Clone, Debug)]
pub enum Slowness {
    /// Sends the head of a write of so many bytes and all of the body but its last byte.
    EndlessBody(usize),
    /// Sends only a part of the head of a request.
    EndlessHead,
    /// Asks for this path again and again, and reads none of the answers.
    Unread(String),
}

/// Connections of slow clients. They end when this is dropped.
#[derive(Debug)]
pub struct SlowClients(Vec<TcpStream>);

impl SlowClients {
    /// Opens a connection for each of these. Those that the server refuses or cuts meanwhile are as welcome.
    pub async fn start(address: &str, all: impl IntoIterator<Item = Slowness>) -> Self {
        let address: SocketAddr = address
            .parse()
            .unwrap_or_else(|error| panic!("{address} is no address: {error}"));
        let opened = stream::iter(all).map(|slowness| open(address, slowness));
        let streams = opened.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        Self(streams.into_iter().flatten().collect())
    }

    /// How many could connect.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none could.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

async fn open(address: SocketAddr, slowness: Slowness) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let mut stream = socket.connect(address).await?;
    // A server that stops listening to a slow client has done what it should.
    let _told = timeout(PATIENCE, stream.write_all(&slowness.request())).await;
    Ok(stream)
}

impl Slowness {
    fn request(&self) -> Vec<u8> {
        match self {
            Self::EndlessHead => b"GET /v1/cache/slow HTTP/1.1\r\nHost: api\r\nX-Slow: ".to_vec(),
            Self::EndlessBody(bytes) => {
                let head = format!(
                    "PUT /v1/cache/slow HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n"
                );
                let body = format!("{{\"value\":\"{}", "s".repeat(bytes.saturating_sub(11)));
                [head, body].concat().into_bytes()
            }
            Self::Unread(path) => format!("GET {path} HTTP/1.1\r\nHost: api\r\n\r\n").into_bytes(),
        }
    }
}
