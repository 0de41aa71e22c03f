//! `antiphon-control --config FILE`: runs the control plane; `check` and `print-config` look at its file.

use antiphon_control::{Config, start, tls};
use antiphon_core::{UnixTime, config};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code for a configuration that is refused.
const REFUSED: u8 = 2;

/// The control plane of Antiphon: who may hear what, for how long, and with which keys.
#[derive(Parser)]
#[command(name = "antiphon-control", version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Reads the configuration and says what is wrong with it, if anything.
    Check,
    /// Prints the default configuration, every key explained.
    PrintConfig,
}

fn main() -> ExitCode {
    tls::install_provider();
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::PrintConfig) => outcome(print_config()),
        Some(Command::Check) => match read(arguments.config.as_deref()) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => refused(&error),
        },
        None => match read(arguments.config.as_deref()) {
            Ok(config) => outcome(run(config)),
            Err(error) => refused(&error),
        },
    }
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print_config() -> Result<()> {
    print!("{}", config::render(&Config::default()).context("print the defaults")?);
    Ok(())
}

fn read(file: Option<&Path>) -> Result<Config> {
    let file = file.context("name the configuration: --config FILE")?;
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let config: Config = config::parse(&text, &file.display().to_string())?;
    config.check().with_context(|| format!("check {}", file.display()))?;
    Ok(config)
}

fn run(config: Config) -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let running = start(config, Arc::new(system_time)).await.context("start the control plane")?;
    tracing::info!(addresses = ?running.addresses, admin = %running.admin_address, "ready");
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

fn system_time() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

fn outcome(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn refused(error: &anyhow::Error) -> ExitCode {
    complain(error);
    ExitCode::from(REFUSED)
}

#[expect(clippy::print_stderr, reason = "the operator reads it there")]
fn complain(error: &anyhow::Error) {
    eprintln!("antiphon-control: {error:#}");
}
