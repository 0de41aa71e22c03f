//! Templates and their indexes as the object store keeps them: encrypted at rest, opened by the chunk.
//!
//! A stored file is a header of [`HEADER_LEN`] bytes, then chunks of [`CHUNK_PLAIN_LEN`] plain bytes (the last
//! one shorter), each sealed by AES-256-GCM and followed by its tag. Nonce: the file's prefix and the chunk's
//! number; additional data: the hash of the header, the number, and whether it is the last. So a chunk opens
//! in its own place of its own file only, and a range of the plain file is one range of the stored one.
//!
//! Promises
//! - Bytes come out only of chunks whose tags match; one bad tag in a span and nothing of the span comes out.
//! - A header is believed only once [`Header::unlock`] has held it against the data key and against what
//!   the caller expects to find in the file.
//!
//! Does not know: how the data key was wrapped, which it carries as opaque bytes; object stores; randomness.
//! The caller takes a fresh data key for every file (and with it a fresh nonce prefix).

mod header;

use super::index::KidPatch;
use antiphon_core::{AssetId, Rendition, Scheme, Span};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use header::Bound;
pub use header::Header;
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// What a stored file holds. Part of the header, so that no file can stand in for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// A template or an index.
    pub kind: Kind,
    /// Of which recording.
    pub asset: AssetId,
    /// Of which encoding of it.
    pub rendition: Rendition,
    /// For which scheme it is laid out.
    pub scheme: Scheme,
}

/// Which of the files of a rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The template (`.mez`).
    Template,
    /// The sample index (`.six`).
    Index,
}

/// The AES-256 key of one stored file: zeroed on drop, hidden, not to be cloned.
pub struct DataKey(Zeroizing<[u8; 32]>);

/// All that goes into the header of a file to be sealed.
#[derive(Debug)]
pub struct Sealing<'a> {
    /// What the file holds.
    pub identity: Identity,
    /// Its key; never used for another file.
    pub data_key: &'a DataKey,
    /// Who can unwrap `wrapped_key`.
    pub wrapper: &'a str,
    /// The data key, wrapped; opaque here.
    pub wrapped_key: &'a [u8],
    /// First eight bytes of every nonce.
    pub nonce_prefix: [u8; 8],
    /// Where key ids go, for a template; empty for an index.
    pub kid_patches: &'a [KidPatch],
}

/// A stored file whose header has been held against its key: opens chunks.
pub struct Mezzanine {
    header: Header,
    bound: Bound,
    key: LessSafeKey,
}

/// Where a span of the plain file lies in the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// The bytes to read.
    pub span: Span,
    /// Number of the first chunk in them.
    first_chunk: u32,
}

/// Why something cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Nothing to keep.
    #[error("an empty file cannot be sealed")]
    Empty,
    /// More than a nonce can count.
    #[error("a file of {0} bytes cannot be sealed: at most {PLAIN_LEN_MAX}")]
    TooLong(u64),
    /// A wrapper's name that does not fit the header.
    #[error("the name of a key wrapper has 1 to {WRAPPER_LEN_MAX} printable characters")]
    Wrapper,
    /// A wrapped key that does not fit the header.
    #[error("a wrapped data key of {0} bytes: 1 to {WRAPPED_KEY_LEN_MAX} fit the header")]
    WrappedKey(usize),
    /// More key ids than a template has.
    #[error("{0} key id places do not fit the header")]
    KidPatches(usize),
    /// The cipher refused; a defect.
    #[error("the cipher refused to seal")]
    Cipher,
}

/// Why a stored file is not believed. Each means damage or forgery, never the listener's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MezzanineError {
    /// Not one of our files.
    #[error("these bytes are no stored mezzanine")]
    Magic,
    /// A file of another time.
    #[error("mezzanine version {0} is not known here")]
    Version(u16),
    /// Fewer bytes than a header has.
    #[error("the mezzanine's header has {0} bytes, not {HEADER_LEN}")]
    HeaderLen(usize),
    /// A header that contradicts itself.
    #[error("the mezzanine's header is unusable: {0}")]
    Header(&'static str),
    /// The header is not what was sealed under this key.
    #[error("the mezzanine's header was altered, or this is not its key")]
    HeaderMac,
    /// Intact, but not the file that was asked for.
    #[error("the mezzanine holds {found:?}, not {expected:?}")]
    Identity {
        /// What its header says.
        found: Identity,
        /// What was asked for.
        expected: Identity,
    },
    /// A span past the end of the plain file.
    #[error("bytes {span:?} of a mezzanine of {plain_len}")]
    Outside {
        /// The span asked for.
        span: Span,
        /// Bytes the plain file has.
        plain_len: u64,
    },
    /// The store gave fewer or more bytes than the span has.
    #[error("{got} stored bytes where {want} were read")]
    StoredLen {
        /// Bytes given.
        got: u64,
        /// Bytes that make the span.
        want: u64,
    },
    /// A chunk is not what was sealed in this place.
    #[error("chunk {chunk} of the mezzanine was altered")]
    Chunk {
        /// Its number, from 0.
        chunk: u32,
    },
    /// All tags match, but it is not the plain file whose hash the header gives; a defect of the writer.
    #[error("the opened mezzanine is not the file that its header describes")]
    PlainHash,
}

/// Bytes of the header.
pub const HEADER_LEN: usize = 4096;
/// Plain bytes in a chunk; only the last one has fewer.
pub const CHUNK_PLAIN_LEN: u64 = 65_536;
/// Bytes of the tag behind a chunk.
pub const TAG_LEN: u64 = 16;
/// Longest plain file: 16 GiB, far below what the 32-bit chunk number allows.
pub const PLAIN_LEN_MAX: u64 = 1 << 34;
/// Longest name of a key wrapper.
pub const WRAPPER_LEN_MAX: usize = 128;
/// Longest wrapped data key; a KMS needs about 200 bytes.
pub const WRAPPED_KEY_LEN_MAX: usize = 2048;

/// The nonce number that seals the header. No chunk has it.
const HEADER_NONCE: u32 = u32::MAX;
const _: () =
    assert!(PLAIN_LEN_MAX / CHUNK_PLAIN_LEN < HEADER_NONCE as u64, "no chunk shares the header's nonce");

/// Seals a whole plain file.
pub fn seal(plain: &[u8], sealing: &Sealing<'_>) -> Result<Vec<u8>, SealError> {
    let key = sealing.data_key.cipher();
    let header = Header::describe(plain, sealing)?;
    let mut out = header.to_bytes();
    out.reserve_exact(
        usize::try_from(header.stored_len()).map_err(|_| SealError::TooLong(plain.len() as u64))?,
    );
    let mac = key
        .seal_in_place_separate_tag(header.nonce(HEADER_NONCE), Aad::from(out.as_slice()), &mut [])
        .map_err(|_| SealError::Cipher)?;
    out.extend(mac.as_ref());
    debug_assert_eq!(out.len(), HEADER_LEN, "the header has its length");
    let bound = header.bound();
    for (number, chunk) in (0..).zip(plain.chunks(CHUNK_PLAIN_LEN as usize)) {
        let start = out.len();
        out.extend(chunk);
        let aad = bound.chunk(number, header.last_chunk());
        let tag = key
            .seal_in_place_separate_tag(header.nonce(number), Aad::from(aad), &mut out[start..])
            .map_err(|_| SealError::Cipher)?;
        out.extend(tag.as_ref());
    }
    Ok(out)
}

impl Mezzanine {
    /// What the file holds.
    pub fn identity(&self) -> Identity {
        self.header.identity
    }

    /// Bytes of the plain file.
    pub fn plain_len(&self) -> u64 {
        self.header.plain_len
    }

    /// The header, now believed.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Which bytes of the stored file open `span` of the plain one.
    pub fn stored_run(&self, span: Span) -> Result<StoredRun, MezzanineError> {
        self.header.stored_run(span)
    }

    /// Opens `span` of the plain file out of `stored`, the bytes of its [`StoredRun`].
    pub fn open(&self, span: Span, stored: &[u8]) -> Result<Vec<u8>, MezzanineError> {
        let run = self.stored_run(span)?;
        if stored.len() as u64 != run.span.len() {
            return Err(MezzanineError::StoredLen { got: stored.len() as u64, want: run.span.len() });
        }
        let sealed_len = (CHUNK_PLAIN_LEN + TAG_LEN) as usize;
        let mut plain = vec![0; stored.len() - stored.len().div_ceil(sealed_len) * TAG_LEN as usize];
        let chunks = stored.chunks(sealed_len).zip(plain.chunks_mut(CHUNK_PLAIN_LEN as usize));
        for (number, (sealed, plain)) in (run.first_chunk..).zip(chunks) {
            let (text, tag) = sealed.split_at(plain.len());
            let aad = self.bound.chunk(number, self.header.last_chunk());
            self.key
                .open_separate_gather(self.header.nonce(number), Aad::from(aad), text, tag, plain)
                .map_err(|_| MezzanineError::Chunk { chunk: number })?;
        }
        // Fits: both are parts of a buffer.
        let skipped = (span.start() - u64::from(run.first_chunk) * CHUNK_PLAIN_LEN) as usize;
        plain.truncate(skipped + span.len() as usize);
        plain.drain(..skipped);
        Ok(plain)
    }

    /// Opens the whole file out of all its stored bytes, header included, and holds it against the hash of
    /// the plain file.
    pub fn open_whole(&self, stored: &[u8]) -> Result<Vec<u8>, MezzanineError> {
        let whole = Span::whole(self.plain_len()).ok_or(MezzanineError::Header("an empty file"))?;
        let want = self.header.stored_len();
        if stored.len() as u64 != want {
            return Err(MezzanineError::StoredLen { got: stored.len() as u64, want });
        }
        let plain = self.open(whole, &stored[HEADER_LEN..])?;
        match Sha256::digest(&plain).as_slice() == self.header.plain_hash {
            true => Ok(plain),
            false => Err(MezzanineError::PlainHash),
        }
    }
}

impl Identity {
    /// What a key wrapper should bind the data key to: a wrapped key moved to another file then fails to
    /// unwrap.
    pub fn wrap_context(&self) -> Vec<u8> {
        format!(
            "mezzanine/v1 {} {} {} {}",
            self.kind.name(),
            self.asset,
            self.rendition,
            self.scheme.fourcc()
        )
        .into_bytes()
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Index => "index",
        }
    }
}

impl DataKey {
    /// The key with these bytes, which must be random.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key in `bytes`, if they are as many as a key has; for what a key wrapper has unwrapped.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_bytes)
    }

    /// The bytes, to be wrapped.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    #[expect(clippy::expect_used, reason = "a key of 32 bytes is what AES-256 takes")]
    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, self.0.as_slice()).expect("AES-256 takes 32 bytes"))
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(hidden)")
    }
}

impl fmt::Debug for Mezzanine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mezzanine").field("header", &self.header).finish_non_exhaustive()
    }
}

/// The nonce `number` of a file.
fn nonce(prefix: [u8; 8], number: u32) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&prefix);
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}
