//! Runs commands one after another, times them, stops at the first that fails.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The steps of one chore.
pub struct Steps {
    root: PathBuf,
    environment: Vec<(String, OsString)>,
    done: Vec<(String, Duration, bool)>,
}

impl Steps {
    /// Steps that run in `root` with `environment` added to ours.
    pub fn new(root: &Path, environment: Vec<(String, OsString)>) -> Self {
        Self { root: root.to_owned(), environment, done: Vec::new() }
    }

    /// Adds a variable for the steps that follow.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.into()));
    }

    /// Runs one command with our output; its failure is the chore's.
    pub fn run(&mut self, name: &str, program: &str, arguments: &[&str]) -> Result<()> {
        println!("\n== {name}: {program} {}", arguments.join(" "));
        let began = Instant::now();
        let status = self.command(program, arguments).stdin(Stdio::null()).status();
        let status = status.with_context(|| format!("start {program}"))?;
        self.done.push((name.to_owned(), began.elapsed(), status.success()));
        if !status.success() {
            bail!("step {name:?} failed: {program} {} ({status})", arguments.join(" "));
        }
        Ok(())
    }

    /// Runs one command and hands back what it printed.
    pub fn output(&mut self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.command(program, arguments).stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("start {program}"))?;
        if !output.status.success() {
            bail!("{program} {} failed ({})", arguments.join(" "), output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("read what {program} printed"))
    }

    /// Prints how long each step took.
    pub fn report(&self) -> Result<()> {
        println!("\n== seconds by step");
        for (name, took, passed) in &self.done {
            println!("{:>7.1}  {name}{}", took.as_secs_f64(), if *passed { "" } else { "  FAILED" });
        }
        Ok(())
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.root)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}
