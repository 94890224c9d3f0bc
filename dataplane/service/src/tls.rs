//! TLS of the HTTP server, by a certificate that may be renewed while it serves.

use std::{
    fmt, io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    Shutdown,
    mounted::{Files, MountError, follow},
};

/// The certificate, with those that lead to its root: the key of a Secret of type `kubernetes.io/tls`.
const CERTIFICATE: &str = "tls.crt";
/// Its private key.
const KEY: &str = "tls.key";

/// How long a client may take to agree on keys. Shorter than a shutdown waits for connections, as this is not cut by it.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What a server needs to speak TLS. 1.2 and 1.3, HTTP/2 and HTTP/1.1.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads `tls.crt` and `tls.key` in the folder, both PEM, and reads them again when they change: connections that come
    /// after that see the new certificate.
    ///
    /// # Errors
    /// When they cannot be used now.
    pub fn follow(folder: &Path, shutdown: &Shutdown) -> Result<Self, MountError> {
        let current = follow(folder, shutdown, certified)?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Current(current)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// What is wrong with a certificate or its key. The key itself is in no message.
#[derive(Debug, thiserror::Error)]
enum CertificateError {
    #[error("there is no {0}")]
    Missing(&'static str),
    #[error("{0} is not PEM: {1}")]
    Pem(&'static str, pem::Error),
    #[error("{CERTIFICATE} has no certificate in it")]
    Empty,
    #[error("{CERTIFICATE} and {KEY} cannot be used together: {0}")]
    Unusable(rustls::Error),
}

fn certified(files: &Files) -> Result<CertifiedKey, CertificateError> {
    let file = |name| files.get(name).ok_or(CertificateError::Missing(name));
    let chain = CertificateDer::pem_slice_iter(file(CERTIFICATE)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CertificateError::Pem(CERTIFICATE, error))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty);
    }
    let key = PrivateKeyDer::from_pem_slice(file(KEY)?).map_err(|error| CertificateError::Pem(KEY, error))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(CertificateError::Unusable)
}

/// The certificate as it is now.
struct Current(Arc<ArcSwap<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current(hidden)")
    }
}

/// An accepted connection, with or without TLS. Not a type parameter: the whole of HTTP would be compiled twice.
pub(crate) enum Channel {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Channel {
    /// Agrees with the client on how to speak.
    pub(crate) async fn open(stream: TcpStream, tls: Option<Tls>) -> io::Result<Self> {
        let Some(Tls(acceptor)) = tls else {
            return Ok(Self::Plain(stream));
        };
        let agreed = timeout(HANDSHAKE, acceptor.accept(stream)).await??;
        Ok(Self::Tls(Box::new(agreed)))
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
