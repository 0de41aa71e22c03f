//! The certificate and the terms of a handshake. The one file that says `rustls`.
//!
//! Promises
//! - TLS 1.3 only, aws-lc-rs only.
//! - A certificate and a key that do not belong together, or do not parse, are refused by file name.
//!
//! Does not know: sockets, HTTP.

use crate::config::TlsConfig;
use rustls::crypto::aws_lc_rs;
use rustls::{ServerConfig, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

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

/// Reads certificate chain and key.
pub fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, TlsError> {
    let chain = certificates(&config.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&config.key_file)
        .map_err(|cause| TlsError::Key { file: config.key_file.clone(), cause })?;
    let terms = terms(chain, key).map_err(|cause| TlsError::Pair {
        cert: config.cert_file.clone(),
        key: config.key_file.clone(),
        cause,
    })?;
    Ok(TlsAcceptor::from(Arc::new(terms)))
}

/// Makes aws-lc-rs the provider of the whole process: with `ring` in the tree too, rustls panics without a
/// choice. Call it first in every `main` and test.
pub fn install_provider() {
    // An error means that one is installed already, which is all we ask.
    let _ = aws_lc_rs::default_provider().install_default();
}

fn terms(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = [&b"h2"[..], b"http/1.1"].map(<[u8]>::to_vec).to_vec();
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |cause| TlsError::Certificates { file: file.to_owned(), cause };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(file).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    match chain.is_empty() {
        true => Err(TlsError::NoCertificate { file: file.to_owned() }),
        false => Ok(chain),
    }
}
