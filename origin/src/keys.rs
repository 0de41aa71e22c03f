//! The key ring as the origin holds it: opened once, read again when an epoch is missing.
//!
//! Promises
//! - A new epoch in `keyring.json` is found without a restart, and a missing one costs one read of the file in
//!   [`REREAD_SECS`], however many ask.
//! - A ring that no longer opens leaves the old one in use and says so in the log.
//!
//! Does not know: how keys are derived, HTTP, the store.

use antiphon_core::{Clock, Epoch, ObjectPath, Rendition, UnixTime};
use antiphon_drm::keys::{
    ContentKey, FileKek, KEYRING_TEXT_MAX, KekError, KeyError, KeyId, Keyring, KeyringError, epochs_needed,
    epochs_served,
};
use parking_lot::RwLock;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The key ring of a folder, and the key that opens it.
pub struct Keys {
    dir: PathBuf,
    kek: Arc<FileKek>,
    clock: Arc<dyn Clock>,
    ring: RwLock<Ring>,
}

struct Ring {
    keys: Arc<Keyring>,
    read_at: UnixTime,
}

/// Why a key ring is not opened.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file of the ring is not there, or not ours to read.
    #[error("read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A file longer than any ring.
    #[error("{} is longer than {max} bytes", file.display())]
    TooLong {
        /// The file.
        file: PathBuf,
        /// Most bytes that are read.
        max: usize,
    },
    /// The key-encryption key is none.
    #[error("read {}", file.display())]
    Kek {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        cause: KekError,
    },
    /// The ring does not open.
    #[error("open {}", file.display())]
    Ring {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        cause: KeyringError,
    },
}

/// Least time between two reads of the ring's file.
pub const REREAD_SECS: u64 = 10;

/// Longest text of a key-encryption key.
const KEK_TEXT_MAX: usize = 1024;

impl Keys {
    /// Opens the ring in `dir`.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, KeysError> {
        let kek = open_kek(dir)?;
        let keys = Arc::new(open_ring(dir, &kek)?);
        let ring = RwLock::new(Ring { keys, read_at: clock.now() });
        Ok(Self { dir: dir.to_owned(), kek: Arc::new(kek), clock, ring })
    }

    /// What wraps data keys.
    pub fn kek(&self) -> Arc<FileKek> {
        Arc::clone(&self.kek)
    }

    /// The key of one object.
    pub fn content_key(&self, path: &ObjectPath) -> Result<ContentKey, KeyError> {
        let ObjectPath { asset, scheme, rendition, epoch } = path;
        let derive =
            |keys: &Keyring| keys.content_key(asset, *scheme, *rendition, *epoch).map(|(_, key)| key);
        let keys = Arc::clone(&self.ring.read().keys);
        match derive(&keys) {
            Err(KeyError::NoEpoch { .. }) => derive(&self.reread()),
            found => found,
        }
    }

    /// The epochs that players may ask for and that have no masters. Empty when all is well.
    pub fn missing_epochs(&self) -> Vec<Epoch> {
        self.without_masters(epochs_served(self.clock.now()))
    }

    /// The epochs of the coming weeks that have no masters yet: time for `antiphon keys extend`.
    pub fn epochs_to_make(&self) -> Vec<Epoch> {
        self.without_masters(epochs_needed(self.clock.now()))
    }

    fn without_masters(&self, needed: RangeInclusive<Epoch>) -> Vec<Epoch> {
        let has = |keys: &Keyring, epoch| keys.epochs().any(|present| present == epoch);
        let lacking = |keys: &Keyring| -> Vec<Epoch> {
            (needed.start().0..=needed.end().0).map(Epoch).filter(|&epoch| !has(keys, epoch)).collect()
        };
        let keys = Arc::clone(&self.ring.read().keys);
        let missing = lacking(&keys);
        if missing.is_empty() { missing } else { lacking(&self.reread()) }
    }

    /// The ring, read again unless that was done a moment ago.
    fn reread(&self) -> Arc<Keyring> {
        let now = self.clock.now();
        let mut ring = self.ring.write();
        if now.since(ring.read_at) >= REREAD_SECS {
            ring.read_at = now;
            match open_ring(&self.dir, &self.kek) {
                Ok(keys) => ring.keys = Arc::new(keys),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "re-read the key ring")
                }
            }
        }
        Arc::clone(&ring.keys)
    }
}

/// Reads the key-encryption key of the ring in `dir`; all that an ingest needs of it.
pub fn open_kek(dir: &Path) -> Result<FileKek, KeysError> {
    let file = dir.join("kek");
    let text = read(&file, KEK_TEXT_MAX)?;
    FileKek::from_text(&text).map_err(|cause| KeysError::Kek { file, cause })
}

/// Names of the keys of all renditions of a track, in the order given.
pub fn key_ids(path: &ObjectPath, renditions: impl Iterator<Item = Rendition>) -> Vec<KeyId> {
    renditions.map(|rendition| KeyId::derive(&path.asset, path.scheme, rendition, path.epoch)).collect()
}

fn open_ring(dir: &Path, kek: &FileKek) -> Result<Keyring, KeysError> {
    let file = dir.join("keyring.json");
    let text = read(&file, KEYRING_TEXT_MAX)?;
    Keyring::open(&text, kek).map_err(|cause| KeysError::Ring { file, cause })
}

fn read(file: &Path, max: usize) -> Result<Zeroizing<String>, KeysError> {
    let mut text = Zeroizing::new(String::new());
    let open = std::fs::File::open(file);
    open.and_then(|open| open.take(max as u64 + 1).read_to_string(&mut text))
        .map_err(|cause| KeysError::Read { file: file.to_owned(), cause })?;
    if text.len() > max { Err(KeysError::TooLong { file: file.to_owned(), max }) } else { Ok(text) }
}
