//! Keys under a key: how masters are kept at rest.
//!
//! Promises
//! - What was wrapped in one context is not unwrapped in another.
//! - A changed byte, a wrong key and a wrong context are refused alike, and nothing of the plain text is seen.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use data_encoding::HEXLOWER_PERMISSIVE;
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// Wraps small secrets for keeping: a key in a file by default, a KMS elsewhere.
pub trait KeyWrap {
    /// Which key this is, so that a sealed text can say what opens it. Tells nothing about the key's bytes.
    fn id(&self) -> &str;

    /// Wraps `plain`, bound to `context`. A `nonce` must never come twice under one key: draw it at random.
    fn wrap(&self, plain: &[u8], context: &[u8], nonce: [u8; NONCE_LEN]) -> Result<Vec<u8>, WrapError>;

    /// Unwraps what [`KeyWrap::wrap`] gave for the same `context`.
    fn unwrap(&self, blob: &[u8], context: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError>;
}

/// Why a secret was not wrapped or unwrapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// Too short to have been wrapped by anything.
    #[error("a wrapped key of {len} bytes is cut short")]
    Short {
        /// Its length.
        len: usize,
    },
    /// The wrapping key, the context or a byte is not what it was.
    #[error("the wrapped key was changed, moved, or wrapped by another key")]
    Refused,
    /// The wrapper itself failed; for one that asks a KMS.
    #[error("the key wrapper failed: {0}")]
    Unavailable(String),
}

/// A key-encryption key of 32 bytes, kept in a file that only its service may read. AES-256-GCM; a blob is
/// nonce, ciphertext, tag.
pub struct FileKek {
    key: LessSafeKey,
    id: String,
}

/// Why a text is no key-encryption key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key-encryption key is 64 hexadecimal digits on one line")]
pub struct KekError;

/// Bytes of an AES-GCM nonce.
pub const NONCE_LEN: usize = 12;

const TAG_LEN: usize = 16;
const KEK_LEN: usize = 32;

impl FileKek {
    /// Reads the text of a key file: 64 hexadecimal digits, a line end allowed.
    pub fn from_text(text: &str) -> Result<Self, KekError> {
        let mut bytes = Zeroizing::new([0; KEK_LEN]);
        let line = text.trim_end_matches(['\r', '\n']);
        if line.len() != 2 * KEK_LEN {
            return Err(KekError);
        }
        HEXLOWER_PERMISSIVE.decode_mut(line.as_bytes(), &mut *bytes).map_err(|_| KekError)?;
        Ok(Self::from_bytes(&bytes))
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: &[u8; KEK_LEN]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("32 bytes are a key of AES-256");
        let print = Sha256::new().chain_update(b"kek-id/v1").chain_update(bytes).finalize();
        Self {
            key: LessSafeKey::new(key),
            id: format!("file-{}", data_encoding::HEXLOWER.encode(&print[..6])),
        }
    }

    /// The text of a key file for these bytes, as [`FileKek::from_text`] reads it.
    pub fn file_text(bytes: &[u8; KEK_LEN]) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * KEK_LEN + 1));
        data_encoding::HEXLOWER.encode_append(bytes, &mut text);
        text.push('\n');
        text
    }
}

impl KeyWrap for FileKek {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, plain: &[u8], context: &[u8], nonce: [u8; NONCE_LEN]) -> Result<Vec<u8>, WrapError> {
        let mut blob = Vec::with_capacity(NONCE_LEN + plain.len() + TAG_LEN);
        blob.extend_from_slice(&nonce);
        blob.extend_from_slice(plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut blob[NONCE_LEN..],
            )
            .map_err(|_| WrapError::Refused)?;
        blob.extend_from_slice(tag.as_ref());
        Ok(blob)
    }

    fn unwrap(&self, blob: &[u8], context: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let short = WrapError::Short { len: blob.len() };
        let (nonce, sealed) = blob.split_first_chunk::<NONCE_LEN>().ok_or(short.clone())?;
        let plain_len = sealed.len().checked_sub(TAG_LEN).ok_or(short)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        self.key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(context), &mut plain)
            .map_err(|_| WrapError::Refused)?;
        plain.truncate(plain_len);
        Ok(plain)
    }
}

impl fmt::Debug for FileKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileKek({}, hidden)", self.id)
    }
}
