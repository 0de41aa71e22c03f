//! `origin.toml`: every key with its unit and what a wrong value costs.
//!
//! Promises
//! - A [`Config`] that passed [`Config::check`] has no value that would make the origin hang, starve or leak.
//! - `config/origin.toml` is [`antiphon_core::config::render`] of the defaults; a test compares.
//!
//! Does not know: command lines, the environment, what is in the files that keys name.

use antiphon_core::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Antiphon origin: packages and encrypts stored recordings for the edges. Relative paths start at the working
/// directory. Secrets are never in this file: keys that end in `_file` name files that hold them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where edges ask, as `address:port`; port 0 takes a free one. Listeners must not reach it. It speaks plain
    /// HTTP/1.1 and HTTP/2, and the edges' secret travels with every request: an address beyond loopback is
    /// refused unless `private_network` says that nobody else can read that network.
    pub listen: SocketAddr,
    /// Whether `listen` may be beyond loopback. True promises that the network between edges and origin is private
    /// or tunnelled; on a shared network whoever reads one packet may then read every recording.
    pub private_network: bool,
    /// File with the secret that edges send as `Authorization: Bearer <secret>`: one line, 16 characters or more.
    /// The same text goes to every edge. Without it nothing is served.
    pub origin_secret_file: PathBuf,
    /// Folder of the key ring: `kek` (64 hexadecimal digits, mode 0600) and `keyring.json` (epoch masters, sealed).
    /// Without a master of the present epoch every object answers 500.
    pub keyring_dir: PathBuf,
    /// Seconds a stopping origin waits for answers under way. Too short cuts songs, too long delays a restart.
    pub stop_secs: u32,
    /// Health, readiness and metrics, for operators and machines, never for listeners.
    pub admin: AdminConfig,
    /// Where recordings are kept.
    pub store: StoreConfig,
    /// Limits of serving.
    pub serve: ServeConfig,
    /// Taking in audio files (`antiphon ingest`).
    pub ingest: IngestConfig,
    /// What is written down.
    pub log: LogConfig,
}

/// `[admin]`: health, readiness and metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Where `/healthz`, `/readyz` and `/metrics` answer, as `address:port`. They tell no secret, but load and
    /// names of failures: keep it on loopback or a management network.
    pub listen: SocketAddr,
}

/// `[store]`: where recordings are kept, encrypted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `local` keeps objects in the folder `dir`, `s3` in a bucket of `[store.s3]`.
    pub kind: StoreKind,
    /// Folder of the local store; made when missing. Unused with `s3`.
    pub dir: PathBuf,
    /// Milliseconds to open a connection to a remote store, per try.
    pub connect_ms: u32,
    /// Milliseconds for one read of at most a few MiB, tries included. A song waits this long at worst before the
    /// edge hears 502.
    pub read_ms: u32,
    /// Milliseconds for one write, tries included. A 320 kbit/s rendition of an hour is 144 MB.
    pub write_ms: u32,
    /// Tries after the first. More than 3 multiplies the load on a store that is already ill.
    pub retries: u32,
    /// The bucket, when `kind` is `s3`.
    pub s3: S3Config,
}

/// What holds the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A folder of this host.
    Local,
    /// A bucket that speaks S3.
    S3,
}

/// `[store.s3]`: a bucket that speaks S3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct S3Config {
    /// Base URL of the service, such as `https://s3.eu-central-1.amazonaws.com`. `http://` is taken for loopback
    /// addresses only.
    pub endpoint: String,
    /// Region that requests are signed for.
    pub region: String,
    /// Name of the bucket. It must exist.
    pub bucket: String,
    /// Folder inside the bucket, without slashes at its ends; empty for the bucket's root.
    pub prefix: String,
    /// Identity of this origin at the store: it needs to get and put objects, and nothing else.
    pub access_key_id: String,
    /// File with the secret that belongs to `access_key_id`: one line.
    pub secret_access_key_file: PathBuf,
}

/// `[serve]`: limits of serving. Memory at worst is `concurrent_max` times 5 MiB, plus `index_cache_bytes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServeConfig {
    /// Answers with a body under way at once. The next one hears 503 with `Retry-After`.
    pub concurrent_max: u32,
    /// Connections open at once; further ones wait in the kernel's queue.
    pub connections_max: u32,
    /// Seconds told to whoever is refused by `concurrent_max`.
    pub retry_after_secs: u32,
    /// Milliseconds that a new connection has for its first request head. Bounds what a silent one costs.
    pub head_ms: u32,
    /// Seconds that an HTTP/1.1 connection may sit between two requests, the head of the later one included. Must
    /// be longer than the edges' `upstream.idle_secs`, or they reuse connections that are just being closed.
    pub idle_secs: u32,
    /// Milliseconds that a reader may take for the next 64 KiB before its answer is broken off. Too short breaks
    /// edges behind thin links, too long lets them hold `concurrent_max` places.
    pub slow_reader_ms: u32,
    /// Memory for sample indexes and opened headers: about 20 KiB a rendition of a song. A miss costs one or two
    /// small reads of the store.
    pub index_cache_bytes: ByteSize,
}

/// `[ingest]`: taking in audio files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IngestConfig {
    /// ffmpeg, as a path or a name to look up in `PATH`. Without it only ready AAC files in M4A are taken.
    pub ffmpeg: PathBuf,
    /// ffprobe, likewise.
    pub ffprobe: PathBuf,
    /// Largest file that is looked at. A copy of it lies in the scratch folder while it is worked on.
    pub source_bytes_max: ByteSize,
    /// Longest track, seconds. Taking in a track needs about 250 KB of memory for each of its seconds.
    pub track_secs_max: u32,
    /// Seconds that one run of ffmpeg may take. A file that takes longer is refused.
    pub child_secs_max: u32,
    /// Folder for scratch files, removed after each track; empty takes the system's.
    pub scratch_dir: PathBuf,
}

/// `[log]`: what is written to standard error, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What is worth a line, as `tracing` filter directives, e.g. "info" or "warn,antiphon_origin=debug".
    pub filter: String,
}

/// Why a configuration that parses is refused all the same.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// A secret would travel in the clear.
    #[error(
        "listen = \"{0}\" is beyond loopback: set private_network = true if nobody else can read that network"
    )]
    ListenBeyondLoopback(SocketAddr),
    /// A number outside what makes sense.
    #[error("{key} = {value} is not between {min} and {max}")]
    OutOfBounds {
        /// The key, with its table.
        key: &'static str,
        /// What the file says.
        value: u64,
        /// Least allowed.
        min: u64,
        /// Most allowed.
        max: u64,
    },
    /// A key that must not be empty.
    #[error("{key} is empty: {why}")]
    Empty {
        /// The key, with its table.
        key: &'static str,
        /// What it is for.
        why: &'static str,
    },
    /// Credentials or recordings would travel in the clear.
    #[error("store.s3.endpoint = \"{0}\" is neither https:// nor http:// to a loopback address")]
    EndpointInTheClear(String),
}

impl Config {
    /// Refuses values that parse and yet cannot be meant.
    pub fn check(&self) -> Result<(), CheckError> {
        if !self.listen.ip().is_loopback() && !self.private_network {
            return Err(CheckError::ListenBeyondLoopback(self.listen));
        }
        non_empty(
            "origin_secret_file",
            self.origin_secret_file.as_os_str().is_empty(),
            "edges prove themselves by it",
        )?;
        non_empty("keyring_dir", self.keyring_dir.as_os_str().is_empty(), "objects are encrypted by it")?;
        within("stop_secs", self.stop_secs, 0, 3600)?;
        within("serve.concurrent_max", self.serve.concurrent_max, 1, 65_536)?;
        within("serve.connections_max", self.serve.connections_max, 1, 1_000_000)?;
        within("serve.retry_after_secs", self.serve.retry_after_secs, 1, 3600)?;
        within("serve.head_ms", self.serve.head_ms, 100, 3_600_000)?;
        within("serve.idle_secs", self.serve.idle_secs, 1, 3600)?;
        within("serve.slow_reader_ms", self.serve.slow_reader_ms, 100, 3_600_000)?;
        self.store.check()?;
        self.ingest.check()
    }
}

impl StoreConfig {
    /// Refuses values that parse and yet cannot be meant.
    pub fn check(&self) -> Result<(), CheckError> {
        within("store.connect_ms", self.connect_ms, 10, 60_000)?;
        within("store.read_ms", self.read_ms, 10, 60_000)?;
        within("store.write_ms", self.write_ms, 100, 3_600_000)?;
        within("store.retries", self.retries, 0, 10)?;
        match self.kind {
            StoreKind::Local => {
                non_empty("store.dir", self.dir.as_os_str().is_empty(), "objects are kept there")
            }
            StoreKind::S3 => self.s3.check(),
        }
    }
}

impl S3Config {
    fn check(&self) -> Result<(), CheckError> {
        non_empty("store.s3.endpoint", self.endpoint.is_empty(), "it is the store's address")?;
        non_empty("store.s3.region", self.region.is_empty(), "requests are signed for it")?;
        non_empty("store.s3.bucket", self.bucket.is_empty(), "objects are kept there")?;
        non_empty("store.s3.access_key_id", self.access_key_id.is_empty(), "requests are signed with it")?;
        let key_file = &self.secret_access_key_file;
        non_empty(
            "store.s3.secret_access_key_file",
            key_file.as_os_str().is_empty(),
            "requests are signed with it",
        )?;
        if self.endpoint.starts_with("https://") || self.is_loopback() {
            return Ok(());
        }
        Err(CheckError::EndpointInTheClear(self.endpoint.clone()))
    }

    /// Whether the endpoint is plain HTTP to this host.
    pub(crate) fn is_loopback(&self) -> bool {
        self.endpoint
            .parse::<http::Uri>()
            .ok()
            .filter(|uri| uri.scheme_str() == Some("http"))
            .and_then(|uri| uri.host().map(|host| host.trim_matches(['[', ']']).to_owned()))
            .is_some_and(|host| {
                host == "localhost"
                    || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            })
    }
}

impl IngestConfig {
    /// Refuses values that parse and yet cannot be meant.
    pub fn check(&self) -> Result<(), CheckError> {
        within("ingest.track_secs_max", self.track_secs_max, 1, 86_400)?;
        within("ingest.child_secs_max", self.child_secs_max, 1, 86_400)?;
        non_empty("ingest.ffmpeg", self.ffmpeg.as_os_str().is_empty(), "it decodes and encodes")?;
        non_empty("ingest.ffprobe", self.ffprobe.as_os_str().is_empty(), "it looks into files")
    }
}

fn within(key: &'static str, value: u32, min: u64, max: u64) -> Result<(), CheckError> {
    let value = u64::from(value);
    (min..=max).contains(&value).then_some(()).ok_or(CheckError::OutOfBounds { key, value, min, max })
}

fn non_empty(key: &'static str, empty: bool, why: &'static str) -> Result<(), CheckError> {
    if empty { Err(CheckError::Empty { key, why }) } else { Ok(()) }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8280)),
            private_network: false,
            origin_secret_file: "antiphon-data/secrets/origin".into(),
            keyring_dir: "antiphon-data/keyring".into(),
            stop_secs: 10,
            admin: AdminConfig::default(),
            store: StoreConfig::default(),
            serve: ServeConfig::default(),
            ingest: IngestConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9280)) }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            kind: StoreKind::Local,
            dir: "antiphon-data/store".into(),
            connect_ms: 400,
            read_ms: 2500,
            write_ms: 60_000,
            retries: 2,
            s3: S3Config::default(),
        }
    }
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            region: "us-east-1".into(),
            bucket: String::new(),
            prefix: String::new(),
            access_key_id: String::new(),
            secret_access_key_file: PathBuf::new(),
        }
    }
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            concurrent_max: 128,
            connections_max: 1024,
            retry_after_secs: 1,
            head_ms: 10_000,
            idle_secs: 75,
            slow_reader_ms: 10_000,
            index_cache_bytes: ByteSize::mib(64),
        }
    }
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            ffmpeg: "ffmpeg".into(),
            ffprobe: "ffprobe".into(),
            source_bytes_max: ByteSize::mib(2048),
            track_secs_max: 3600,
            child_secs_max: 600,
            scratch_dir: PathBuf::new(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_says_exactly_what_the_code_defaults_to() {
        let shipped = include_str!("../../config/origin.toml");
        assert_eq!(shipped, antiphon_core::config::render(&Config::default()).unwrap());
        assert_eq!(antiphon_core::config::parse(shipped, "origin.toml"), Ok(Config::default()));
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn an_address_beyond_loopback_needs_a_promise() {
        let listen = "192.0.2.1:8280".parse().unwrap();
        let open = Config { listen, ..Config::default() };
        assert_eq!(open.check(), Err(CheckError::ListenBeyondLoopback(listen)));
        assert_eq!(Config { private_network: true, ..open }.check(), Ok(()));
    }

    #[test]
    fn limits_are_checked_where_they_end() {
        let with = |concurrent_max| {
            let serve = ServeConfig { concurrent_max, ..ServeConfig::default() };
            Config { serve, ..Config::default() }.check()
        };
        assert!(with(0).is_err() && with(65_537).is_err());
        assert_eq!((with(1), with(65_536)), (Ok(()), Ok(())));
    }

    #[test]
    fn an_endpoint_in_the_clear_is_taken_on_loopback_only() {
        let with = |endpoint: &str| {
            S3Config {
                endpoint: endpoint.into(),
                bucket: "audio".into(),
                access_key_id: "id".into(),
                secret_access_key_file: "file".into(),
                ..S3Config::default()
            }
            .check()
            .is_ok()
        };
        assert!(
            ["http://127.0.0.1:21000", "http://[::1]:1", "http://localhost:1", "https://s3.test"]
                .map(with)
                .iter()
                .all(|ok| *ok)
        );
        assert!(
            ["", "http://s3.test", "http://127.0.0.1.test", "ftp://127.0.0.1", "127.0.0.1:1"]
                .map(with)
                .iter()
                .all(|ok| !*ok)
        );
    }
}
