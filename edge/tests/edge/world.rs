//! A world for a test: an edge with certificate, keys and origin, all on loopback, all gone afterwards.

use crate::origin::FakeOrigin;
use antiphon_core::{Clock, UnixTime};
use antiphon_drm::token::{Grant, UrlKeys};
use antiphon_edge::Running;
use antiphon_edge::config::Config;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

pub const NOW: UnixTime = UnixTime(1_800_000_000);
pub const SECRET: &str = "the-origins-own-secret-0123456789";
/// 3.5 chunks.
pub const TRACK: &str = "/a/c/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/256.mp4";
/// 1,000 bytes.
pub const JINGLE: &str = "/a/c/692/00000000000000000000000000000001/64.mp4";
/// 0 bytes.
pub const EMPTY: &str = "/a/c/692/00000000000000000000000000000002/64.mp4";
/// The origin does not have it.
pub const MISSING: &str = "/a/c/692/00000000000000000000000000000003/64.mp4";

pub struct World {
    pub origin: FakeOrigin,
    pub edge: Running,
    pub keys: UrlKeys,
    pub certificate: CertificateDer<'static>,
    pub config: Config,
    pub files: TempDir,
}

/// How the origin is reached.
#[derive(Clone, Copy)]
enum Behind {
    Plain,
    Tls,
}

/// Bytes that differ everywhere.
pub fn song(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

pub fn track() -> Vec<u8> {
    song(256 * 1024 * 3 + 128 * 1024)
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(|| NOW)
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A world whose configuration was changed first.
    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::made(Behind::Plain, change).await
    }

    /// A world where origin and edge talk over TLS.
    pub async fn over_tls(change: impl FnOnce(&mut Config)) -> Self {
        Self::made(Behind::Tls, change).await
    }

    async fn made(behind: Behind, change: impl FnOnce(&mut Config)) -> Self {
        antiphon_edge::tls::install_provider();
        let objects = HashMap::from([
            (TRACK.to_owned(), track()),
            (JINGLE.to_owned(), song(1000)),
            (EMPTY.to_owned(), Vec::new()),
        ]);
        let files = TempDir::new().unwrap();
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = certified.cert.der().clone();
        let origin = match behind {
            Behind::Plain => FakeOrigin::holding(objects, None).await,
            Behind::Tls => {
                let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
                let tls = rustls::ServerConfig::builder()
                    .with_no_client_auth()
                    .with_single_cert(vec![certificate.clone()], key)
                    .unwrap();
                FakeOrigin::holding(objects, Some(TlsAcceptor::from(Arc::new(tls)))).await
            }
        };
        let keys = UrlKeys::generate("k1", [7; 32], NOW).unwrap();
        let file = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut config = Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            url_keys_file: file("url-keys.json", &keys.to_json()),
            ..Config::default()
        };
        config.cache.volumes.clear();
        config.tls.cert_file = file("cert.pem", &certified.cert.pem());
        config.tls.key_file = file("key.pem", &certified.signing_key.serialize_pem());
        config.upstream.url = match behind {
            Behind::Plain => format!("http://{}", origin.address),
            Behind::Tls => format!("https://localhost:{}", origin.address.port()),
        };
        config.upstream.ca_file = config.tls.cert_file.clone();
        config.upstream.secret_file = file("secret", SECRET);
        config.http3.socket_buffer_bytes = antiphon_core::ByteSize::kib(128);
        config.limits.drain_secs = 5;
        change(&mut config);
        let edge = antiphon_edge::start(config.clone(), clock()).await.unwrap();
        Self { origin, edge, keys, certificate, config, files }
    }

    pub fn address(&self) -> SocketAddr {
        self.edge.addresses()[0]
    }

    /// A token for `path`, good for an hour.
    pub fn token(&self, path: &str) -> String {
        let mut grant = Grant::until(NOW.plus(3600));
        grant.listener = Some("usr-9f2c".parse().unwrap());
        grant.session = Some("sess-01HZX".parse().unwrap());
        grant.sign(&self.keys, path, NOW).unwrap()
    }

    /// `path` with a token that opens it.
    pub fn signed(&self, path: &str) -> String {
        format!("{path}?st={}", self.token(path))
    }

    /// The same edge again, its memory empty.
    pub async fn restart(self) -> Self {
        let Self { origin, edge, keys, certificate, mut config, files } = self;
        config.listen = edge.addresses().to_vec();
        edge.stop().await;
        let edge = antiphon_edge::start(config.clone(), clock()).await.unwrap();
        Self { origin, edge, keys, certificate, config, files }
    }
}
