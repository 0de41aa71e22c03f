//! `antiphon`: the operator's command. Without a word it is `antiphon quickstart`.
#![allow(clippy::print_stdout, reason = "a command for people at a terminal")]

mod cache;
mod certificates;
mod client;
mod files;
mod ingest;
mod keys;
mod quickstart;
mod roles;

use antiphon_core::{Clock, UnixTime};
use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use keys::KeyFolder;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Delivers music: edge, origin and control plane, and what their operators need.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    quickstart: quickstart::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Start edge, origin and control on loopback with two demo tracks (what `antiphon` alone does).
    Quickstart(quickstart::Options),
    /// Encode, pack, seal and store audio files, and tell the control plane about them.
    Ingest(ingest::Options),
    /// Make, extend and list the keys that content keys and signed URLs come from.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Look into the volumes of an edge's cache, check them, tell them what to do.
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Print a role's configuration with every key explained.
    PrintConfig {
        /// Whose configuration.
        role: roles::Role,
    },
    /// Check a role's configuration file and say what is wrong with it.
    Check {
        /// Whose configuration.
        role: roles::Role,
        /// The file.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Make the key-encryption key, the epoch masters and a URL-signing key, where there are none yet.
    Init(KeysFolder),
    /// Add masters for the epochs of the coming month. Run it monthly: it changes nothing when none are missing.
    Extend(KeysFolder),
    /// Say which epochs and URL keys there are. Prints no secret.
    List(KeysFolder),
}

#[derive(Args)]
struct KeysFolder {
    /// The keyring folder.
    #[arg(long)]
    dir: PathBuf,
}

fn main() -> ExitCode {
    // Two providers are linked (pingora-rustls brings ring): choose one before anything speaks TLS.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or(Command::Quickstart(arguments.quickstart));
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            eprint_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Quickstart(options) => runtime()?.block_on(quickstart::run(options, system_clock())),
        Command::Ingest(options) => runtime()?.block_on(async {
            // Dropping the ingest removes its scratch folder and ends its ffmpeg.
            tokio::select! {
                done = ingest::run(options, system_clock()) => done,
                stopped = quickstart::stop_asked() => stopped.and_then(|()| bail!("stopped; nothing half-done is visible")),
            }
        }),
        Command::Keys(command) => keys_command(command, system_clock().now()).map(|()| ExitCode::SUCCESS),
        Command::Cache(command) => cache::run(command),
        Command::PrintConfig { role } => {
            print!("{}", role.defaults()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { role, file } => Ok(role.check(&file)),
    }
}

fn keys_command(command: KeysCommand, now: UnixTime) -> Result<()> {
    match command {
        KeysCommand::Init(KeysFolder { dir }) => {
            KeyFolder::at(&dir).prepare(now)?;
            println!("the keys are in {}; back up the kek apart from the rest", dir.display());
        }
        KeysCommand::Extend(KeysFolder { dir }) => {
            let added = KeyFolder::at(&dir).extend(now)?;
            println!("{}", if added { "added masters for the coming epochs" } else { "nothing was missing" });
        }
        KeysCommand::List(KeysFolder { dir }) => {
            let folder = KeyFolder::at(&dir);
            let epochs: Vec<String> = folder.open()?.epochs().map(|epoch| epoch.to_string()).collect();
            println!("epochs with masters: {}", epochs.join(" "));
            println!("URL keys: {}", folder.url_key_names()?.join(" "));
        }
    }
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")
}

/// The one clock of this process.
fn system_clock() -> Arc<dyn Clock> {
    Arc::new(|| {
        UnixTime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    })
}

#[expect(clippy::print_stderr, reason = "errors of a command go to stderr")]
fn eprint_error(error: &anyhow::Error) {
    eprintln!("antiphon: {error:#}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_word_means_quickstart() {
        assert!(Arguments::parse_from(["antiphon"]).command.is_none());
        assert_eq!(Arguments::parse_from(["antiphon", "--edge-port", "9"]).quickstart.edge_port, 9);
    }
}
