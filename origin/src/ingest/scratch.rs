//! A folder of our own for one file: its copy, and what is made of it.
//!
//! Promises
//! - What is hashed is what is worked on: the file may change meanwhile, its copy does not.
//! - ffmpeg sees a name that we chose, never the operator's.
//! - The folder is gone when the value is dropped, however the ingest ended.

use super::{IngestError, Progress, Step};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A copy of a source file, and its hash.
pub(super) struct Scratch {
    folder: TempDir,
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
        let folder = in_folder(parent).map_err(|cause| IngestError::Scratch { file: file(), cause })?;
        let mut source = File::open(path).await.map_err(unreadable)?;
        let scratch = |cause| IngestError::Scratch { file: file(), cause };
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
        Ok(Self { folder, sha256: HEXLOWER.encode(&hash.finalize()) })
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

/// A new folder that only this user may enter.
fn in_folder(parent: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("antiphon-ingest-");
    if parent.as_os_str().is_empty() { builder.tempdir() } else { builder.tempdir_in(parent) }
}
