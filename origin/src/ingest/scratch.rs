//! A folder of our own for one file: its copy, and what is made of it.
//!
//! Promises
//! - What is hashed is what is worked on: the file may change meanwhile, its copy does not.
//! - ffmpeg sees a name that we chose, never the operator's.
//! - The folder is gone when the value is dropped, however the ingest ended; what a killed process left behind,
//!   the next ingest sweeps up.

use super::{IngestError, Progress, Step};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A copy of a source file, and its hash.
pub(super) struct Scratch {
    folder: TempDir,
    /// Locked while this process lives: who can lock it sweeps the folder.
    _lock: std::fs::File,
    /// SHA-256 of the copy, 64 hexadecimal digits.
    pub sha256: String,
}

/// Bytes copied at once.
const PIECE_LEN: usize = 256 * 1024;

impl Scratch {
    /// Copies the regular, non-empty file `path` of at most `max` bytes into a new folder below `parent`.
    pub async fn copy_of(
        path: &Path,
        max: u64,
        parent: &Path,
        progress: &dyn Progress,
    ) -> Result<Self, IngestError> {
        let file = || path.display().to_string();
        let unreadable = |cause| IngestError::Unreadable { file: file(), cause };
        let about = tokio::fs::metadata(path).await.map_err(unreadable)?;
        if about.is_dir() {
            return Err(IngestError::Folder { file: file() });
        }
        if !about.is_file() {
            return Err(IngestError::NotAFile { file: file() });
        }
        if about.len() == 0 {
            return Err(IngestError::Empty { file: file() });
        }
        let scratch = |cause| IngestError::Scratch { file: file(), cause };
        let (folder, lock) = new_folder(parent).map_err(scratch)?;
        let mut source = File::open(path).await.map_err(unreadable)?;
        let mut copy = File::create(folder.path().join(SOURCE)).await.map_err(scratch)?;
        let (mut hash, mut piece, mut copied) = (Sha256::new(), vec![0; PIECE_LEN], 0);
        loop {
            let len = source.read(&mut piece).await.map_err(unreadable)?;
            if len == 0 {
                break;
            }
            copied += len as u64;
            if copied > max {
                return Err(IngestError::TooLarge { file: file(), bytes: about.len().max(copied), max });
            }
            hash.update(&piece[..len]);
            copy.write_all(&piece[..len]).await.map_err(scratch)?;
            progress.at(Step::Copy, share(copied, about.len()));
        }
        copy.flush().await.map_err(scratch)?;
        Ok(Self { folder, _lock: lock, sha256: HEXLOWER.encode(&hash.finalize()) })
    }

    /// The copy.
    pub fn source(&self) -> PathBuf {
        self.folder.path().join(SOURCE)
    }

    /// Where what is made of it may lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Name of the copy.
const SOURCE: &str = "source";

/// `done / of`, from 0 to 1.
pub(super) fn share(done: u64, of: u64) -> f32 {
    if of == 0 { 1.0 } else { (done as f64 / of as f64).min(1.0) as f32 }
}

/// A new folder that only this user may enter, and its lock. Sweeps up before.
fn new_folder(parent: &Path) -> io::Result<(TempDir, std::fs::File)> {
    let parent = if parent.as_os_str().is_empty() { std::env::temp_dir() } else { parent.to_owned() };
    for _ in 0..SWEPT_MAX {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent)?;
        let lock = std::fs::File::create_new(folder.path().join(LOCK))?;
        lock.lock()?;
        sweep(&parent, &folder)?;
        // Another process may have swept in the moment before the lock was ours; then once more.
        if folder.path().join(LOCK).try_exists()? {
            return Ok((folder, lock));
        }
    }
    Err(io::Error::other("others sweep the scratch folder away as soon as it is made"))
}

/// Removes the folders of processes that were killed: ours, and no longer locked.
fn sweep(parent: &Path, own: &TempDir) -> io::Result<()> {
    let us = own.path().metadata()?.uid();
    for entry in parent.read_dir()?.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|about| about.is_dir() && about.uid() == us);
        // A folder without a lock is about to get one, or is empty.
        let lock = ours.then(|| std::fs::File::open(entry.path().join(LOCK)).ok()).flatten();
        if lock.is_some_and(|lock| lock.try_lock().is_ok()) {
            // Somebody else may be sweeping as well.
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
    Ok(())
}

/// How the names of our folders begin.
const PREFIX: &str = "antiphon-ingest-";

/// Times a new folder may be swept away by others.
const SWEPT_MAX: usize = 8;

/// Name of the lock in each.
const LOCK: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_swept_up_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let [dead, young, foreign] =
            ["antiphon-ingest-dead", "antiphon-ingest-young", "foreign"].map(|name| {
                let folder = parent.path().join(name);
                std::fs::create_dir(&folder).unwrap();
                folder
            });
        std::fs::write(dead.join(LOCK), "").unwrap();
        std::fs::write(dead.join(SOURCE), "music").unwrap();
        std::fs::write(foreign.join(LOCK), "").unwrap();
        let (living, _lock) = new_folder(parent.path()).unwrap();
        assert!(!dead.exists() && young.exists() && foreign.exists());
        let (_other, _other_lock) = new_folder(parent.path()).unwrap();
        assert!(living.path().exists());
    }
}
