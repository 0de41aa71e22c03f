//! The three roles' configuration files: printed, checked.

use antiphon_core::config;
use anyhow::{Context, Result};
use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::process::ExitCode;

/// Whose configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Serves listeners.
    Edge,
    /// Packages and encrypts.
    Origin,
    /// Says who may listen.
    Control,
}

/// Exit code for a configuration that is refused, as the roles' own binaries use.
const REFUSED: u8 = 2;

impl Role {
    /// The defaults, every key explained.
    pub fn defaults(self) -> Result<String> {
        match self {
            Self::Edge => config::render(&antiphon_edge::config::Config::default()),
            Self::Origin => config::render(&antiphon_origin::Config::default()),
            Self::Control => config::render(&antiphon_control::Config::default()),
        }
        .context("print the defaults")
    }

    /// Reads a file and says what is wrong with it, if anything.
    #[expect(clippy::print_stderr, reason = "errors of a command go to stderr")]
    pub fn check(self, file: &Path) -> ExitCode {
        let checked = match self {
            Self::Edge => read::<antiphon_edge::config::Config>(file).and_then(|config| Ok(config.check()?)),
            Self::Origin => read::<antiphon_origin::Config>(file).and_then(|config| Ok(config.check()?)),
            Self::Control => read::<antiphon_control::Config>(file).and_then(|config| Ok(config.check()?)),
        };
        match checked {
            Ok(()) => {
                println!("{}: fine", file.display());
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::from(REFUSED)
            }
        }
    }
}

/// Reads a role's file.
pub fn read<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    Ok(config::parse(&text, &file.to_string_lossy())?)
}

/// A role's file as text, every key explained.
pub fn text<T: Serialize + JsonSchema>(config: &T) -> Result<String> {
    config::render(config).context("print a configuration")
}
