//! `edge.toml`: everything an operator decides about an edge.
//!
//! Promises
//! - Every key has its unit in its name and says what a wrong value costs; [`Config::check`] refuses values
//!   that cannot work, by key.
//! - `config/edge.toml` is printed from the defaults here; a test compares.
//!
//! Does not know: what the keys do.

use antiphon_cache::{CacheConfig, CacheConfigError};
use antiphon_core::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Antiphon edge: answers signed requests for encrypted music over HTTP/1.1, HTTP/2 and HTTP/3, from memory
/// where it can and from the origin where it must.
///
/// Printed by `antiphon-edge print-config`; check a changed file with `antiphon-edge check --config FILE`.
/// Relative file names are relative to the directory the process starts in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses that listeners reach: TCP for HTTP/1.1 and HTTP/2, UDP on the same port for HTTP/3. Port 0
    /// takes any free port. An address that another process holds stops the start.
    pub listen: Vec<SocketAddr>,
    /// Address of /healthz, /readyz, /metrics and /cache/volumes, plain HTTP. Keep it on loopback or a private
    /// network: it tells how busy this host is.
    pub admin_listen: SocketAddr,
    /// File with the secret that orders to volumes need (`antiphon cache tell`), one line. Empty takes orders
    /// from this host only, from anybody who is logged in here.
    pub admin_secret_file: PathBuf,
    /// The key ring that stream tokens are verified with, a JSON file from the control plane. Readable by
    /// this user only: whoever has it can sign.
    pub url_keys_file: PathBuf,
    /// Certificate and key.
    pub tls: TlsConfig,
    /// Where missing bytes come from.
    pub upstream: UpstreamConfig,
    /// Memory and disks for chunks.
    pub cache: CacheConfig,
    /// What one client may cost.
    pub limits: LimitsConfig,
    /// HTTP/3.
    pub http3: Http3Config,
    /// What is written where.
    pub log: LogConfig,
}

/// `[tls]`: TLS 1.3 for every protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Certificate chain, PEM, the host's own certificate first.
    pub cert_file: PathBuf,
    /// Private key of that certificate, PEM.
    pub key_file: PathBuf,
}

/// `[upstream]`: the origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// Base URL of the origin, `http://` or `https://`, host and port. Use plain http only on loopback or a
    /// private network: objects are encrypted, the shared secret is not.
    pub url: String,
    /// File with the secret that the origin knows us by, one line. A wrong one shows as `refused` in
    /// edge_upstream_fetches_total and 502 to listeners.
    pub secret_file: PathBuf,
    /// Certificates that an https origin is trusted by, PEM; needed for https, unused for http. The origin is
    /// ours, so the system's authorities have no say in it.
    pub ca_file: PathBuf,
    /// A connection that is not made within this time has failed. Too short gives up on a lossy path, too
    /// long makes listeners wait for a dead origin.
    pub connect_ms: u32,
    /// An answer that has not begun within this time has failed, and is asked for once more if time allows.
    pub first_byte_ms: u32,
    /// A body that brings nothing for this long has failed.
    pub stall_ms: u32,
    /// Requests to the origin at a time; more wait in line for `first_byte_ms`. Too few queue a busy evening,
    /// too many can push a struggling origin over.
    pub concurrency_max: u32,
    /// An idle connection to the origin is kept this long. Must be shorter than the origin's own limit, or
    /// requests race its closing (they are then made once more).
    pub idle_secs: u32,
}

/// `[limits]`: what one client may cost. Each is a bound on memory or time that a stranger can take from us.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections at a time, TCP and QUIC together; further ones are closed at once. About 40 to 120 KiB
    /// of memory each.
    pub connections_max: u32,
    /// Connections at a time from one IPv4 address or one IPv6 /64. Too low locks out listeners behind a
    /// shared address.
    pub connections_per_address_max: u32,
    /// A TLS handshake takes at most this long.
    pub handshake_ms: u32,
    /// A request's header must be complete this long after its first byte; slower ones get 408.
    pub header_ms: u32,
    /// A connection without a request is closed after this long. Longer saves handshakes on seeks and track
    /// changes, shorter saves memory.
    pub idle_secs: u32,
    /// A client that takes no byte for this long is disconnected.
    pub write_stall_secs: u32,
    /// A client that takes fewer bytes per second than this, measured over a chunk of 256 KiB, is
    /// disconnected. Music needs 8,000 at the lowest quality. 0 asks for nothing.
    pub write_bytes_per_sec_min: u32,
    /// Longest URL (path and query), bytes; longer ones get 414. Tokens take up to 1,100, CMCD up to 2,048.
    pub url_bytes_max: u32,
    /// Longest value of one header field, bytes; longer ones get 431.
    pub header_field_bytes_max: u32,
    /// Longest request header, bytes, request line included; longer ones get 431.
    pub header_bytes_max: u32,
    /// Request body that is read and thrown away, bytes. A GET has none; a longer one costs the connection.
    pub request_body_bytes_max: u32,
    /// Requests at a time on one HTTP/2 or HTTP/3 connection.
    pub streams_per_connection_max: u32,
    /// At a stop, answers under way may take this long to finish.
    pub drain_secs: u32,
}

/// `[http3]`: HTTP/3 over QUIC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http3Config {
    /// Whether HTTP/3 is spoken, and told to HTTP/1.1 and HTTP/2 clients by `Alt-Svc`.
    pub enabled: bool,
    /// How long a browser remembers that HTTP/3 is here. Keep it short while UDP may be blocked upstream.
    pub alt_svc_secs: u32,
    /// Receive and send buffer of the UDP socket, bytes. The kernel may grant less (net.core.rmem_max and
    /// wmem_max); too small shows as packet loss under load.
    pub socket_buffer_bytes: ByteSize,
    /// Unacknowledged bytes kept per connection. Larger is faster on long paths and costs that much memory
    /// for each slow listener.
    pub send_window_bytes: ByteSize,
    /// Handshakes in progress at a time; beyond a half of it clients must prove their address first.
    pub handshakes_max: u32,
}

/// `[log]`: the log goes to standard error, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What is worth a line, as `tracing` filter directives, e.g. "info" or "warn,antiphon_edge=debug".
    pub filter: String,
    /// Whether every request leaves a line (target `access`). Never with token, query or address.
    pub access: bool,
}

/// A value that cannot work.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub struct ValueError {
    /// The key, with its table.
    pub key: Cow<'static, str>,
    /// What is wrong with its value.
    pub what: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![
                SocketAddr::from(([127, 0, 0, 1], 8443)),
                SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 8443)),
            ],
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9180)),
            admin_secret_file: PathBuf::new(),
            url_keys_file: "antiphon-data/keyring/url-keys.json".into(),
            tls: TlsConfig::default(),
            upstream: UpstreamConfig::default(),
            cache: CacheConfig::shipped(),
            limits: LimitsConfig::default(),
            http3: Http3Config::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert_file: "antiphon-data/tls/server.pem".into(),
            key_file: "antiphon-data/tls/server.key".into(),
        }
    }
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8280".to_owned(),
            secret_file: "antiphon-data/secrets/origin".into(),
            ca_file: PathBuf::new(),
            connect_ms: 1_000,
            first_byte_ms: 3_000,
            stall_ms: 3_000,
            concurrency_max: 256,
            idle_secs: 50,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            connections_per_address_max: 512,
            handshake_ms: 10_000,
            header_ms: 10_000,
            idle_secs: 60,
            write_stall_secs: 30,
            write_bytes_per_sec_min: 2_000,
            url_bytes_max: 8_192,
            header_field_bytes_max: 8_192,
            header_bytes_max: 16_384,
            request_body_bytes_max: 16_384,
            streams_per_connection_max: 100,
            drain_secs: 20,
        }
    }
}

impl Default for Http3Config {
    fn default() -> Self {
        Self {
            enabled: true,
            alt_svc_secs: 86_400,
            socket_buffer_bytes: ByteSize::mib(4),
            send_window_bytes: ByteSize::mib(2),
            handshakes_max: 1_024,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), access: true }
    }
}

impl Config {
    /// Refuses values that parse but cannot work.
    pub fn check(&self) -> Result<(), ValueError> {
        let wrong = |key: &'static str, what: &str| {
            Err(ValueError { key: Cow::Borrowed(key), what: what.to_owned() })
        };
        if self.listen.is_empty() {
            return wrong("listen", "at least one address is needed");
        }
        let limits = &self.limits;
        for (key, value, least) in [
            ("limits.connections_max", limits.connections_max, 1),
            ("limits.connections_per_address_max", limits.connections_per_address_max, 1),
            ("limits.handshake_ms", limits.handshake_ms, 1),
            ("limits.header_ms", limits.header_ms, 1),
            ("limits.idle_secs", limits.idle_secs, 1),
            ("limits.write_stall_secs", limits.write_stall_secs, 1),
            ("limits.url_bytes_max", limits.url_bytes_max, 512),
            ("limits.header_field_bytes_max", limits.header_field_bytes_max, 512),
            ("limits.header_bytes_max", limits.header_bytes_max, 1_024),
            ("limits.streams_per_connection_max", limits.streams_per_connection_max, 1),
            ("http3.handshakes_max", self.http3.handshakes_max, 2),
            ("upstream.connect_ms", self.upstream.connect_ms, 1),
            ("upstream.first_byte_ms", self.upstream.first_byte_ms, 1),
            ("upstream.stall_ms", self.upstream.stall_ms, 1),
            ("upstream.concurrency_max", self.upstream.concurrency_max, 1),
        ] {
            if value < least {
                return wrong(key, &format!("{value} is too small, at least {least} is needed"));
            }
        }
        if limits.header_bytes_max < limits.url_bytes_max {
            return wrong("limits.header_bytes_max", "smaller than limits.url_bytes_max");
        }
        let origin = crate::upstream::Authority::parse(&self.upstream.url)
            .map_err(|what| ValueError { key: Cow::Borrowed("upstream.url"), what })?;
        if origin.is_tls() && self.upstream.ca_file.as_os_str().is_empty() {
            return wrong("upstream.ca_file", "an https origin needs it");
        }
        self.cache.check()?;
        Ok(())
    }
}

impl From<CacheConfigError> for ValueError {
    fn from(error: CacheConfigError) -> Self {
        Self { key: Cow::Owned(error.key), what: error.what }
    }
}

impl LimitsConfig {
    /// Time for a client to take one chunk.
    pub(crate) fn write_chunk(&self) -> Duration {
        let stall = Duration::from_secs(u64::from(self.write_stall_secs));
        match self.write_bytes_per_sec_min {
            0 => stall,
            rate => stall.max(Duration::from_secs(antiphon_core::CHUNK_LEN / u64::from(rate))),
        }
    }
}

/// `n` milliseconds.
pub(crate) fn millis(n: u32) -> Duration {
    Duration::from_millis(u64::from(n))
}

/// `n` seconds.
pub(crate) fn secs(n: u32) -> Duration {
    Duration::from_secs(u64::from(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_is_what_the_defaults_print() {
        let printed = antiphon_core::config::render(&Config::default()).unwrap();
        let shipped = include_str!("../../config/edge.toml");
        assert_eq!(printed, shipped, "print it anew: antiphon-edge print-config > config/edge.toml");
        assert_eq!(antiphon_core::config::parse::<Config>(shipped, "edge.toml"), Ok(Config::default()));
    }

    #[test]
    fn the_defaults_work_and_values_that_cannot_are_refused_by_key() {
        assert_eq!(Config::default().check(), Ok(()));
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().unwrap_err().key
        };
        assert_eq!(refused(|config| config.listen.clear()), "listen");
        assert_eq!(refused(|config| config.limits.connections_max = 0), "limits.connections_max");
        assert_eq!(refused(|config| config.limits.url_bytes_max = 511), "limits.url_bytes_max");
        assert_eq!(refused(|config| config.limits.header_bytes_max = 8_191), "limits.header_bytes_max");
        assert_eq!(refused(|config| config.upstream.url = "https://origin".into()), "upstream.ca_file");
        assert_eq!(refused(|config| config.upstream.url = "ftp://origin".into()), "upstream.url");
        assert_eq!(refused(|config| config.cache.max_detached_pct = 101), "cache.max_detached_pct");
    }

    #[test]
    fn a_misspelt_key_is_refused_with_a_suggestion() {
        let error =
            antiphon_core::config::parse::<Config>("[limits]\nidle_sec = 3\n", "edge.toml").unwrap_err();
        assert_eq!((error.line, error.hint.as_deref()), (2, Some("did you mean `idle_secs`?")));
    }
}
