//! One control plane, its origin, its keys, and a clock that the test winds.

use antiphon_control::{Config, Running, start, tls};
use antiphon_core::{AssetId, Epoch, ObjectPath, Rendition, Scheme, UnixTime};
use antiphon_drm::keys::{FileKek, KeyId, Keyring, epoch_at, epochs_needed};
use antiphon_drm::manifest::{RenditionLayout, TrackLayout};
use antiphon_drm::token::UrlKeys;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value as Json, json};
use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// When every test begins.
pub const BEGIN: UnixTime = UnixTime(1_800_000_000);
pub const OPERATOR_SECRET: &str = "the-operators-own-secret";
const ORIGIN_SECRET: &str = "the-origins-own-secret";

pub struct World {
    pub running: Running,
    pub origin: Arc<Origin>,
    /// Trusts the control plane's certificate.
    pub client: Client,
    pub keyring: Keyring,
    pub url_keys: UrlKeys,
    clock: Arc<AtomicU64>,
    folder: TempDir,
}

/// What the origin does when it is asked for a layout.
#[derive(Clone, Debug)]
pub enum Mood {
    Honest,
    Status(u16),
    Silent,
    Says(String),
}

pub struct Origin {
    mood: Mutex<Mood>,
    asked: AtomicUsize,
    strangers: AtomicUsize,
}

impl Origin {
    pub fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// How often it was asked with the right secret.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// How often it was asked without.
    pub fn strangers(&self) -> usize {
        self.strangers.load(Ordering::SeqCst)
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A world whose configuration differs.
    pub async fn with(edit: impl FnOnce(&mut Config)) -> Self {
        tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let (origin, origin_address) = serve_origin().await;
        let (keyring, url_keys) = write_keys(folder.path());
        let certificate = write_certificate(folder.path());
        let mut config = configuration(folder.path(), origin_address);
        edit(&mut config);
        let clock = Arc::new(AtomicU64::new(BEGIN.0));
        let running = start(config, told_by(&clock)).await.unwrap();
        let client = Client::builder().tls_certs_only([certificate]).no_proxy().build().unwrap();
        Self { running, origin, client, keyring, url_keys, clock, folder }
    }

    /// Stops, and starts again in the same folder.
    pub async fn restart(self) -> Self {
        let Self { running, origin, client, keyring, url_keys, clock, folder } = self;
        let mut config = configuration(folder.path(), "127.0.0.1:1".parse().unwrap());
        config.listen = running.addresses.clone();
        running.stop().await;
        let running = start(config, told_by(&clock)).await.unwrap();
        Self { running, origin, client, keyring, url_keys, clock, folder }
    }

    pub fn now(&self) -> UnixTime {
        UnixTime(self.clock.load(Ordering::SeqCst))
    }

    pub fn wind(&self, secs: u64) {
        self.clock.fetch_add(secs, Ordering::SeqCst);
    }

    pub fn wind_back(&self, secs: u64) {
        self.clock.fetch_sub(secs, Ordering::SeqCst);
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.running.addresses[0].port())
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub fn ask_admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.running.admin_address))
    }

    /// A bearer token for a demo listener.
    pub async fn log_in(&self, name: &str) -> String {
        let form = [("grant_type", "password"), ("username", name), ("password", "listen")];
        let answer = self.ask(Method::POST, "/oauth/token").form(&form).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json::<Json>().await.unwrap()["access_token"].as_str().unwrap().to_owned()
    }

    /// Adds the song of [`record`].
    pub async fn add_song(&self) {
        self.put(&record()).await;
    }

    pub async fn put(&self, record: &Json) {
        let path = format!("/admin/v1/songs/{}", record["song_id"].as_str().unwrap());
        let answer = self
            .ask_admin(Method::PUT, &path)
            .bearer_auth(OPERATOR_SECRET)
            .json(record)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    /// Asks to play the song of [`record`], which must be granted.
    pub async fn play(&self, access: &str, quality: &str) -> Json {
        let body = json!({"song_id": song_id(), "quality": quality, "device_id": "device_xyz"});
        let answer = self
            .ask(Method::POST, "/api/v1/stream/play")
            .bearer_auth(access)
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.unwrap()
    }

    pub async fn progress(&self, access: &str, body: &Json) -> Answer {
        let ask = self.ask(Method::POST, "/api/v1/stream/progress").bearer_auth(access).json(body);
        Answer::of(ask).await
    }

    pub async fn plays(&self) -> u64 {
        let path = format!("/admin/v1/songs/{}/plays", song_id());
        let answer = self.ask_admin(Method::GET, &path).bearer_auth(OPERATOR_SECRET).send().await.unwrap();
        answer.json::<Json>().await.unwrap()["plays"].as_u64().unwrap()
    }

    pub fn epoch(&self) -> Epoch {
        epoch_at(&asset(), self.now(), 0)
    }

    pub fn kid(&self, rendition: Rendition) -> KeyId {
        KeyId::derive(&asset(), Scheme::Cenc, rendition, self.epoch())
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(ask: RequestBuilder) -> Self {
        let answer = ask.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Self { status, headers, text: answer.text().await.unwrap() }
    }

    pub fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a refusal, which must be a whole problem document (RFC 9457).
    pub fn code(&self) -> String {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        problem["code"].as_str().unwrap().to_owned()
    }

    /// Status and code of a refusal.
    pub fn refusal(&self) -> (u16, String) {
        (self.status, self.code())
    }
}

/// A refusal, as `Answer::refusal` gives it.
pub fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

pub fn body_that_never_comes() -> reqwest::Body {
    let frames = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
    reqwest::Body::wrap(StreamBody::new(frames))
}

pub fn asset() -> AssetId {
    AssetId::from_bytes([5; 16])
}

pub fn song_id() -> &'static str {
    "song_0505050505050505"
}

/// A song record as ingest sends it.
pub fn record() -> Json {
    json!({
        "song_id": song_id(), "title": "Nocturne", "artist": "Nobody", "album": "Nights",
        "asset": asset().to_string(), "duration_ms": 36_786, "renditions": ["64", "128", "256", "320"],
        "loudness": {"integrated_lufs": -14.2, "true_peak_dbtp": -1.0},
        "gapless": {"timescale": 44_100, "priming": 1024, "play": 1_622_250},
        "source_sha256": "ab".repeat(32),
    })
}

/// The layout that an honest origin gives.
pub fn layout(asset: AssetId, epoch: Epoch) -> TrackLayout {
    let rendition = |rendition: Rendition| RenditionLayout {
        rendition,
        codecs: "mp4a.40.2".into(),
        channels: 2,
        kid: KeyId::derive(&asset, Scheme::Cenc, rendition, epoch),
        size: 1_000_000,
        init_end: 847,
        index_start: 848,
        index_end: 1251,
        bandwidth: u64::from(rendition.kbps()) * 1000,
        max_bandwidth: u64::from(rendition.kbps()) * 1100,
        path: ObjectPath { scheme: Scheme::Cenc, epoch, asset, rendition }.to_string(),
    };
    TrackLayout {
        asset,
        epoch,
        scheme: Scheme::Cenc,
        timescale: 44_100,
        priming: 1024,
        play: 1_622_250,
        duration_secs: 36.786,
        renditions: Rendition::AAC.into_iter().map(rendition).collect(),
    }
}

fn told_by(clock: &Arc<AtomicU64>) -> Arc<dyn antiphon_core::Clock> {
    let clock = Arc::clone(clock);
    Arc::new(move || UnixTime(clock.load(Ordering::SeqCst)))
}

/// Limits are wide here; tests of limits narrow them.
fn configuration(folder: &Path, origin: SocketAddr) -> Config {
    let mut config = Config {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        data_dir: folder.join("data"),
        keyring_dir: folder.join("keyring"),
        ..Config::default()
    };
    config.admin.listen = "127.0.0.1:0".parse().unwrap();
    config.tls.cert_file = folder.join("server.pem");
    config.tls.key_file = folder.join("server.key");
    config.admin.secret_file = folder.join("operator");
    config.origin.secret_file = folder.join("origin");
    config.origin.url = format!("http://{origin}");
    let limits = &mut config.limits;
    for rate in [
        &mut limits.address_per_sec,
        &mut limits.address_burst,
        &mut limits.login_per_sec,
        &mut limits.login_burst,
        &mut limits.listener_per_sec,
        &mut limits.listener_burst,
    ] {
        *rate = 100_000;
    }
    config
}

fn write_secret(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

fn write_keys(folder: &Path) -> (Keyring, UrlKeys) {
    fs::create_dir(folder.join("keyring")).unwrap();
    // Masters that differ, without a random source.
    let mut next = 0_u64;
    let mut fill = |bytes: &mut [u8]| {
        for part in bytes.chunks_mut(8) {
            next += 1;
            let len = part.len();
            part.copy_from_slice(&next.to_be_bytes()[8 - len..]);
        }
    };
    let mut keyring = Keyring::new();
    keyring.extend(epochs_needed(BEGIN), &mut fill).unwrap();
    let kek = FileKek::from_bytes(&[9; 32]);
    let sealed = keyring.seal(&kek, &mut fill).unwrap();
    let url_keys = UrlKeys::generate("k1", [4; 32], BEGIN).unwrap();
    write_secret(&folder.join("keyring/kek"), &FileKek::file_text(&[9; 32]));
    write_secret(&folder.join("keyring/keyring.json"), &sealed);
    write_secret(&folder.join("keyring/url-keys.json"), &url_keys.to_json());
    write_secret(&folder.join("operator"), &format!("{OPERATOR_SECRET}\n"));
    write_secret(&folder.join("origin"), &format!("{ORIGIN_SECRET}\n"));
    (keyring, url_keys)
}

fn write_certificate(folder: &Path) -> reqwest::Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    fs::write(folder.join("server.pem"), made.cert.pem()).unwrap();
    write_secret(&folder.join("server.key"), &made.signing_key.serialize_pem());
    reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()
}

async fn serve_origin() -> (Arc<Origin>, SocketAddr) {
    let origin = Arc::new(Origin {
        mood: Mutex::new(Mood::Honest),
        asked: AtomicUsize::new(0),
        strangers: AtomicUsize::new(0),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(answer_layout).with_state(Arc::clone(&origin));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (origin, address)
}

async fn answer_layout(State(origin): State<Arc<Origin>>, request: Request) -> Response {
    let bearer = format!("Bearer {ORIGIN_SECRET}");
    if request.headers().get(header::AUTHORIZATION).is_none_or(|value| value != bearer.as_str()) {
        origin.strangers.fetch_add(1, Ordering::SeqCst);
        return StatusCode::UNAUTHORIZED.into_response();
    }
    origin.asked.fetch_add(1, Ordering::SeqCst);
    let mood = origin.mood.lock().unwrap().clone();
    match mood {
        Mood::Honest => honest(request.uri().path()),
        Mood::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Mood::Silent => std::future::pending().await,
        Mood::Says(text) => text.into_response(),
    }
}

fn honest(path: &str) -> Response {
    let parts: Vec<&str> = path.split('/').collect();
    let ["", "layout", "c", epoch, file] = parts[..] else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let asset = file.strip_suffix(".json").unwrap().parse().unwrap();
    axum::Json(layout(asset, Epoch(epoch.parse().unwrap()))).into_response()
}
