//! A small world: a folder with a store and a key ring, a clock that tests wind, an origin, an edge's client.

use antiphon_core::{AssetId, Clock, ObjectPath, Rendition, Scheme, UnixTime};
use antiphon_drm::keys::{ContentKey, FileKek, Keyring, epoch_at, epochs_needed};
use antiphon_origin::config::{Config, IngestConfig, StoreConfig};
use antiphon_origin::demo;
use antiphon_origin::ingest::{Ingest, Ingested, Random};
use antiphon_origin::records::SongRecord;
use antiphon_origin::store::Store;
use antiphon_origin::{Running, keys};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use object_store::ObjectStore;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

/// What edges of this world say.
pub const SECRET: &str = "a-secret-of-edges-and-origin";

/// The day on which tests begin.
pub const TODAY: UnixTime = UnixTime(1_790_000_000);

/// A clock that goes when it is told to.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub fn wind(&self, secs: u64) {
        self.0.fetch_add(secs, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::Relaxed))
    }
}

/// Folder, keys and clock of one test.
pub struct World {
    pub folder: TempDir,
    pub clock: TestClock,
    pub store: StoreConfig,
    random: Random,
}

impl World {
    /// A world with an empty local store. All worlds share masters; data keys differ.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store =
            StoreConfig { dir: folder.path().join("store"), read_ms: 20_000, ..StoreConfig::default() };
        let world =
            Self { folder, clock: TestClock(Arc::new(AtomicU64::new(TODAY.0))), store, random: chance() };
        fs::create_dir_all(world.scratch()).unwrap();
        fs::create_dir_all(world.keyring()).unwrap();
        fs::write(world.keyring().join("kek"), FileKek::file_text(&KEK).as_bytes()).unwrap();
        fs::write(world.folder.path().join("secret"), SECRET).unwrap();
        world.make_masters();
        world
    }

    /// The same with a store elsewhere.
    pub fn with_store(store: StoreConfig) -> Self {
        Self { store, ..Self::new() }
    }

    /// Writes a key ring with the masters that the present moment needs.
    pub fn make_masters(&self) {
        let sealed =
            masters(self.clock.now()).seal(&FileKek::from_bytes(&KEK), &mut |bytes| (self.random)(bytes));
        fs::write(self.keyring().join("keyring.json"), sealed.unwrap()).unwrap();
    }

    pub fn keyring(&self) -> PathBuf {
        self.folder.path().join("keyring")
    }

    /// Where an ingest works.
    pub fn scratch(&self) -> PathBuf {
        self.folder.path().join("scratch")
    }

    pub fn config(&self) -> Config {
        let mut config = Config {
            listen: loopback(),
            origin_secret_file: self.folder.path().join("secret"),
            keyring_dir: self.keyring(),
            store: self.store.clone(),
            ingest: self.ingest_config(),
            ..Config::default()
        };
        config.admin.listen = loopback();
        config
    }

    fn ingest_config(&self) -> IngestConfig {
        IngestConfig { scratch_dir: self.scratch(), ..IngestConfig::default() }
    }

    pub fn ingest(&self) -> Ingest {
        self.ingest_with(|_| ())
    }

    /// An ingest whose settings are changed.
    pub fn ingest_with(&self, change: impl FnOnce(&mut IngestConfig)) -> Ingest {
        let mut config = self.ingest_config();
        change(&mut config);
        self.ingest_into(Store::open(&self.store).unwrap(), config)
    }

    /// An ingest into some other store.
    pub fn ingest_over(&self, inner: Arc<dyn ObjectStore>) -> Ingest {
        self.ingest_into(Store::over(inner, &self.store), self.ingest_config())
    }

    fn ingest_into(&self, store: Store, config: IngestConfig) -> Ingest {
        let kek = Arc::new(keys::open_kek(&self.keyring()).unwrap());
        Ingest::new(store, kek, Arc::new(self.clock.clone()), Arc::clone(&self.random), config)
    }

    /// Takes in the first demo track.
    pub async fn with_demo(&self) -> SongRecord {
        let Ingested { record, .. } = self.ingest().demo(&demo::tracks()[0]).await.unwrap();
        record
    }

    pub async fn start(&self) -> Origin {
        self.start_with(|_| ()).await
    }

    pub async fn start_with(&self, change: impl FnOnce(&mut Config)) -> Origin {
        let mut config = self.config();
        change(&mut config);
        let running = antiphon_origin::start(config, Arc::new(self.clock.clone())).await.unwrap();
        Origin::new(running)
    }

    /// The object of a rendition in the present epoch.
    pub fn path(&self, asset: AssetId, rendition: Rendition) -> ObjectPath {
        let epoch = epoch_at(&asset, self.clock.now(), 0);
        ObjectPath { scheme: Scheme::Cenc, epoch, asset, rendition }
    }

    /// The key that a licence would give for it.
    pub fn key(&self, path: &ObjectPath) -> ContentKey {
        let ring = masters(self.clock.now());
        let (_, key) = ring.content_key(&path.asset, path.scheme, path.rendition, path.epoch).unwrap();
        key
    }

    /// Every file of the local store, by name, with its bytes.
    pub fn stored(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        collect(&self.store.dir, &self.store.dir, &mut found);
        found.sort();
        found
    }
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            found.push((path.strip_prefix(root).unwrap().display().to_string(), fs::read(&path).unwrap()));
        }
    }
}

const KEK: [u8; 32] = [42; 32];

/// The same masters in every world, of every epoch that `now` needs.
fn masters(now: UnixTime) -> Keyring {
    let mut ring = Keyring::new();
    for epoch in epochs_needed(now).start().0..=epochs_needed(now).end().0 {
        let epoch = antiphon_core::Epoch(epoch);
        let mut shard = 0_u8;
        let mut fill = |bytes: &mut [u8]| {
            bytes.fill(shard);
            bytes[..4].copy_from_slice(&epoch.0.to_be_bytes());
            shard = shard.wrapping_add(1);
        };
        ring.extend(epoch..=epoch, &mut fill).unwrap();
    }
    ring
}

/// Numbers that never come twice in a test run: what data keys and nonces need here.
fn chance() -> Random {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    Arc::new(|bytes: &mut [u8]| {
        bytes.fill(0x5a);
        bytes[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    })
}

pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// An origin that serves, and a client that knows its secret.
pub struct Origin {
    pub running: Running,
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Origin {
    fn new(running: Running) -> Self {
        Self { running, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// GET with the secret.
    pub async fn get(&self, path: impl ToString) -> Reply {
        self.ask(path, &[]).await
    }

    /// GET with the secret and further headers.
    pub async fn ask(&self, path: impl ToString, headers: &[(&str, &str)]) -> Reply {
        self.send(Method::GET, path, headers).await
    }

    pub async fn head(&self, path: impl ToString, headers: &[(&str, &str)]) -> Reply {
        self.send(Method::HEAD, path, headers).await
    }

    pub async fn send(&self, method: Method, path: impl ToString, headers: &[(&str, &str)]) -> Reply {
        let bearer = format!("Bearer {SECRET}");
        let headers = [&[(AUTHORIZATION.as_str(), bearer.as_str())], headers].concat();
        self.raw(method, path, &headers).await
    }

    /// A request with these headers only.
    pub async fn raw(&self, method: Method, path: impl ToString, headers: &[(&str, &str)]) -> Reply {
        read(self.client.request(request(self.running.address, method, path, headers)).await.unwrap())
            .await
            .unwrap()
    }

    /// An answer of the operators' listener.
    pub async fn admin(&self, path: &str) -> Reply {
        Self::ask_at(self.running.admin_address, path).await
    }

    /// A request to some address, by a client of its own.
    pub async fn ask_at(address: SocketAddr, path: &str) -> Reply {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        read(client.request(request(address, Method::GET, path, &[])).await.unwrap()).await.unwrap()
    }

    /// The value of a counter.
    pub async fn counter(&self, name: &str) -> f64 {
        let reply = self.admin("/metrics").await;
        let line = reply.text().lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }
}

pub fn request(
    address: SocketAddr,
    method: Method,
    path: impl ToString,
    headers: &[(&str, &str)],
) -> Request<Empty<Bytes>> {
    let mut builder = Request::builder().method(method).uri(format!("http://{address}{}", path.to_string()));
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Empty::new()).unwrap()
}

pub async fn read(response: http::Response<Incoming>) -> Result<Reply, hyper::Error> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Reply { status: head.status, headers: head.headers, body })
}
