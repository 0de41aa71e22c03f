//! Content keys: which epoch an asset is in, what its keys are called, and how they are derived (MEDIA.md §4).
//!
//! Promises
//! - Keys are computed, never stored: the same asset, scheme, rendition and epoch give the same key for as
//!   long as the epoch's masters exist, and nothing once they are destroyed.
//! - Assets change epochs one by one: in any second of a 30-day period about the same share of them does.
//! - A [`ContentKey`] cannot be printed, cloned, serialised or compared in a hurry.
//!
//! Does not know: listeners, tokens, where masters lie.

mod keyring;
mod wrap;

pub use keyring::{EPOCHS_MAX, KEYRING_TEXT_MAX, KeyError, Keyring, KeyringError, SHARDS};
pub use wrap::{FileKek, KekError, KeyWrap, NONCE_LEN, WrapError};

use antiphon_core::{AssetId, Epoch, Rendition, Scheme, UnixTime};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Public name of a content key: opaque, and the same for everybody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 16]);

/// An AES-128 key that samples are encrypted with.
pub struct ContentKey(Zeroizing<[u8; 16]>);

/// Why a text is no key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 32 lowercase hexadecimal digits")]
pub struct KeyIdError;

/// Length of an epoch: 30 days.
pub const EPOCH_SECS: u64 = 30 * 86_400;

/// How long before any asset needs them the masters of an epoch are made.
pub const MASTERS_AHEAD_SECS: u64 = 7 * 86_400;

/// How long before an asset enters an epoch its objects may be fetched (MEDIA.md §10).
pub const PREFETCH_SECS: u64 = 86_400;

/// The epoch `asset` is in at `at`. `bump` counts the times its keys were changed out of turn, after a leak.
pub fn epoch_at(asset: &AssetId, at: UnixTime, bump: u32) -> Epoch {
    let turns = at.0.saturating_add(stagger_secs(asset)) / EPOCH_SECS;
    Epoch(u32::try_from(turns).unwrap_or(u32::MAX).saturating_add(bump))
}

/// The first moment at which `asset` is past `epoch`.
pub fn epoch_ends(asset: &AssetId, epoch: &Epoch, bump: u32) -> UnixTime {
    let turns = (u64::from(epoch.0) + 1).saturating_sub(u64::from(bump));
    UnixTime((turns * EPOCH_SECS).saturating_sub(stagger_secs(asset)))
}

/// The epochs that players may ask for at `now`: from the last one of the slowest asset to the one that the
/// fastest asset is in [`PREFETCH_SECS`] later. An origin whose ring lacks one of them fails listeners.
pub fn epochs_served(now: UnixTime) -> RangeInclusive<Epoch> {
    epoch_no((now.0 / EPOCH_SECS).saturating_sub(1))..=fastest_epoch(now.plus(PREFETCH_SECS))
}

/// The epochs whose masters are to be made at `now`, if they are missing: those that are served, those that
/// the fastest asset reaches within [`MASTERS_AHEAD_SECS`], and one more. Made once in 30 days they last, and
/// an asset whose keys leaked can be bumped at once.
pub fn epochs_needed(now: UnixTime) -> RangeInclusive<Epoch> {
    let ahead = fastest_epoch(now.plus(MASTERS_AHEAD_SECS));
    *epochs_served(now).start()..=epoch_no(u64::from(ahead.0) + 1)
}

/// The epoch of an asset that changes as early as any.
fn fastest_epoch(at: UnixTime) -> Epoch {
    epoch_no(at.plus(EPOCH_SECS - 1).0 / EPOCH_SECS)
}

fn epoch_no(turns: u64) -> Epoch {
    Epoch(u32::try_from(turns).unwrap_or(u32::MAX))
}

/// How much earlier than the calendar `asset` changes epochs; less than an epoch, spread by the asset's hash.
fn stagger_secs(asset: &AssetId) -> u64 {
    let hash = Sha256::digest(asset.as_bytes());
    u64::from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])) % EPOCH_SECS
}

impl KeyId {
    /// The id of the key of one object.
    pub fn derive(asset: &AssetId, scheme: Scheme, rendition: Rendition, epoch: Epoch) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"kid/v1");
        hash.update(asset.as_bytes());
        hash.update([scheme.letter() as u8]);
        hash.update(rendition.name());
        hash.update(epoch.0.to_be_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl ContentKey {
    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the cipher or the licence.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

/// In constant time.
impl PartialEq for ContentKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for ContentKey {}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey(hidden)")
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| KeyIdError)?;
        bytes.try_into().map(Self).map_err(|_| KeyIdError)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
