//! `cargo xtask`: the chores of this repository.
//!
//! Promises
//! - `cargo xtask test` is the whole of what CI does: tools, format, lints, docs, builds, tests.
//! - What is missing on the machine is installed by name, or named, with what will be skipped without it.
//! - Every step is timed, and the times are printed.
#![allow(clippy::print_stdout, reason = "a command for people at a terminal")]

mod steps;
mod tools;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use steps::Steps;
use tools::Tools;

/// Chores of the Antiphon repository.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what the tests need, then run format, lints, docs and every test.
    Test {
        /// Only the Rust tests of this package, without format, lints and docs.
        #[arg(long, short)]
        package: Option<String>,
        /// Install nothing; say what is missing.
        #[arg(long)]
        no_install: bool,
    },
    /// Install what the tests need and stop.
    Setup,
    /// Print the environment that lets `cargo test` find the tools of `cargo xtask setup`.
    Env,
    /// Write `config/*.toml` from the defaults in the code.
    Config,
}

fn main() -> Result<()> {
    let root = repository_root()?;
    match Arguments::parse().chore {
        Chore::Test { package: Some(package), no_install } => {
            let tools = Tools::find(&root, !no_install)?;
            let mut steps = Steps::new(&root, tools.environment());
            steps.run("test", "cargo", &["test", "--locked", "--package", &package])?;
            steps.report()
        }
        Chore::Test { package: None, no_install } => test(&root, !no_install),
        Chore::Setup => Tools::find(&root, true).map(drop),
        Chore::Env => {
            for (name, value) in Tools::find(&root, false)?.environment() {
                println!("export {name}='{}'", value.to_string_lossy());
            }
            Ok(())
        }
        Chore::Config => {
            let mut steps = Steps::new(&root, Vec::new());
            for role in ["edge", "origin", "control"] {
                let package = format!("antiphon-{role}");
                let text = steps
                    .output("cargo", &["run", "--quiet", "--package", &package, "--", "print-config"])?;
                let file = root.join("config").join(format!("{role}.toml"));
                std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
            }
            Ok(())
        }
    }
}

/// Everything CI does, in the order that finds the cheap faults first and compiles each crate once per mode.
fn test(root: &std::path::Path, install: bool) -> Result<()> {
    let tools = Tools::find(root, install)?;
    let mut steps = Steps::new(root, tools.environment());
    steps.run("format", "cargo", &["fmt", "--all", "--check"])?;
    steps.run(
        "lints",
        "cargo",
        &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
    )?;
    // The edge alone, so that no other member's features are unified in: it must build without content keys.
    steps.run("edge alone", "cargo", &["check", "--locked", "--package", "antiphon-edge"])?;
    steps.set("RUSTDOCFLAGS", "-D warnings");
    steps.run("docs", "cargo", &["doc", "--locked", "--workspace", "--no-deps"])?;
    steps.run("build", "cargo", &["build", "--locked", "--workspace", "--all-targets"])?;
    let mut failed = Vec::new();
    for (name, program, arguments) in [
        ("tests", "cargo", vec!["test", "--locked", "--workspace", "--no-fail-fast"]),
        ("player: types", "node", vec!["player/tests/types.mjs"]),
        ("player: units", "node", vec!["--test", "player/tests/units.mjs"]),
    ] {
        if program == "node" && !tools.has_node() {
            tools.skipped(name, "node and its packages")?;
        } else if let Err(error) = steps.run(name, program, &arguments) {
            println!("{error:#}");
            failed.push(name);
        }
    }
    steps.report()?;
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// The folder above this crate: `cargo xtask` runs from anywhere inside the repository.
fn repository_root() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .no_deps()
        .exec()
        .context("ask cargo where the workspace is")?;
    Ok(metadata.workspace_root.into_std_path_buf())
}
