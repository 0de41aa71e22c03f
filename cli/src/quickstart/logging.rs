//! Where quickstart's log lines go: all of them as JSON into a file, warnings to the terminal too.

use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// What is written to the file unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info,h3=warn,quinn=warn,pingora=warn,sqlx=warn";

/// Starts logging into `file`.
pub fn start(file: &Path) -> Result<()> {
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(file);
    let log = log.with_context(|| format!("open {}", file.display()))?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let to_file = tracing_subscriber::fmt::layer().json().with_writer(Mutex::new(log)).with_filter(filter);
    let to_terminal =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(LevelFilter::WARN);
    tracing_subscriber::registry().with(to_file).with(to_terminal).try_init().context("start logging")
}
