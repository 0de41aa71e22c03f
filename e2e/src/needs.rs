//! What a test needs from the machine: there, or said out loud; in CI there, or a failure.
#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]

use std::path::{Path, PathBuf};

/// A program on the path.
pub fn program(name: &str) -> Option<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    or_skipped(there.then_some(()), name)
}

/// A file of an installed package.
pub fn file(path: &str) -> Option<&Path> {
    let path = Path::new(path);
    or_skipped(path.exists().then_some(path), &path.to_string_lossy())
}

/// A tool named by a variable that `cargo xtask env` prints.
pub fn tool(variable: &str) -> Option<PathBuf> {
    or_skipped(std::env::var_os(variable).map(PathBuf::from), &format!("{variable} (run `cargo xtask test`)"))
}

fn or_skipped<T>(found: Option<T>, what: &str) -> Option<T> {
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must not skip: {what} is missing");
        eprintln!("SKIPPED: {what} is missing");
    }
    found
}
