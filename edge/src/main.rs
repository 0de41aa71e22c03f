//! `antiphon-edge`: one edge, from one file, until it is told to stop.
//!
//! SIGTERM and SIGINT stop it gracefully, SIGHUP reads the token keys anew and
//! applies the live keys of the configuration. Exit code 2 is a configuration that
//! cannot work, 1 any other failure.

use antiphon_core::config;
use antiphon_core::{Clock, UnixTime, chain};
use antiphon_edge::config::Config;
use antiphon_edge::{Running, StartError, account};
use anyhow::Context;
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers signed requests for encrypted music.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The configuration; without it, the defaults.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Say whether the configuration can work, and stop.
    Check,
    /// Print the configuration with every key explained.
    PrintConfig,
}

/// What these libraries say below WARN can hold whole requests, and so tokens: no filter brings it back.
const QUIET: &str = "h2=warn,h3=warn,pingora_core=warn,quinn=warn,quinn_proto=warn,rustls=warn";

/// A configuration that cannot work.
const EXIT_CONFIG: u8 = 2;

fn main() -> ExitCode {
    antiphon_edge::tls::install_provider();
    let args = Args::parse();
    let config = match load(args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    let result = match args.command {
        Some(Command::Check) => Ok(()),
        Some(Command::PrintConfig) => print(&config),
        None => run(config, args.config),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.downcast_ref::<StartError>().is_some() => fail(EXIT_CONFIG, &error),
        Err(error) => fail(1, &error),
    }
}

fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    // If standard error is gone, the exit code still says it.
    let _ = writeln!(std::io::stderr(), "antiphon-edge: {error:#}");
    ExitCode::from(code)
}

fn load(file: Option<&Path>) -> anyhow::Result<Config> {
    let config = match file {
        None => Config::default(),
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            config::parse(&text, &file.display().to_string())?
        }
    };
    config.check()?;
    EnvFilter::try_new(&config.log.filter).context("log.filter")?;
    Ok(config)
}

fn print(config: &Config) -> anyhow::Result<()> {
    let text = config::render(config).context("print the configuration")?;
    std::io::stdout().write_all(text.as_bytes()).context("write to standard output")
}

fn run(config: Config, file: Option<PathBuf>) -> anyhow::Result<()> {
    log_to_stderr(&config)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start threads")?;
    runtime.block_on(async {
        // Before anybody hears "ready": from then on a signal finds its handler.
        let mut signals = Signals::listen()?;
        let running = antiphon_edge::start(config, Arc::new(SystemClock)).await?;
        tracing::info!(listen = ?running.addresses(), admin = %running.admin_address(), "ready");
        // Outside systemd there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        signals.until_told_to_stop(&running, file.as_deref()).await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        tracing::info!("stopping");
        running.stop().await;
        Ok(())
    })
}

/// What the operator can say to a running edge.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            hang_up: signal(SignalKind::hangup()).context("listen for SIGHUP")?,
        })
    }

    async fn until_told_to_stop(&mut self, running: &Running, file: Option<&Path>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {
                    match running.reload_keys() {
                        Ok(()) => tracing::info!("read the token keys anew"),
                        Err(error) => tracing::error!(error = chain(&error), "read the token keys anew"),
                    }
                    match load(file).and_then(|config| Ok(running.reconfigure(&config)?)) {
                        Ok(waiting) if waiting.is_empty() => tracing::info!("applied the configuration"),
                        Ok(waiting) => tracing::warn!(?waiting, "applied the configuration; these keys need a restart"),
                        Err(error) => tracing::error!(error = format!("{error:#}"), "read the configuration anew"),
                    }
                }
            }
        }
    }
}

fn log_to_stderr(config: &Config) -> anyhow::Result<()> {
    let access = if config.log.access { "info" } else { "off" };
    let directives = format!("{},{}={access},{QUIET}", config.log.filter, account::ACCESS);
    let filter = EnvFilter::try_new(directives).context("log.filter")?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(|error| anyhow::anyhow!("start the log: {error}"))
}

/// The clock of the system.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        // A clock before 1970 is shown as 1970: every token is then "not yet", none too long.
        UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}
