//! The edge: signed requests in, encrypted bytes out, from the nearest tier that has them.
//!
//! `request -> decide -> deliver -> reply` is one delivery core, free of any protocol ([`serve::Edge`]);
//! thin fronts ask it ([`front`]).
//!
//! Promises
//! - A token is verified, and a path's grammar checked, before any cache or upstream work.
//! - A token never reaches a cache key, the upstream, a log, a metric or an error text.
//! - A client's fault is a 4xx in bounded time: never a panic, a hang or a 5xx.
//!
//! Does not know: content keys, what is inside an object, who the listener is beyond a pseudonym.

pub mod account;
pub mod admin;
pub mod conditions;
pub mod config;
pub mod decide;
pub mod deliver;
pub mod front;
pub mod limits;
pub mod metrics;
pub mod reply;
pub mod request;
pub mod serve;
pub mod tls;
pub mod upstream;
pub mod verdict;

use antiphon_cache::disk::health::{Cause, State};
use antiphon_cache::disk::set::{DiskEvent, Disks};
use antiphon_cache::{CacheConfig, MapMemoryError, RangeCache};
use antiphon_core::secret::SecretError;
use antiphon_core::{Clock, Secret};
use antiphon_drm::token::{UrlKeys, UrlKeysError};
use config::{Config, ValueError, secs};
use front::bind::{Sockets, UdpBuffers};
use front::h3::{H3Error, H3Front};
use front::tcp::TcpFront;
use http::HeaderValue;
use limits::Connections;
use metrics::Metrics;
use parking_lot::Mutex;
use serve::Edge;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An edge that answers. Dropping it without [`Running::stop`] leaves it running until the runtime ends.
pub struct Running {
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
    edge: Arc<Edge>,
    url_keys_file: PathBuf,
    /// As it is applied.
    cache_config: Mutex<CacheConfig>,
    drain: Duration,
    stopping: watch::Sender<bool>,
    /// Public listeners and connections.
    tasks: TaskTracker,
    /// Ends what has not ended by itself.
    kill: CancellationToken,
    /// The admin listener, which goes last.
    admin_tasks: TaskTracker,
    admin_end: CancellationToken,
}

/// Why an edge did not start. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value in the configuration cannot work.
    #[error(transparent)]
    Config(#[from] ValueError),
    /// A file that the configuration names cannot be read.
    #[error("read {key} {}", file.display())]
    Read {
        /// The key that names it.
        key: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The key ring is none.
    #[error("use the token keys in {}", file.display())]
    UrlKeys {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: UrlKeysError,
    },
    /// The origin's secret is none.
    #[error("use the secret in {}", file.display())]
    Secret {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: SecretError,
    },
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The origin cannot be asked.
    #[error(transparent)]
    Upstream(#[from] upstream::OriginError),
    /// The cache cannot be opened.
    #[error(transparent)]
    Cache(#[from] antiphon_cache::OpenError),
    /// There is not that much memory; what was applied before stays.
    #[error(transparent)]
    Memory(#[from] MapMemoryError),
    /// HTTP/3 cannot be spoken.
    #[error(transparent)]
    Http3(#[from] H3Error),
    /// An address cannot be had.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Two metrics share a name.
    #[error("declare metrics")]
    Metrics(#[from] prometheus::Error),
}

/// Starts an edge on the current runtime. When this returns, every address is bound and answers.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    config.check()?;
    tls::install_provider();
    let terms = tls::Terms::load(&config.tls.cert_file, &config.tls.key_file)?;
    let admin_secret = admin_secret(&config)?;
    let edge = Arc::new(build(&config, clock)?);
    let udp = config.http3.enabled.then(|| UdpBuffers { bytes: config.http3.socket_buffer_bytes.as_usize() });
    let sockets = config
        .listen
        .iter()
        .map(|&address| Sockets::bind(address, udp).map_err(|cause| StartError::Listen { address, cause }))
        .collect::<Result<Vec<_>, _>>()?;
    let admin_listen = |cause| StartError::Listen { address: config.admin_listen, cause };
    let admin_listener = TcpListener::bind(config.admin_listen).await.map_err(admin_listen)?;
    let admin = admin_listener.local_addr().map_err(admin_listen)?;

    let (stopping, stop) = watch::channel(false);
    let running = Running {
        addresses: sockets.iter().map(|sockets| sockets.address).collect(),
        admin,
        edge,
        url_keys_file: config.url_keys_file.clone(),
        cache_config: Mutex::new(config.cache.clone()),
        drain: secs(config.limits.drain_secs),
        stopping,
        tasks: TaskTracker::new(),
        kill: CancellationToken::new(),
        admin_tasks: TaskTracker::new(),
        admin_end: CancellationToken::new(),
    };
    for sockets in sockets {
        if let Err(error) = running.serve(sockets, &terms, &config, &stop) {
            running.stop().await;
            return Err(error);
        }
    }
    let pages = admin::Admin::new(Arc::clone(&running.edge), admin_secret, stop);
    let (disks, end) = (running.edge.cache().disks().clone(), running.admin_end.clone());
    running.admin_tasks.spawn(async move {
        tokio::select! {
            () = log_volumes(&disks) => {}
            () = end.cancelled() => {}
        }
    });
    running.admin_tasks.spawn(pages.run(
        admin_listener,
        running.admin_tasks.clone(),
        running.admin_end.clone(),
    ));
    Ok(running)
}

impl Running {
    /// The public addresses, ports resolved, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address of the admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The delivery core.
    pub fn edge(&self) -> &Arc<Edge> {
        &self.edge
    }

    /// Reads the token keys anew. The old ones stay if the file cannot be used.
    pub fn reload_keys(&self) -> Result<(), StartError> {
        self.edge.replace_keys(read_url_keys(&self.url_keys_file)?);
        Ok(())
    }

    /// Applies what of `[cache]` can be changed while running (`capacity_bytes`, `admission`, `dwpd` of each
    /// volume) and gives back the keys that would need a restart. Everything else in `config` is not looked at.
    pub fn reconfigure(&self, config: &Config) -> Result<Vec<String>, StartError> {
        config.check()?;
        let mut applied = self.cache_config.lock();
        let waiting = applied.needs_restart(&config.cache);
        self.edge.cache().resize_ram(config.cache.capacity_bytes)?;
        let disks = self.edge.cache().disks();
        disks.set_admission(config.cache.admission);
        for volume in &config.cache.volumes {
            // One that is new is among those that wait for a restart.
            disks.set_dwpd(&volume.called(), volume.dwpd);
        }
        applied.take_live(&config.cache);
        Ok(waiting)
    }

    /// Begins to stop: no new connections, idle ones closed, not ready any more. [`Running::stop`] ends it.
    pub fn begin_stop(&self) {
        // No receiver is an edge without connections, which is as stopped as can be.
        let _ = self.stopping.send(true);
    }

    /// Stops: no new connections, idle ones closed, answers under way finished within `limits.drain_secs`, the
    /// rest cut.
    pub async fn stop(self) {
        self.begin_stop();
        self.tasks.close();
        if tokio::time::timeout(self.drain, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                left = self.edge.connections().count(),
                "cut answers that outlasted the drain time"
            );
        }
        self.kill.cancel();
        self.tasks.wait().await;
        self.edge.cache().shutdown().await;
        self.admin_end.cancel();
        self.admin_tasks.close();
        self.admin_tasks.wait().await;
    }

    /// Starts the fronts of one address.
    fn serve(
        &self,
        sockets: Sockets,
        terms: &tls::Terms,
        config: &Config,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), StartError> {
        let address = sockets.address;
        let alt_svc =
            sockets.udp.is_some().then(|| alt_svc(address.port(), config.http3.alt_svc_secs)).flatten();
        if let Some(udp) = sockets.udp {
            let front = H3Front::new(Arc::clone(&self.edge), terms, config.limits.clone(), &config.http3)?;
            let endpoint = front.open(udp).map_err(|cause| StartError::Listen { address, cause })?;
            self.tasks.spawn(front.run(endpoint, self.tasks.clone(), stop.clone(), self.kill.clone()));
        }
        let front = TcpFront::new(Arc::clone(&self.edge), terms.clone(), config.limits.clone(), alt_svc);
        self.tasks.spawn(front.run(sockets.tcp, self.tasks.clone(), stop.clone(), self.kill.clone()));
        Ok(())
    }
}

/// Writes to the log which volumes are out, and from then on every change of a volume's state.
async fn log_volumes(disks: &Disks) {
    let mut events = disks.events();
    for volume in disks.status().iter().filter(|volume| volume.state == State::Failed) {
        let error = volume.last_error.as_deref().unwrap_or_default();
        tracing::error!(volume = volume.name, error, "a volume is out");
    }
    loop {
        let DiskEvent { volume, change, last_error } = match events.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let (from, to) = (change.from.name(), change.to.name());
        match change.cause {
            None => tracing::info!(volume, from, to, "a volume changed its state"),
            Some(Cause::Command) => tracing::info!(volume, from, to, "a volume was told to change its state"),
            Some(cause) => {
                let error = last_error.unwrap_or_default();
                tracing::error!(volume, from, to, %cause, error, "a volume changed its state");
            }
        }
    }
}

/// `Alt-Svc` for HTTP/3 on the same host (RFC 7838 §3).
pub fn alt_svc(port: u16, secs: u32) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("h3=\":{port}\"; ma={secs}")).ok()
}

/// Reads the files that a configuration names, and puts the core together.
fn build(config: &Config, clock: Arc<dyn Clock>) -> Result<Edge, StartError> {
    let keys = read_url_keys(&config.url_keys_file)?;
    let metrics = Arc::new(Metrics::new()?);
    let file = &config.upstream.secret_file;
    let secret = Secret::from_text(&read("upstream.secret_file", file)?)
        .map_err(|cause| StartError::Secret { file: file.clone(), cause })?;
    let trust = trust(config)?;
    let terms = config.upstream.clone();
    let origin = upstream::Origin::new(terms, &secret, trust, Arc::clone(&metrics), Arc::clone(&clock))?;
    // Placement and hashing on the volumes must not be foreseen from outside; a hasher's own seed is chance enough.
    let seed = RandomState::new().hash_one(0_u8);
    let cache =
        RangeCache::open(&config.cache, Arc::new(origin), Handle::current(), Arc::clone(&clock), seed)?;
    let limits = &config.limits;
    let connections =
        Connections::new(limits.connections_max as usize, limits.connections_per_address_max as usize);
    let rules = decide::Rules {
        target_bytes_max: limits.url_bytes_max as usize,
        field_bytes_max: limits.header_field_bytes_max as usize,
    };
    Ok(Edge::new(cache, keys, clock, metrics, connections, rules))
}

/// What orders to volumes need, if anything.
fn admin_secret(config: &Config) -> Result<Option<Secret>, StartError> {
    let file = &config.admin_secret_file;
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let secret = Secret::from_text(&read("admin_secret_file", file)?);
    secret.map(Some).map_err(|cause| StartError::Secret { file: file.clone(), cause })
}

/// The certificates that the origin is trusted by. A plain one is not asked for any, but Pingora insists on a
/// readable file, and would otherwise look for the system's.
fn trust(config: &Config) -> Result<&Path, StartError> {
    let file = if config.upstream.ca_file.as_os_str().is_empty() {
        &config.tls.cert_file
    } else {
        &config.upstream.ca_file
    };
    tls::certificates(file)?;
    Ok(file)
}

fn read_url_keys(file: &Path) -> Result<UrlKeys, StartError> {
    UrlKeys::from_json(&read("url_keys_file", file)?)
        .map_err(|cause| StartError::UrlKeys { file: file.to_owned(), cause })
}

/// The text of a file with a secret in it, wiped when dropped.
fn read(key: &'static str, file: &Path) -> Result<zeroize::Zeroizing<String>, StartError> {
    std::fs::read_to_string(file).map(zeroize::Zeroizing::new).map_err(|cause| StartError::Read {
        key,
        file: file.to_owned(),
        cause,
    })
}
