//! The header of a stored file, version 1: 4,096 bytes, numbers big-endian, zeros up to the MAC.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `EDGEMEZ1` |
//! | 2 | version, 1 |
//! | 1 | kind: `t` template, `i` index |
//! | 1 | scheme: `c` or `b` |
//! | 16 | asset |
//! | 1 + n | length of the rendition's name, the name |
//! | 8 | bytes of the plain file |
//! | 4 | plain bytes in a chunk, 65,536 |
//! | 8 | nonce prefix |
//! | 32 | SHA-256 of the plain file |
//! | 1 + n | length of the wrapper's name, the name |
//! | 2 + n | length of the wrapped data key, the key |
//! | 1 + 5n | number of key id places; of each: offset (4), rendition number or `ff` for the file's own (1) |
//! | 16 | (last) AES-256-GCM tag over all before, under the data key with nonce number `ffffffff` |

use super::{
    CHUNK_PLAIN_LEN, DataKey, HEADER_LEN, HEADER_NONCE, Identity, Kind, Mezzanine, MezzanineError,
    PLAIN_LEN_MAX, SealError, Sealing, StoredRun, TAG_LEN, WRAPPED_KEY_LEN_MAX, WRAPPER_LEN_MAX, nonce,
};
use crate::content::index::{KIDS_MAX, KidPatch, KidSlot};
use antiphon_core::{AssetId, Rendition, Scheme, Span};
use aws_lc_rs::aead::{Aad, Nonce};
use sha2::{Digest, Sha256};

/// What the header of a stored file says. Well-formed, nothing more: [`Header::unlock`] makes it believable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub(super) identity: Identity,
    /// Invariant: 1 to [`PLAIN_LEN_MAX`]. Upheld by `describe` and `parse`.
    pub(super) plain_len: u64,
    nonce_prefix: [u8; 8],
    pub(super) plain_hash: [u8; 32],
    wrapper: String,
    wrapped_key: Vec<u8>,
    kid_patches: Vec<KidPatch>,
    mac: [u8; TAG_LEN as usize],
}

/// What every chunk of a file is bound to.
pub(super) struct Bound([u8; 32]);

const MAGIC: &[u8; 8] = b"EDGEMEZ1";
const VERSION: u16 = 1;
/// Bytes of the header that the MAC covers.
const COVERED_LEN: usize = HEADER_LEN - TAG_LEN as usize;
/// Stands for the file's own key id.
const OWN: u8 = 0xff;

const _: () = assert!(
    81 + 8 + 1 + WRAPPER_LEN_MAX + 2 + WRAPPED_KEY_LEN_MAX + 1 + 5 * (KIDS_MAX + 1) <= COVERED_LEN,
    "the longest fields fit the header"
);

impl Header {
    /// Reads the first [`HEADER_LEN`] bytes of a stored file; more may follow.
    pub fn parse(bytes: &[u8]) -> Result<Self, MezzanineError> {
        let bytes = bytes.get(..HEADER_LEN).ok_or(MezzanineError::HeaderLen(bytes.len()))?;
        let (covered, mac) = bytes.split_at(COVERED_LEN);
        let mut fields = Fields(covered.strip_prefix(MAGIC).ok_or(MezzanineError::Magic)?);
        match u16::from_be_bytes(fields.take()?) {
            VERSION => {}
            other => return Err(MezzanineError::Version(other)),
        }
        let identity = fields.identity()?;
        let plain_len = u64::from_be_bytes(fields.take()?);
        if !(1..=PLAIN_LEN_MAX).contains(&plain_len) {
            return Err(MezzanineError::Header("an impossible length"));
        }
        if u64::from(u32::from_be_bytes(fields.take()?)) != CHUNK_PLAIN_LEN {
            return Err(MezzanineError::Header("chunks of another length"));
        }
        let nonce_prefix = fields.take()?;
        let plain_hash = fields.take()?;
        let wrapper = fields.wrapper()?;
        let wrapped_key = fields.wrapped_key()?;
        let kid_patches = fields.kid_patches()?;
        if fields.0.iter().any(|byte| *byte != 0) {
            return Err(MezzanineError::Header("bytes after the last field"));
        }
        let mac = mac.try_into().map_err(|_| MezzanineError::HeaderLen(bytes.len()))?;
        Ok(Self { identity, plain_len, nonce_prefix, plain_hash, wrapper, wrapped_key, kid_patches, mac })
    }

    /// Holds the header against its key, then against the file that the caller means to read.
    pub fn unlock(self, data_key: &DataKey, expected: &Identity) -> Result<Mezzanine, MezzanineError> {
        let key = data_key.cipher();
        let covered = self.to_bytes();
        key.open_separate_gather(
            self.nonce(HEADER_NONCE),
            Aad::from(covered.as_slice()),
            &[],
            &self.mac,
            &mut [],
        )
        .map_err(|_| MezzanineError::HeaderMac)?;
        match self.identity == *expected {
            true => Ok(Mezzanine { bound: self.bound(), header: self, key }),
            false => Err(MezzanineError::Identity { found: self.identity, expected: *expected }),
        }
    }

    /// What the file says it holds.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Bytes of the plain file.
    pub fn plain_len(&self) -> u64 {
        self.plain_len
    }

    /// Bytes of the stored file, header included.
    pub fn stored_len(&self) -> u64 {
        HEADER_LEN as u64 + self.plain_len + self.plain_len.div_ceil(CHUNK_PLAIN_LEN) * TAG_LEN
    }

    /// Who can unwrap the data key.
    pub fn wrapper(&self) -> &str {
        &self.wrapper
    }

    /// The data key, wrapped.
    pub fn wrapped_key(&self) -> &[u8] {
        &self.wrapped_key
    }

    /// Where key ids go in a template.
    pub fn kid_patches(&self) -> &[KidPatch] {
        &self.kid_patches
    }

    /// Which bytes of the stored file open `span` of the plain one. May be asked of a header not yet
    /// unlocked, to read both at once.
    pub fn stored_run(&self, span: Span) -> Result<StoredRun, MezzanineError> {
        let outside = MezzanineError::Outside { span, plain_len: self.plain_len };
        if span.end() > self.plain_len {
            return Err(outside);
        }
        let first = span.start() / CHUNK_PLAIN_LEN;
        let after = span.end().div_ceil(CHUNK_PLAIN_LEN);
        let start = HEADER_LEN as u64 + first * (CHUNK_PLAIN_LEN + TAG_LEN);
        let end = (HEADER_LEN as u64 + after * (CHUNK_PLAIN_LEN + TAG_LEN)).min(self.stored_len());
        match (Span::new(start, end), u32::try_from(first)) {
            (Some(span), Ok(first_chunk)) => Ok(StoredRun { span, first_chunk }),
            _ => Err(outside),
        }
    }

    /// The header of a file to be sealed, its MAC still empty.
    pub(super) fn describe(plain: &[u8], sealing: &Sealing<'_>) -> Result<Self, SealError> {
        let plain_len = plain.len() as u64;
        if plain.is_empty() {
            return Err(SealError::Empty);
        }
        if plain_len > PLAIN_LEN_MAX {
            return Err(SealError::TooLong(plain_len));
        }
        if !is_wrapper_name(sealing.wrapper.as_bytes()) {
            return Err(SealError::Wrapper);
        }
        if !(1..=WRAPPED_KEY_LEN_MAX).contains(&sealing.wrapped_key.len()) {
            return Err(SealError::WrappedKey(sealing.wrapped_key.len()));
        }
        if sealing.kid_patches.len() > KIDS_MAX + 1 {
            return Err(SealError::KidPatches(sealing.kid_patches.len()));
        }
        Ok(Self {
            identity: sealing.identity,
            plain_len,
            nonce_prefix: sealing.nonce_prefix,
            plain_hash: Sha256::digest(plain).into(),
            wrapper: sealing.wrapper.to_owned(),
            wrapped_key: sealing.wrapped_key.to_vec(),
            kid_patches: sealing.kid_patches.to_vec(),
            mac: [0; TAG_LEN as usize],
        })
    }

    /// All bytes that the MAC covers.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Identity { kind, asset, rendition, scheme } = self.identity;
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend(MAGIC);
        out.extend(VERSION.to_be_bytes());
        out.push(kind_byte(kind));
        out.push(scheme.letter() as u8);
        out.extend(asset.as_bytes());
        out.push(rendition.name().len() as u8);
        out.extend(rendition.name().as_bytes());
        out.extend(self.plain_len.to_be_bytes());
        out.extend((CHUNK_PLAIN_LEN as u32).to_be_bytes());
        out.extend(self.nonce_prefix);
        out.extend(self.plain_hash);
        out.push(self.wrapper.len() as u8);
        out.extend(self.wrapper.as_bytes());
        out.extend((self.wrapped_key.len() as u16).to_be_bytes());
        out.extend(&self.wrapped_key);
        out.push(self.kid_patches.len() as u8);
        for patch in &self.kid_patches {
            out.extend(patch.offset.to_be_bytes());
            out.push(match patch.slot {
                KidSlot::Own => OWN,
                KidSlot::Rendition(number) => number,
            });
        }
        out.resize(COVERED_LEN, 0);
        out
    }

    /// The nonce `number` of this file.
    pub(super) fn nonce(&self, number: u32) -> Nonce {
        nonce(self.nonce_prefix, number)
    }

    /// Number of the last chunk.
    pub(super) fn last_chunk(&self) -> u32 {
        // Fits: `PLAIN_LEN_MAX` bounds the file.
        ((self.plain_len - 1) / CHUNK_PLAIN_LEN) as u32
    }

    /// What chunks are bound to: a hash of all that the MAC covers.
    pub(super) fn bound(&self) -> Bound {
        Bound(Sha256::digest(self.to_bytes()).into())
    }
}

impl Bound {
    /// The additional data of chunk `number`.
    pub(super) fn chunk(&self, number: u32, last: u32) -> [u8; 37] {
        let mut aad = [0; 37];
        aad[..32].copy_from_slice(&self.0);
        aad[32..36].copy_from_slice(&number.to_be_bytes());
        aad[36] = u8::from(number == last);
        aad
    }
}

fn kind_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Template => b't',
        Kind::Index => b'i',
    }
}

fn is_wrapper_name(name: &[u8]) -> bool {
    (1..=WRAPPER_LEN_MAX).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic)
}

/// What is still to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], MezzanineError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(MezzanineError::Header("too short"))?;
        self.0 = tail;
        Ok(*head)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], MezzanineError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(MezzanineError::Header("too short"))?;
        self.0 = tail;
        Ok(head)
    }

    fn identity(&mut self) -> Result<Identity, MezzanineError> {
        let [kind, scheme] = self.take()?;
        let kind = match kind {
            b't' => Kind::Template,
            b'i' => Kind::Index,
            _ => return Err(MezzanineError::Header("an unknown kind")),
        };
        let scheme = match scheme {
            b'c' => Scheme::Cenc,
            b'b' => Scheme::Cbcs,
            _ => return Err(MezzanineError::Header("an unknown scheme")),
        };
        let asset = AssetId::from_bytes(self.take()?);
        let [len] = self.take()?;
        let name = self.bytes(len.into())?;
        let rendition = Rendition::ALL
            .into_iter()
            .find(|rendition| rendition.name().as_bytes() == name)
            .ok_or(MezzanineError::Header("an unknown rendition"))?;
        Ok(Identity { kind, asset, rendition, scheme })
    }

    fn wrapper(&mut self) -> Result<String, MezzanineError> {
        let [len] = self.take()?;
        let name = self.bytes(len.into())?;
        if !is_wrapper_name(name) {
            return Err(MezzanineError::Header("an impossible wrapper"));
        }
        String::from_utf8(name.to_vec()).map_err(|_| MezzanineError::Header("an impossible wrapper"))
    }

    fn wrapped_key(&mut self) -> Result<Vec<u8>, MezzanineError> {
        let len = usize::from(u16::from_be_bytes(self.take()?));
        if !(1..=WRAPPED_KEY_LEN_MAX).contains(&len) {
            return Err(MezzanineError::Header("an impossible wrapped key"));
        }
        self.bytes(len).map(<[u8]>::to_vec)
    }

    fn kid_patches(&mut self) -> Result<Vec<KidPatch>, MezzanineError> {
        let [count] = self.take()?;
        if usize::from(count) > KIDS_MAX + 1 {
            return Err(MezzanineError::Header("too many key ids"));
        }
        let mut patch = || {
            let offset = u32::from_be_bytes(self.take()?);
            let [number] = self.take()?;
            let slot = if number == OWN { KidSlot::Own } else { KidSlot::Rendition(number) };
            Ok(KidPatch { offset, slot })
        };
        (0..count).map(|_| patch()).collect()
    }
}
