//! The origin: takes recordings in, keeps them sealed, and serves them to edges, encrypted for an epoch.
//!
//! [`ingest`] puts recordings into a [`store`]; [`start`] runs the server that edges ask, and the operators'
//! listener beside it.
//!
//! Promises
//! - When [`start`] has returned, both addresses are bound, the key ring is open and the store's settings hold;
//!   what cannot work is refused then, by name.
//! - [`Running::stop`] lets answers under way end, for `stop_secs` at most, and leaves no task behind.
//!
//! Does not know: listeners and their tokens, the catalogue, the command line.

mod admin;
pub mod config;
pub mod demo;
pub mod ingest;
pub mod keys;
mod listen;
mod metrics;
pub mod records;
mod serve;
mod shelf;
pub mod store;
pub mod verdict;

pub use config::Config;
pub use listen::{HEAD_LEN_MAX, HEADERS_MAX};
pub use serve::AHEAD_SECS;
pub use shelf::ShelfError;

use antiphon_core::secret::SecretError;
use antiphon_core::{Clock, Secret};
use config::CheckError;
use keys::{Keys, KeysError};
use listen::Listening;
use metrics::Metrics;
use serve::Serving;
use shelf::Shelf;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{OpenError, Store};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

/// An origin that serves.
pub struct Running {
    /// Where edges ask.
    pub address: SocketAddr,
    /// Where operators ask.
    pub admin_address: SocketAddr,
    stopping: watch::Sender<bool>,
    tasks: TaskTracker,
    cut: CancellationToken,
    patience: Duration,
}

/// Why an origin does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value that cannot be meant.
    #[error("the configuration cannot work")]
    Config(#[from] CheckError),
    /// The edges' secret is not there.
    #[error("read the edges' secret from {}", file.display())]
    SecretFile {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The edges' secret is none.
    #[error("the edges' secret in {} is unfit", file.display())]
    Secret {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        cause: SecretError,
    },
    /// The key ring does not open.
    #[error("open the key ring")]
    Keys(#[from] KeysError),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// An address is taken, or not ours.
    #[error("listen on {address} ({key})")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The key that names it.
        key: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Counters clash; a defect.
    #[error("set up metrics")]
    Metrics(#[from] prometheus::Error),
}

/// Connections of operators at once.
const ADMIN_CONNECTIONS_MAX: u32 = 64;

/// Starts an origin on the current tokio runtime.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    config.check()?;
    let secret = read_secret(config.origin_secret_file)?;
    let keys = Arc::new(Keys::open(&config.keyring_dir, Arc::clone(&clock))?);
    let store = Store::open(&config.store)?;
    let metrics = Arc::new(Metrics::new()?);
    let shelf = Arc::new(Shelf::new(store, keys.kek(), config.serve.index_cache_bytes));
    let listener = bind(config.listen, "listen").await?;
    let admin_listener = bind(config.admin.listen, "admin.listen").await?;
    let address = bound(&listener, config.listen, "listen")?;
    let admin_address = bound(&admin_listener, config.admin.listen, "admin.listen")?;

    let (stopping, stop_heard) = watch::channel(false);
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let head = Duration::from_millis(u64::from(config.serve.head_ms));
    let idle = Duration::from_secs(u64::from(config.serve.idle_secs));
    let admin =
        admin::Admin { shelf: Arc::clone(&shelf), keys: Arc::clone(&keys), metrics: Arc::clone(&metrics) };
    let admin_listening = Listening {
        listener: admin_listener,
        router: admin::router(Arc::new(admin)),
        connections_max: ADMIN_CONNECTIONS_MAX,
        head,
        idle,
        open: metrics.admin_connections.clone(),
        stopping: stop_heard.clone(),
        tasks: tasks.clone(),
        cut: cut.clone(),
    };
    let listening = Listening {
        listener,
        connections_max: config.serve.connections_max,
        head,
        idle,
        open: metrics.connections.clone(),
        stopping: stop_heard,
        tasks: tasks.clone(),
        cut: cut.clone(),
        router: serve::router(Arc::new(Serving {
            shelf,
            keys,
            secret,
            clock,
            metrics,
            places: Arc::new(Semaphore::new(config.serve.concurrent_max as usize)),
            limits: config.serve,
            tasks: tasks.clone(),
        })),
    };
    tasks.spawn(listening.run());
    tasks.spawn(admin_listening.run());
    tracing::info!(%address, %admin_address, "origin serves");
    let patience = Duration::from_secs(u64::from(config.stop_secs));
    Ok(Running { address, admin_address, stopping, tasks, cut, patience })
}

impl Running {
    /// Takes no more connections, lets answers under way end, and returns when they have, or after `stop_secs`.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        self.tasks.close();
        if tokio::time::timeout(self.patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "cut off answers under way");
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }
}

async fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|cause| StartError::Listen { address, key, cause })
}

fn bound(listener: &TcpListener, address: SocketAddr, key: &'static str) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|cause| StartError::Listen { address, key, cause })
}

fn read_secret(file: PathBuf) -> Result<Secret, StartError> {
    match std::fs::read_to_string(&file).map(Zeroizing::new) {
        Ok(text) => Secret::from_text(&text).map_err(|cause| StartError::Secret { file, cause }),
        Err(cause) => Err(StartError::SecretFile { file, cause }),
    }
}
