//! The control plane: who may hear what, for how long, and with which keys.
//!
//! Players log in, ask to play, fetch manifests and licences and report progress over HTTPS; operators keep the
//! catalogue over a loopback listener of their own. State is a SQLite database; layouts come from the origin.
//!
//! Promises
//! - Nothing is answered before the token that allows it is verified, and the address and listener are within
//!   their rates.
//! - Secrets, tokens and queries reach no log, metric or error.
//! - A client's fault is a 4xx with a stable code (docs/control.md), never a 5xx.
//!
//! Does not know: media bytes, edges, what an origin stores.

pub mod api;
pub mod app;
pub mod body;
pub mod catalogue;
pub mod config;
pub mod entitlement;
pub mod front;
pub mod issuer;
pub mod jwt;
pub mod keys;
pub mod layouts;
pub mod limits;
pub mod metrics;
pub mod page;
pub mod policy;
pub mod server;
pub mod state;
pub mod tls;
pub mod verdict;

pub use config::Config;

use crate::app::{App, Rates};
use crate::body::BodyLimits;
use crate::entitlement::Entitlements;
use crate::issuer::{DEMO_LISTENERS, DemoListener, Issuer};
use crate::keys::SharedKeys;
use crate::layouts::Layouts;
use crate::limits::RateLimiter;
use crate::metrics::Metrics;
use crate::page::Page;
use crate::server::{Door, Places, Terms};
use crate::state::State;
use antiphon_core::{Clock, UnixTime, chain};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A control plane at work.
#[derive(Debug)]
pub struct Running {
    /// Where players reach it, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
    /// Where operators reach it.
    pub admin_address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    state: State,
}

/// Why a control plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error("use the configuration")]
    Config(#[from] config::CheckError),
    /// A key or secret is not there.
    #[error("read keys and secrets")]
    Keys(#[from] keys::KeyFileError),
    /// The origin's secret cannot be sent.
    #[error("read the origin's secret")]
    OriginSecret(#[from] layouts::SecretForm),
    /// The certificate.
    #[error("prepare TLS")]
    Tls(#[from] tls::TlsError),
    /// The database.
    #[error("open the state")]
    State(#[from] state::StateError),
    /// The table of metrics.
    #[error("declare metrics")]
    Metrics(#[from] prometheus::Error),
    /// An address is taken, or not ours.
    #[error("listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
}

/// How often old sessions are looked for and keys are read again.
const HOUSEKEEPING: Duration = Duration::from_secs(3600);
const DAY_SECS: u64 = 86_400;
/// Connections of operators.
const ADMIN_CONNECTIONS_MAX: u32 = 64;

/// Starts a control plane on the current runtime; its sockets are bound when this returns.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    config.check()?;
    let acceptor = tls::acceptor(&config.tls)?;
    let app = build(&config, clock).await?;
    let terms = Terms::new(&config.limits, config.tls.handshake_ms, config.stop_secs);
    let limits = &config.limits;
    let places =
        Places::new(limits.connections_max, limits.connections_per_address_max, Arc::clone(&app.metrics));
    let operator_places =
        Places::new(ADMIN_CONNECTIONS_MAX, ADMIN_CONNECTIONS_MAX, Arc::new(Metrics::new()?));
    let mut doors = Vec::new();
    let mut addresses = Vec::new();
    for address in &config.listen {
        let (listener, bound) = bind(*address).await?;
        addresses.push(bound);
        let (tls, router) = (Some(acceptor.clone()), api::players(Arc::clone(&app)));
        doors.push(Door { listener, tls, router, places: Arc::clone(&places), terms });
    }
    let (listener, admin_address) = bind(config.admin.listen).await?;
    let router = api::operators(Arc::clone(&app));
    doors.push(Door { listener, tls: None, router, places: operator_places, terms });

    let (stop, stopped) = watch::channel(false);
    let mut tasks: Vec<_> = doors
        .into_iter()
        .map(|door| tokio::spawn(server::serve(door, Handle::current(), stopped.clone())))
        .collect();
    tasks.push(tokio::spawn(keep_house(Arc::clone(&app), config.database.sessions_keep_days, stopped)));
    Ok(Running { addresses, admin_address, stop, tasks, state: app.state.clone() })
}

impl Running {
    /// Accepts nothing more, finishes what is in flight within `stop_secs`, and closes the database.
    pub async fn stop(self) {
        // Nobody listening means that all tasks have ended already.
        let _ = self.stop.send(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the control plane ended early");
            }
        }
        self.state.close().await;
    }
}

async fn build(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<App>, StartError> {
    keys::private_folder(&config.data_dir)?;
    let tokens = &config.tokens;
    let access_key = keys::token_key(&config.data_dir.join("access-token.key"))?;
    let licence_key = keys::token_key(&config.data_dir.join("drm-token.key"))?;
    let demo: Vec<DemoListener> = if config.demo.listeners { DEMO_LISTENERS.to_vec() } else { Vec::new() };
    let limits = &config.limits;
    Ok(Arc::new(App {
        clock,
        public_url: config.public_url.clone(),
        edge_url: config.edge_url.clone(),
        play_secs: tokens.play_secs,
        issuer: Issuer::new(&access_key, &demo, tokens.access_secs, tokens.leeway_secs),
        demo,
        entitlements: Entitlements::new(&licence_key, tokens.leeway_secs),
        keys: SharedKeys::open(&config.keyring_dir)?,
        operator: keys::secret(&config.admin.secret_file)?,
        state: State::open(&config.data_dir.join("control.sqlite"), &config.database).await?,
        layouts: Layouts::new(&config.origin, &keys::secret(&config.origin.secret_file)?)?,
        page: Page::embedded(),
        metrics: Arc::new(Metrics::new()?),
        body: BodyLimits {
            bytes: limits.body_bytes.as_usize(),
            time: Duration::from_millis(limits.body_ms.into()),
        },
        rates: Rates {
            address: RateLimiter::new(limits.address_per_sec, limits.address_burst),
            login: RateLimiter::new(limits.login_per_sec, limits.login_burst),
            listener: RateLimiter::new(limits.listener_per_sec, limits.listener_burst),
        },
    }))
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let fault = |cause| StartError::Listen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let bound = listener.local_addr().map_err(fault)?;
    Ok((listener, bound))
}

/// Forgets sessions past their days and reads the key ring anew, now and then, until `stop` changes.
async fn keep_house(app: Arc<App>, keep_days: u32, mut stop: watch::Receiver<bool>) {
    let mut hours = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            _ = hours.tick() => {}
            _ = stop.changed() => return,
        }
        let moment = UnixTime(app.now().since(UnixTime(u64::from(keep_days) * DAY_SECS)));
        match app.state.forget_before(moment).await {
            Ok(0) => {}
            Ok(sessions) => tracing::info!(sessions, "old sessions were forgotten"),
            Err(error) => tracing::error!(error = %chain(&error), "forget old sessions"),
        }
        let reader = Arc::clone(&app);
        match tokio::task::spawn_blocking(move || reader.keys.reload()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error = %chain(&error), "read the key ring anew"),
            Err(error) => tracing::error!(%error, "read the key ring anew"),
        }
    }
}
