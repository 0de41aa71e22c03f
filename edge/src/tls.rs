//! Certificates and the terms of every handshake. The one room that says `rustls`.
//!
//! Promises
//! - TLS 1.3 only, aws-lc-rs only, AES-128-GCM first whatever the client prefers: every CPU here has AES.
//! - Two sets of terms: TCP (`h2`, `http/1.1`, stateless tickets) and QUIC (`h3`, stateful resumption, which is
//!   what early data needs).
//! - A certificate and a key that do not belong together, or do not parse, are refused by file name.
//!
//! Does not know: sockets, HTTP.

mod records;
mod seal;

pub use records::Records;

use ::aws_lc_rs::aead;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ServerSessionMemoryCache;
use rustls::{ServerConfig, SupportedCipherSuite, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::net::TcpStream;

/// A TLS connection over TCP.
pub type TlsTcp = Records<TcpStream>;

/// The terms of TLS over TCP and of QUIC.
#[derive(Clone)]
pub struct Terms {
    /// For the TCP front.
    pub tcp: Arc<ServerConfig>,
    /// For the H3 front: wrap it in quinn's `QuicServerConfig`.
    pub quic: Arc<ServerConfig>,
}

/// Why no handshake is possible with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("read certificates from {}", file.display())]
    Certificates {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: rustls_pki_types::pem::Error,
    },
    /// There is no certificate in the file.
    #[error("{} holds no certificate", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// The key file cannot be read as PEM, or holds no key.
    #[error("read the private key from {}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not fit each other, or this TLS stack.
    #[error("use the certificate in {} with the key in {}", cert.display(), key.display())]
    Pair {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// Why not.
        #[source]
        cause: rustls::Error,
    },
}

static AES_128: LazyLock<SupportedCipherSuite> =
    LazyLock::new(|| seal::out_of_place(cipher_suite::TLS13_AES_128_GCM_SHA256, &aead::AES_128_GCM));
static AES_256: LazyLock<SupportedCipherSuite> =
    LazyLock::new(|| seal::out_of_place(cipher_suite::TLS13_AES_256_GCM_SHA384, &aead::AES_256_GCM));
/// Sessions kept for QUIC resumption; each takes a few hundred bytes.
const QUIC_SESSIONS_MAX: usize = 32 * 1024;

impl Terms {
    /// Reads certificate chain and key.
    pub fn load(cert_file: &Path, key_file: &Path) -> Result<Self, TlsError> {
        let certs = certificates(cert_file)?;
        let key = PrivateKeyDer::from_pem_file(key_file)
            .map_err(|cause| TlsError::Key { file: key_file.to_owned(), cause })?;
        let config = |alpn: &[&[u8]]| {
            let mut config = server_config(certs.clone(), key.clone_key())?;
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            Ok::<_, rustls::Error>(config)
        };
        let pair = |cause| TlsError::Pair { cert: cert_file.to_owned(), key: key_file.to_owned(), cause };
        let mut tcp = config(&[b"h2", b"http/1.1"]).map_err(pair)?;
        tcp.ticketer = aws_lc_rs::Ticketer::new().map_err(pair)?;
        let mut quic = config(&[b"h3"]).map_err(pair)?;
        // A ticketer would switch early data off silently: rustls needs stateful sessions for it. QUIC allows
        // no other value than all or nothing (RFC 9001 §4.6.1).
        quic.session_storage = ServerSessionMemoryCache::new(QUIC_SESSIONS_MAX);
        quic.max_early_data_size = u32::MAX;
        Ok(Self { tcp: Arc::new(tcp), quic: Arc::new(quic) })
    }

    /// Accepts a TLS connection over TCP; `None` if the client cannot, or takes longer than `limit`.
    pub async fn accept(&self, tcp: TcpStream, limit: Duration) -> Option<TlsTcp> {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&self.tcp));
        tokio::time::timeout(limit, acceptor.accept(tcp)).await.ok()?.ok().map(Records::new)
    }
}

/// Whether a client chose HTTP/2.
pub fn chose_h2(stream: &TlsTcp) -> bool {
    stream.get_ref().get_ref().1.alpn_protocol() == Some(b"h2")
}

/// The certificates of a PEM file, at least one.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |cause| TlsError::Certificates { file: file.to_owned(), cause };
    let certs: Vec<_> =
        CertificateDer::pem_file_iter(file).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if certs.is_empty() {
        return Err(TlsError::NoCertificate { file: file.to_owned() });
    }
    Ok(certs)
}

fn server_config(
    certs: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(certs, key)?;
    config.ignore_client_order = true;
    Ok(config)
}

/// aws-lc-rs with its TLS 1.3 suites, AES-128-GCM first.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![*AES_128, *AES_256, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
        ..aws_lc_rs::default_provider()
    }
}

/// Makes aws-lc-rs the provider of the whole process: with `ring` in the tree too, rustls panics without a
/// choice. Call it first in every `main` and test.
pub fn install_provider() {
    // An error means that one is installed already, which is all we ask.
    let _ = aws_lc_rs::default_provider().install_default();
}
