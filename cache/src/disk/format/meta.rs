//! Metadata of an object as the payload of a record.
//!
//! Numbers come first, then texts, each behind its length. The record's checksum covers it; what is checked here is
//! that lengths and texts hold together and stay inside their limits.

use super::{FormatError, META_LEN_MAX};
use crate::object::{ObjMeta, TAG_BYTES_MAX, TAGS_MAX};
use antiphon_core::UnixTime;

/// First bytes: the layout of what follows.
const LAYOUT: u16 = 1;

/// In place of a length: there is no text.
const NONE: u16 = u16::MAX;

/// Bytes a text of the metadata may have; longer ones fit no header upstream may send.
pub const TEXT_LEN_MAX: usize = 8 * 1024;

const WHAT: &str = "metadata of an object";

/// Metadata that has no place on a volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an object's {field} has {got}, {max} at most are stored")]
pub struct MetaTooLong {
    field: &'static str,
    got: usize,
    max: usize,
}

impl ObjMeta {
    /// The bytes that store it, [`META_LEN_MAX`] at most.
    pub fn encode(&self) -> Result<Vec<u8>, MetaTooLong> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(LAYOUT.to_le_bytes());
        for number in [
            self.total_len,
            self.ver,
            self.fresh_until.0,
            self.stale_while_revalidate_until.0,
            self.stale_if_error_until.0,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        for (field, text) in [
            ("entity tag", &self.etag),
            ("media type", &self.content_type),
            ("date", &self.last_modified),
            ("caching terms", &self.cache_control),
        ] {
            match text {
                Some(text) => append(&mut bytes, field, text, TEXT_LEN_MAX)?,
                None => bytes.extend(NONE.to_le_bytes()),
            }
        }
        let count = limited("number of tags", self.tags.len(), TAGS_MAX)?;
        bytes.extend(count.to_le_bytes());
        for tag in &self.tags {
            append(&mut bytes, "tag", tag, TAG_BYTES_MAX)?;
        }
        debug_assert!(bytes.len() <= META_LEN_MAX);
        Ok(bytes)
    }

    /// Reads all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut rest = Rest { bytes, len: bytes.len() };
        let found = rest.u16()?;
        if found != LAYOUT {
            return Err(FormatError::Version { what: WHAT, found });
        }
        let (total_len, ver) = (rest.u64()?, rest.u64()?);
        let [fresh, revalidate, error] = [rest.u64()?, rest.u64()?, rest.u64()?].map(UnixTime);
        let mut meta = Self {
            total_len,
            etag: rest.text(TEXT_LEN_MAX)?,
            content_type: rest.text(TEXT_LEN_MAX)?,
            last_modified: rest.text(TEXT_LEN_MAX)?,
            cache_control: rest.text(TEXT_LEN_MAX)?,
            ver,
            tags: Vec::new(),
            fresh_until: fresh,
            stale_while_revalidate_until: revalidate,
            stale_if_error_until: error,
        };
        let count = rest.u16()?;
        if usize::from(count) > TAGS_MAX {
            return Err(field("number of tags", count.into()));
        }
        for _ in 0..count {
            meta.tags.push(rest.text(TAG_BYTES_MAX)?.ok_or(field("length of a tag", NONE.into()))?);
        }
        if rest.bytes.is_empty() { Ok(meta) } else { Err(field("bytes too many", rest.bytes.len() as u64)) }
    }
}

const _: () = assert!(
    42 + 4 * (2 + TEXT_LEN_MAX) + 2 + TAGS_MAX * (2 + TAG_BYTES_MAX) <= META_LEN_MAX,
    "metadata inside its limits fits a record"
);

fn append(bytes: &mut Vec<u8>, field: &'static str, text: &str, max: usize) -> Result<(), MetaTooLong> {
    bytes.extend(limited(field, text.len(), max)?.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}

fn limited(field: &'static str, got: usize, max: usize) -> Result<u16, MetaTooLong> {
    let too_long = MetaTooLong { field, got, max };
    if got > max { Err(too_long) } else { u16::try_from(got).map_err(|_| too_long) }
}

fn field(field: &'static str, value: u64) -> FormatError {
    FormatError::Field { what: WHAT, field, value }
}

/// What has not been read yet, of `len` bytes in all.
struct Rest<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let want = self.len - self.bytes.len() + count;
        let short = FormatError::Short { what: WHAT, got: self.len, want };
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(short)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(super::get(self.take(2)?, 0)))
    }

    fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(super::get(self.take(8)?, 0)))
    }

    fn text(&mut self, max: usize) -> Result<Option<String>, FormatError> {
        let len = self.u16()?;
        if len == NONE {
            return Ok(None);
        }
        if usize::from(len) > max {
            return Err(field("length of a text", len.into()));
        }
        let bytes = self.take(len.into())?;
        let text =
            str::from_utf8(bytes).map_err(|error| field("text at byte", error.valid_up_to() as u64))?;
        Ok(Some(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_meta() -> impl Strategy<Value = ObjMeta> {
        let text = || proptest::option::of("\\PC{0,40}");
        let tags = proptest::collection::vec("\\PC{0,40}", 0..=TAGS_MAX);
        (any::<[u64; 5]>(), text(), text(), text(), text(), tags).prop_map(
            |([total_len, ver, fresh, swr, sie], etag, content_type, last_modified, cache_control, tags)| {
                ObjMeta {
                    total_len,
                    etag,
                    content_type,
                    last_modified,
                    cache_control,
                    ver,
                    tags,
                    fresh_until: UnixTime(fresh),
                    stale_while_revalidate_until: UnixTime(swr),
                    stale_if_error_until: UnixTime(sie),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn metadata_is_read_back_and_never_cut_or_longer(meta in any_meta(), cut in any::<prop::sample::Index>()) {
            let mut bytes = meta.encode().unwrap();
            prop_assert_eq!(ObjMeta::decode(&bytes), Ok(meta));
            prop_assert!(ObjMeta::decode(&bytes[..cut.index(bytes.len())]).is_err());
            bytes.push(0);
            prop_assert!(ObjMeta::decode(&bytes).is_err());
        }

        #[test]
        fn damaged_metadata_is_read_as_something_inside_its_limits_or_refused(
            meta in any_meta(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = meta.encode().unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = ObjMeta::decode(&bytes) {
                prop_assert_eq!(read.encode().unwrap(), bytes);
            }
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = ObjMeta::decode(&bytes);
            if let Some(layout) = bytes.first_chunk_mut::<2>() {
                *layout = LAYOUT.to_le_bytes();
            }
            if let Ok(read) = ObjMeta::decode(&bytes) {
                prop_assert_eq!(read.encode().unwrap(), bytes);
            }
        }
    }

    #[test]
    fn metadata_at_its_limits_fits_a_record_and_one_step_past_it_is_refused() {
        let full = ObjMeta {
            etag: Some("e".repeat(TEXT_LEN_MAX)),
            content_type: Some("t".repeat(TEXT_LEN_MAX)),
            last_modified: Some("d".repeat(TEXT_LEN_MAX)),
            cache_control: Some("c".repeat(TEXT_LEN_MAX)),
            tags: vec!["x".repeat(TAG_BYTES_MAX); TAGS_MAX],
            ..ObjMeta::new(1, None)
        };
        let bytes = full.encode().unwrap();
        assert!(bytes.len() <= META_LEN_MAX);
        assert_eq!(ObjMeta::decode(&bytes).as_ref(), Ok(&full));

        let long = ObjMeta { etag: Some("e".repeat(TEXT_LEN_MAX + 1)), ..full.clone() };
        let many = ObjMeta { tags: vec![String::new(); TAGS_MAX + 1], ..full.clone() };
        let wide = ObjMeta { tags: vec!["x".repeat(TAG_BYTES_MAX + 1)], ..full };
        assert!(long.encode().is_err() && many.encode().is_err() && wide.encode().is_err());
    }

    #[test]
    fn another_layout_is_refused_by_name() {
        let mut bytes = ObjMeta::new(1, None).encode().unwrap();
        bytes[0] = 2;
        assert_eq!(ObjMeta::decode(&bytes), Err(FormatError::Version { what: WHAT, found: 2 }));
    }
}
