//! TLS of the HTTP server, by a certificate that may be renewed while it serves.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::either::Either;

use crate::{
    Shutdown,
    mounted::{Files, Mount, MountError},
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
        let current = Mount::at(folder).follow(shutdown, certified)?;
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

/// An accepted connection, without or with TLS. Not a type parameter: the whole of HTTP would be compiled twice.
pub(crate) type Channel = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Agrees with the client on how to speak.
pub(crate) async fn open(stream: TcpStream, tls: Option<Tls>) -> io::Result<Channel> {
    let Some(Tls(acceptor)) = tls else {
        return Ok(Either::Left(stream));
    };
    let agreed = timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    Ok(Either::Right(Box::new(agreed)))
}
