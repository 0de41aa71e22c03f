//! Masters of all epochs, 256 shards each, and the content keys derived from them (MEDIA.md §4).
//!
//! Promises
//! - A master is never overwritten: extending the ring leaves what is there as it is.
//! - At rest each master is wrapped by itself, bound to its epoch and shard, so none can be passed off as
//!   another. A shard lost to a thief is 1/256 of the catalogue for one epoch.
//! - Opening is all or nothing: a ring with one bad blob is refused, by name of the blob.
//!
//! Does not know: files, clocks, random sources; all are arguments.

use super::wrap::{KeyWrap, NONCE_LEN, WrapError};
use super::{ContentKey, KeyId};
use crate::json::json_fault;
use antiphon_core::{AssetId, Epoch, Rendition, Scheme};
use data_encoding::BASE64URL_NOPAD;
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use zeroize::Zeroizing;

/// The masters of all epochs in reach.
#[derive(Default)]
pub struct Keyring {
    /// Invariant: [`SHARDS`] masters under every epoch, at most [`EPOCHS_MAX`] epochs; upheld by `extend`
    /// and `open`.
    epochs: BTreeMap<Epoch, Masters>,
}

/// 256 masters, by the first byte of the asset.
type Masters = Zeroizing<Vec<[u8; MASTER_LEN]>>;

/// Why a ring is not opened, extended or sealed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Not the JSON of a sealed ring.
    #[error("read the keyring: {0}")]
    Json(String),
    /// Written by another version of this product.
    #[error("the keyring has format version {found}; this version reads {VERSION}")]
    Version {
        /// The version it has.
        found: u32,
    },
    /// The key-encryption key is not the one it was sealed with.
    #[error("the keyring is sealed by key-encryption key {sealed_by}, not by {given}")]
    WrongKek {
        /// What opens it.
        sealed_by: String,
        /// What was tried.
        given: String,
    },
    /// Not 256 masters, or an epoch twice.
    #[error("epoch {epoch} of the keyring has {found} masters, not {SHARDS}, or comes twice")]
    Shards {
        /// Which epoch.
        epoch: Epoch,
        /// How many.
        found: usize,
    },
    /// One blob does not open.
    #[error("unwrap the master of shard {shard} of epoch {epoch}")]
    Unwrap {
        /// Which epoch.
        epoch: Epoch,
        /// Which shard.
        shard: usize,
        /// Why not.
        #[source]
        cause: WrapError,
    },
    /// One master is not wrapped.
    #[error("wrap the master of shard {shard} of epoch {epoch}")]
    Wrap {
        /// Which epoch.
        epoch: Epoch,
        /// Which shard.
        shard: usize,
        /// Why not.
        #[source]
        cause: WrapError,
    },
    /// More epochs than the limit.
    #[error("a keyring holds at most {EPOCHS_MAX} epochs, this would make {0}")]
    TooManyEpochs(u64),
}

/// Why there is no content key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The ring has no masters of this epoch: not made yet, or destroyed.
    #[error("the keyring has no masters for epoch {epoch}")]
    NoEpoch {
        /// Which epoch.
        epoch: Epoch,
    },
}

/// Masters per epoch.
pub const SHARDS: usize = 256;

/// Most epochs of a ring: 400 days of offline renewals are 14.
pub const EPOCHS_MAX: usize = 64;

/// Longest text of a sealed ring, in bytes: [`EPOCHS_MAX`] epochs wrapped by a KMS with large blobs.
pub const KEYRING_TEXT_MAX: usize = 16 * 1024 * 1024;

const MASTER_LEN: usize = 32;
const VERSION: u32 = 1;

/// A ring at rest.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    version: u32,
    kek: String,
    epochs: Vec<SealedEpoch>,
}

/// The wrapped masters of one epoch, by shard, in unpadded base64url.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedEpoch {
    epoch: Epoch,
    masters: Vec<String>,
}

impl Keyring {
    /// A ring without masters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a ring sealed by [`Keyring::seal`].
    pub fn open(sealed_json: &str, wrap: &dyn KeyWrap) -> Result<Self, KeyringError> {
        if sealed_json.len() > KEYRING_TEXT_MAX {
            return Err(KeyringError::Json(format!("longer than {KEYRING_TEXT_MAX} bytes")));
        }
        let sealed: Sealed =
            serde_json::from_str(sealed_json).map_err(|error| KeyringError::Json(json_fault(&error)))?;
        if sealed.version != VERSION {
            return Err(KeyringError::Version { found: sealed.version });
        }
        if sealed.kek != wrap.id() {
            let sealed_by = sealed.kek.chars().take(64).collect();
            return Err(KeyringError::WrongKek { sealed_by, given: wrap.id().to_owned() });
        }
        if sealed.epochs.len() > EPOCHS_MAX {
            return Err(KeyringError::TooManyEpochs(sealed.epochs.len() as u64));
        }
        let mut epochs = BTreeMap::new();
        for SealedEpoch { epoch, masters } in sealed.epochs {
            if masters.len() != SHARDS || epochs.contains_key(&epoch) {
                return Err(KeyringError::Shards { epoch, found: masters.len() });
            }
            epochs.insert(epoch, unwrap_masters(epoch, &masters, wrap)?);
        }
        Ok(Self { epochs })
    }

    /// Makes masters for those of `epochs` that have none; `fill` fills a buffer with random bytes.
    pub fn extend(
        &mut self,
        epochs: RangeInclusive<Epoch>,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), KeyringError> {
        let (first, last) = (epochs.start().0, epochs.end().0);
        let present = self.epochs.keys().filter(|epoch| epochs.contains(epoch)).count() as u64;
        let asked = (u64::from(last) + 1).saturating_sub(first.into());
        let total = self.epochs.len() as u64 + asked - present;
        if total > EPOCHS_MAX as u64 {
            return Err(KeyringError::TooManyEpochs(total));
        }
        for epoch in first..=last {
            self.epochs.entry(Epoch(epoch)).or_insert_with(|| {
                let mut masters = Zeroizing::new(vec![[0; MASTER_LEN]; SHARDS]);
                masters.iter_mut().for_each(|master| fill(master));
                masters
            });
        }
        Ok(())
    }

    /// Destroys the masters of every epoch before `first_kept`, and with them the keys of all that was
    /// encrypted then. Tells how many epochs went.
    pub fn retire(&mut self, first_kept: Epoch) -> usize {
        let kept = self.epochs.split_off(&first_kept);
        std::mem::replace(&mut self.epochs, kept).len()
    }

    /// The ring as text for keeping, every master wrapped by `wrap`; `fill` draws the nonces at random.
    pub fn seal(&self, wrap: &dyn KeyWrap, fill: &mut dyn FnMut(&mut [u8])) -> Result<String, KeyringError> {
        let mut epochs = Vec::with_capacity(self.epochs.len());
        for (epoch, masters) in &self.epochs {
            let mut wrapped = Vec::with_capacity(SHARDS);
            for (shard, master) in masters.iter().enumerate() {
                let mut nonce = [0; NONCE_LEN];
                fill(&mut nonce);
                let blob = wrap
                    .wrap(master, &context(*epoch, shard), nonce)
                    .map_err(|cause| KeyringError::Wrap { epoch: *epoch, shard, cause })?;
                wrapped.push(BASE64URL_NOPAD.encode(&blob));
            }
            epochs.push(SealedEpoch { epoch: *epoch, masters: wrapped });
        }
        let sealed = Sealed { version: VERSION, kek: wrap.id().to_owned(), epochs };
        serde_json::to_string(&sealed).map_err(|error| KeyringError::Json(json_fault(&error)))
    }

    /// The key of one object, and its id.
    pub fn content_key(
        &self,
        asset: &AssetId,
        scheme: Scheme,
        rendition: Rendition,
        epoch: Epoch,
    ) -> Result<(KeyId, ContentKey), KeyError> {
        let masters = self.epochs.get(&epoch).ok_or(KeyError::NoEpoch { epoch })?;
        debug_assert_eq!(masters.len(), SHARDS, "an epoch has a master for every first byte of an asset");
        let master = &masters[usize::from(asset.as_bytes()[0])];
        let id = KeyId::derive(asset, scheme, rendition, epoch);
        let mut key = Zeroizing::new([0; 16]);
        Hkdf::<Sha256>::new(None, master)
            .expand_multi_info(&[b"cek/v1", id.as_bytes()], &mut *key)
            .expect("HKDF gives up to 255 hashes of 32 bytes");
        Ok((id, ContentKey(key)))
    }

    /// The epochs that have masters, ascending.
    pub fn epochs(&self) -> impl Iterator<Item = Epoch> {
        self.epochs.keys().copied()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} epochs, hidden)", self.epochs.len())
    }
}

fn unwrap_masters(epoch: Epoch, blobs: &[String], wrap: &dyn KeyWrap) -> Result<Masters, KeyringError> {
    let mut masters: Masters = Zeroizing::new(vec![[0; MASTER_LEN]; blobs.len()]);
    for (shard, (text, master)) in blobs.iter().zip(masters.iter_mut()).enumerate() {
        let refused = |cause| KeyringError::Unwrap { epoch, shard, cause };
        let blob = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| refused(WrapError::Refused))?;
        let plain = wrap.unwrap(&blob, &context(epoch, shard)).map_err(refused)?;
        if plain.len() != MASTER_LEN {
            return Err(refused(WrapError::Refused));
        }
        master.copy_from_slice(&plain);
    }
    Ok(masters)
}

/// What a wrapped master is bound to: purpose, epoch and shard (MEDIA.md §4).
fn context(epoch: Epoch, shard: usize) -> Vec<u8> {
    format!("purpose=cek epoch={epoch} shard={shard}").into_bytes()
}
