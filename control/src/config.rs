//! `control.toml`: every key of the control plane, with what it costs to get it wrong.
//!
//! Promises
//! - `config/control.toml` is printed from the defaults here; a test compares.
//! - [`Config::check`] refuses what no single key can see: the demo listeners on a public address, a secret
//!   sent in the clear, a limit of zero.
//!
//! Does not know: how the values are used.

use antiphon_core::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Configuration of `antiphon-control`: the API that players ask who may hear what, and for which keys.
///
/// Secrets are named by file; a file holds one secret on one line and is readable by its owner only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses for players, HTTPS with TLS 1.3, HTTP/1.1 and HTTP/2. Browsers try `::1` for `localhost`
    /// first: without it the page works, 300 ms later.
    pub listen: Vec<SocketAddr>,
    /// How players reach this control plane: scheme and authority, no slash at the end. Manifests name the
    /// licence address by it; a wrong value gives songs that load and stay silent.
    pub public_url: String,
    /// How players reach the edge: scheme and authority, no slash at the end. Stream URLs start with it.
    pub edge_url: String,
    /// Folder for the database and the keys of our own tokens, made with mode 0700. Losing it logs every
    /// listener out and forgets catalogue and plays; the music itself is elsewhere.
    pub data_dir: PathBuf,
    /// Folder of the key ring, the same that the origin reads: `kek` (64 hexadecimal digits), `keyring.json`
    /// (epoch masters, sealed) and `url-keys.json` (keys that sign stream tokens, the same ring that the edges
    /// verify with). Other masters give keys that open nothing: players load and stay silent. Other URL keys
    /// give 403 on every stream. Read again every hour.
    pub keyring_dir: PathBuf,
    /// Seconds that requests in flight may take after a stop was asked for; then they are cut.
    pub stop_secs: u32,
    /// The certificate that players see.
    pub tls: TlsConfig,
    /// The operator's door: catalogue, plays, health, metrics.
    pub admin: AdminConfig,
    /// Where layouts of packaged tracks come from.
    pub origin: OriginConfig,
    /// Access tokens and entitlements to one play.
    pub tokens: TokenConfig,
    /// Accounts to try the product with.
    pub demo: DemoConfig,
    /// The SQLite database.
    pub database: DatabaseConfig,
    /// What one client may ask of us.
    pub limits: LimitConfig,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file with the certificate chain, the server's own certificate first.
    pub cert_file: PathBuf,
    /// PEM file with the private key of that certificate.
    pub key_file: PathBuf,
    /// Milliseconds for a TLS handshake. Too little refuses phones on bad links; too much lets silent
    /// clients hold connections.
    pub handshake_ms: u32,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address of the operator's listener: plain HTTP, so it must be a loopback address.
    pub listen: SocketAddr,
    /// File with the bearer secret that `/admin/` asks for. Health and metrics need none.
    pub secret_file: PathBuf,
}

/// `[origin]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OriginConfig {
    /// The origin's address, `http://` and authority. The secret below travels on this link, so it belongs
    /// on loopback or on a private network.
    pub url: String,
    /// File with the bearer secret that the origin asks for.
    pub secret_file: PathBuf,
    /// Milliseconds to reach the origin.
    pub connect_ms: u32,
    /// Milliseconds for a whole layout to arrive, connecting included. Players wait this long for a manifest
    /// when the origin hangs; after that they are told to come back.
    pub answer_ms: u32,
    /// Layouts kept in memory, about 2 KiB each.
    pub layouts_kept: u64,
    /// Seconds a layout is kept. A layout never changes, so this bounds memory, not correctness.
    pub layout_keep_secs: u32,
}

/// `[tokens]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenConfig {
    /// Seconds an access token lasts; a listener logs in again after it.
    pub access_secs: u32,
    /// Seconds a play may fetch media and ask for licences; a paused player asks to play again after it.
    pub play_secs: u32,
    /// Seconds by which the clocks of our own hosts may differ: a token is accepted this long before it
    /// begins and after it ends.
    pub leeway_secs: u32,
}

/// `[demo]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DemoConfig {
    /// Lets `free` and `premium` log in with the password `listen`. Only on loopback addresses: with a public
    /// one the configuration is refused.
    pub listeners: bool,
}

/// `[database]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// Connections that read side by side; writes take turns on one more.
    pub readers: u32,
    /// Milliseconds to wait for a connection or for the write lock before a request is told to come back.
    pub wait_ms: u32,
    /// Days that sessions of plays are kept; daily counts of plays are kept for ever.
    pub sessions_keep_days: u32,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitConfig {
    /// Largest request body. A play request has about 100 bytes.
    pub body_bytes: ByteSize,
    /// Milliseconds for a request body to arrive.
    pub body_ms: u32,
    /// Largest header section of a request.
    pub header_bytes: ByteSize,
    /// Milliseconds for a header section to arrive. A connection on which nothing is asked for this long, or
    /// whose client does not read an answer, is closed; browsers then pay a handshake more for the next request.
    pub header_ms: u32,
    /// Open connections of players, all together. Those above it wait in the kernel's queue.
    pub connections_max: u32,
    /// Open connections from one address (IPv6: from one /64 network); further ones are closed at once. Too
    /// low locks out listeners behind a shared address.
    pub connections_per_address_max: u32,
    /// Requests a second, in the long run, from one address (IPv6: from one /64 network).
    pub address_per_sec: u32,
    /// Requests that one address may send at once before the rate above holds.
    pub address_burst: u32,
    /// Log-ins a second, in the long run, from one address: what slows down the guessing of passwords.
    pub login_per_sec: u32,
    /// Log-ins that one address may try at once.
    pub login_burst: u32,
    /// Requests a second, in the long run, of one listener, from wherever they come.
    pub listener_per_sec: u32,
    /// Requests that one listener may send at once.
    pub listener_burst: u32,
}

/// Why a configuration that reads well cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct CheckError {
    /// The key to change, as `table.key`.
    pub key: &'static str,
    /// What is wrong with its value.
    pub why: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![loopback_v4(8480), SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 8480))],
            public_url: "https://localhost:8480".into(),
            edge_url: "https://localhost:8443".into(),
            data_dir: "antiphon-data/control".into(),
            keyring_dir: "antiphon-data/keyring".into(),
            stop_secs: 10,
            tls: TlsConfig::default(),
            admin: AdminConfig::default(),
            origin: OriginConfig::default(),
            tokens: TokenConfig::default(),
            demo: DemoConfig::default(),
            database: DatabaseConfig::default(),
            limits: LimitConfig::default(),
        }
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert_file: "antiphon-data/tls/server.pem".into(),
            key_file: "antiphon-data/tls/server.key".into(),
            handshake_ms: 5_000,
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: loopback_v4(9380), secret_file: "antiphon-data/secrets/control-admin".into() }
    }
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8280".into(),
            secret_file: "antiphon-data/secrets/origin".into(),
            connect_ms: 500,
            answer_ms: 3_000,
            layouts_kept: 10_000,
            layout_keep_secs: 3_600,
        }
    }
}

impl Default for TokenConfig {
    fn default() -> Self {
        Self { access_secs: 3_600, play_secs: 3_600, leeway_secs: 30 }
    }
}

impl Default for DemoConfig {
    fn default() -> Self {
        Self { listeners: true }
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { readers: 4, wait_ms: 2_000, sessions_keep_days: 90 }
    }
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            body_bytes: ByteSize::kib(16),
            body_ms: 5_000,
            header_bytes: ByteSize::kib(16),
            header_ms: 30_000,
            connections_max: 10_000,
            connections_per_address_max: 500,
            address_per_sec: 100,
            address_burst: 400,
            login_per_sec: 2,
            login_burst: 20,
            listener_per_sec: 20,
            listener_burst: 100,
        }
    }
}

impl Config {
    /// What cannot be seen from one key alone.
    pub fn check(&self) -> Result<(), CheckError> {
        let refuse = |key, why: &str| Err(CheckError { key, why: why.to_owned() });
        if self.listen.is_empty() {
            return refuse("listen", "at least one address");
        }
        if self.demo.listeners
            && let Some(open) = self.listen.iter().find(|address| !address.ip().is_loopback())
        {
            let why = format!(
                "the demo listeners have a known password, and listen has {open}, which is not loopback"
            );
            return Err(CheckError { key: "demo.listeners", why });
        }
        if !self.admin.listen.ip().is_loopback() {
            return refuse("admin.listen", "plain HTTP with a secret: a loopback address only");
        }
        for (key, url, schemes) in [
            ("public_url", &self.public_url, &["https"][..]),
            ("edge_url", &self.edge_url, &["https"][..]),
            ("origin.url", &self.origin.url, &["http"][..]),
        ] {
            check_base_url(key, url, schemes)?;
        }
        match self.zero() {
            Some(key) => refuse(key, "0 would refuse everybody: at least 1"),
            None => self.check_bounds(),
        }
    }

    /// The first key that must not be 0 and is.
    fn zero(&self) -> Option<&'static str> {
        let Self { tls, origin, tokens, database, limits, .. } = self;
        let values: [(&'static str, u64); 21] = [
            ("tls.handshake_ms", tls.handshake_ms.into()),
            ("origin.connect_ms", origin.connect_ms.into()),
            ("origin.answer_ms", origin.answer_ms.into()),
            ("origin.layouts_kept", origin.layouts_kept),
            ("origin.layout_keep_secs", origin.layout_keep_secs.into()),
            ("tokens.access_secs", tokens.access_secs.into()),
            ("tokens.play_secs", tokens.play_secs.into()),
            ("database.readers", database.readers.into()),
            ("database.wait_ms", database.wait_ms.into()),
            ("database.sessions_keep_days", database.sessions_keep_days.into()),
            ("limits.body_bytes", limits.body_bytes.0),
            ("limits.body_ms", limits.body_ms.into()),
            ("limits.header_ms", limits.header_ms.into()),
            ("limits.connections_max", limits.connections_max.into()),
            ("limits.connections_per_address_max", limits.connections_per_address_max.into()),
            ("limits.address_per_sec", limits.address_per_sec.into()),
            ("limits.address_burst", limits.address_burst.into()),
            ("limits.login_per_sec", limits.login_per_sec.into()),
            ("limits.login_burst", limits.login_burst.into()),
            ("limits.listener_per_sec", limits.listener_per_sec.into()),
            ("limits.listener_burst", limits.listener_burst.into()),
        ];
        values.into_iter().find(|(_, value)| *value == 0).map(|(key, _)| key)
    }

    fn check_bounds(&self) -> Result<(), CheckError> {
        let refuse = |key, why: String| Err(CheckError { key, why });
        if self.limits.body_bytes > BODY_BYTES_MAX {
            return refuse(
                "limits.body_bytes",
                format!("at most {BODY_BYTES_MAX}: bodies are held in memory"),
            );
        }
        if !(HEADER_BYTES_MIN..=HEADER_BYTES_MAX).contains(&self.limits.header_bytes) {
            let why =
                format!("{HEADER_BYTES_MIN} to {HEADER_BYTES_MAX}: a bearer token and cookies must fit");
            return refuse("limits.header_bytes", why);
        }
        if self.tokens.leeway_secs > LEEWAY_SECS_MAX {
            return refuse(
                "tokens.leeway_secs",
                format!("at most {LEEWAY_SECS_MAX}: run a time service instead"),
            );
        }
        if self.tokens.play_secs > PLAY_SECS_MAX {
            return refuse(
                "tokens.play_secs",
                format!("at most {PLAY_SECS_MAX}: a stream URL cannot be taken back"),
            );
        }
        if self.database.readers > READERS_MAX {
            return refuse("database.readers", format!("at most {READERS_MAX}"));
        }
        Ok(())
    }
}

/// Scheme and authority, nothing after it.
fn check_base_url(key: &'static str, url: &str, schemes: &[&str]) -> Result<(), CheckError> {
    let refuse = |why: String| Err(CheckError { key, why });
    let Ok(uri) = url.parse::<http::Uri>() else {
        return refuse(format!("{url:?} is no URL"));
    };
    if !uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme)) {
        return refuse(format!("starts with {}://", schemes.join(":// or ")));
    }
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if !plain || uri.path() != "/" || uri.query().is_some() || url.ends_with('/') {
        return refuse("scheme and authority only, such as https://localhost:8480".to_owned());
    }
    Ok(())
}

fn loopback_v4(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

const BODY_BYTES_MAX: ByteSize = ByteSize::mib(1);
const HEADER_BYTES_MIN: ByteSize = ByteSize::kib(8);
const HEADER_BYTES_MAX: ByteSize = ByteSize::kib(256);
const LEEWAY_SECS_MAX: u32 = 300;
const PLAY_SECS_MAX: u32 = 86_400;
const READERS_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use antiphon_core::config;

    #[test]
    fn the_shipped_file_says_exactly_what_the_code_defaults_to() {
        let shipped = include_str!("../../config/control.toml");
        assert_eq!(config::render(&Config::default()).unwrap(), shipped, "print-config writes it anew");
        assert_eq!(config::parse::<Config>(shipped, "control.toml").unwrap(), Config::default());
        assert_eq!(Config::default().check(), Ok(()));
    }

    fn refused(edit: impl FnOnce(&mut Config)) -> &'static str {
        let mut config = Config::default();
        edit(&mut config);
        config.check().unwrap_err().key
    }

    #[test]
    fn demo_listeners_stay_on_loopback() {
        let open = SocketAddr::from(([192, 0, 2, 1], 443));
        assert_eq!(refused(|config| config.listen.push(open)), "demo.listeners");
        let config =
            Config { listen: vec![open], demo: DemoConfig { listeners: false }, ..Config::default() };
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn a_secret_never_travels_in_the_clear_over_a_public_address() {
        assert_eq!(
            refused(|config| config.admin.listen = SocketAddr::from(([0, 0, 0, 0], 9380))),
            "admin.listen"
        );
    }

    #[test]
    fn an_address_for_players_is_scheme_and_authority() {
        for url in [
            "",
            "localhost:8480",
            "http://localhost:8480",
            "https://localhost:8480/",
            "https://a/b",
            "https://u@a",
        ] {
            assert_eq!(refused(|config| config.public_url = url.into()), "public_url", "{url:?}");
            assert_eq!(refused(|config| config.edge_url = url.into()), "edge_url", "{url:?}");
        }
        assert_eq!(refused(|config| config.origin.url = "https://origin".into()), "origin.url");
    }

    #[test]
    fn limits_are_checked_at_their_edges() {
        assert_eq!(refused(|config| config.limits.login_burst = 0), "limits.login_burst");
        assert_eq!(
            refused(|config| config.limits.body_bytes = ByteSize(BODY_BYTES_MAX.0 + 1)),
            "limits.body_bytes"
        );
        assert_eq!(
            refused(|config| config.limits.header_bytes = ByteSize(HEADER_BYTES_MIN.0 - 1)),
            "limits.header_bytes"
        );
        assert_eq!(refused(|config| config.tokens.play_secs = PLAY_SECS_MAX + 1), "tokens.play_secs");
        assert_eq!(refused(|config| config.listen.clear()), "listen");
        let mut most = Config::default();
        most.limits.body_bytes = BODY_BYTES_MAX;
        most.limits.header_bytes = HEADER_BYTES_MIN;
        most.tokens.play_secs = PLAY_SECS_MAX;
        most.tokens.leeway_secs = LEEWAY_SECS_MAX;
        assert_eq!(most.check(), Ok(()));
    }
}
