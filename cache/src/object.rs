//! What an object is called and what is known about it.
//!
//! Does not know: where an object comes from, who may have it.

use antiphon_core::UnixTime;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// The canonical path of an object. Never holds a token or a query.
#[derive(Clone)]
pub struct ObjName {
    text: Arc<str>,
    /// Invariant: made of `text`, in [`ObjName::new`] only.
    key: ObjKey,
}

/// An object in the index: the first 16 bytes of SHA-256 over name space, a zero byte and name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjKey(pub(crate) [u8; 16]);

/// What upstream says about an object besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjMeta {
    /// Bytes of the whole object.
    pub total_len: u64,
    /// Entity tag as sent, quotes included.
    pub etag: Option<String>,
    /// Media type as sent.
    pub content_type: Option<String>,
    /// Date of the last change as sent.
    pub last_modified: Option<String>,
    /// Caching terms as sent.
    pub cache_control: Option<String>,
    /// Version: chunks of different versions never meet in one answer. See [`ObjMeta::version`].
    pub ver: u64,
    /// What the object can be purged by besides its name: [`TAGS_MAX`] tags of [`TAG_BYTES_MAX`] bytes at most.
    pub tags: Vec<String>,
    /// Served without asking until then. `UnixTime(0)`: nothing of the object may be kept.
    pub fresh_until: UnixTime,
    /// Served until then while one request in the background asks whether it has changed.
    pub stale_while_revalidate_until: UnixTime,
    /// Served until then if upstream fails or is too slow.
    pub stale_if_error_until: UnixTime,
}

/// One chunk of one object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChunkKey {
    /// The object.
    pub obj: ObjKey,
    /// Number of the chunk inside it, from 0.
    pub no: u32,
}

/// An object has at most so many tags; further ones are not read.
pub const TAGS_MAX: usize = 64;

/// A tag has at most so many bytes; a longer one is not read.
pub const TAG_BYTES_MAX: usize = 256;

/// The end of time, for what stays fresh as long as it is not purged.
const FOREVER: UnixTime = UnixTime(u64::MAX);

/// The one name space there is yet; part of the key so that a second one needs no new format.
const NAME_SPACE: &[u8] = b"antiphon";

impl ObjName {
    /// Names the object at the canonical path `text`.
    pub fn new(text: &str) -> Self {
        let hash = Sha256::new().chain_update(NAME_SPACE).chain_update([0]).chain_update(text).finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        Self { text: text.into(), key: ObjKey(key) }
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key in every index.
    pub fn key(&self) -> ObjKey {
        self.key
    }
}

impl ObjKey {
    /// The key with these bytes, as read from a volume.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the key, as written to a volume.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl ObjMeta {
    /// Describes an object that stays fresh for ever and has no tags; `ver` follows from entity tag and length.
    pub fn new(total_len: u64, etag: Option<String>) -> Self {
        let ver = Self::version(total_len, etag.as_deref());
        Self {
            total_len,
            etag,
            content_type: None,
            last_modified: None,
            cache_control: None,
            ver,
            tags: Vec::new(),
            fresh_until: FOREVER,
            stale_while_revalidate_until: FOREVER,
            stale_if_error_until: FOREVER,
        }
    }

    /// Whether anything of the object may be kept.
    pub fn may_be_kept(&self) -> bool {
        self.fresh_until > UnixTime(0)
    }

    /// The version of an object: the first eight bytes of SHA-256 over length and entity tag.
    pub fn version(total_len: u64, etag: Option<&str>) -> u64 {
        let hash = Sha256::new()
            .chain_update(total_len.to_le_bytes())
            .chain_update([u8::from(etag.is_some())])
            .chain_update(etag.unwrap_or_default())
            .finalize();
        let mut ver = [0; 8];
        ver.copy_from_slice(&hash[..8]);
        u64::from_le_bytes(ver)
    }
}

impl fmt::Debug for ObjName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ObjName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ObjKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// SHA-256 over the bytes of a fetch as they come in.
pub(crate) struct BodyDigest(Sha256);

impl BodyDigest {
    pub fn new() -> Self {
        Self(Sha256::new())
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_have_keys_that_differ() {
        assert_ne!(ObjName::new("/a").key(), ObjName::new("/b").key());
        assert_eq!(ObjName::new("/a").key(), ObjName::new("/a").key());
    }

    #[test]
    fn another_tag_or_length_is_another_version() {
        let one = ObjMeta::new(10, Some("\"x\"".into()));
        assert_eq!(one.ver, ObjMeta::new(10, Some("\"x\"".into())).ver);
        assert_ne!(one.ver, ObjMeta::new(11, Some("\"x\"".into())).ver);
        assert_ne!(one.ver, ObjMeta::new(10, Some("\"y\"".into())).ver);
        assert_ne!(ObjMeta::new(10, None).ver, ObjMeta::new(10, Some(String::new())).ver);
    }
}
