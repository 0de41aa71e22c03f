//! Files of the data directory: written whole or not at all, secrets readable by their owner only.

use anyhow::{Context, Result};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// The owner only: keys, secrets.
    Owner,
    /// Everybody: certificates, configuration.
    All,
}

/// Creates a folder, and those above it, for its owner only.
pub fn create_folder(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).with_context(|| format!("create {}", folder.display()))
}

/// Writes a file beside its place and moves it there, so that a reader sees the old text or the new one.
pub fn write(file: &Path, bytes: &[u8], readers: Readers) -> Result<()> {
    let mode = if readers == Readers::Owner { 0o600 } else { 0o644 };
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = file.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&beside, file)
    };
    write()
        .with_context(|| format!("write {}", file.display()))
        .inspect_err(|_| drop(fs::remove_file(&beside)))
}

/// The file's text, or `None` if there is no such file. Zeroed when dropped.
pub fn read_if_there(file: &Path) -> Result<Option<Zeroizing<String>>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

/// The file's text; if there is no such file, `make` makes it first, for its owner only.
pub fn read_or_make(
    file: &Path,
    make: impl FnOnce() -> Result<Zeroizing<String>>,
) -> Result<Zeroizing<String>> {
    if let Some(text) = read_if_there(file)? {
        return Ok(text);
    }
    let text = make()?;
    write(file, text.as_bytes(), Readers::Owner)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_file_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let first = read_or_make(&file, || Ok(Zeroizing::new("first".to_owned()))).unwrap();
        let second = read_or_make(&file, || Ok(Zeroizing::new("second".to_owned()))).unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("first", "first"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_write_into_a_missing_folder_names_the_file() {
        let error = write(Path::new("/nowhere/at/all"), b"x", Readers::All).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/at/all"));
    }
}
