//! Any span of a template becomes the same span of the object of one epoch (MEDIA.md §10).
//!
//! Promises
//! - The same bytes come out whether an object is made whole or in pieces of any size.
//! - Only key ids and samples change; boxes, sizes and padding stay.
//!
//! Does not know: how keys are derived, where templates come from.

use super::ctr::{SampleCipher, SampleIv};
use super::index::{Fragment, KID_LEN, KidPatch, KidSlot, SampleIndex};
use crate::keys::{ContentKey, KeyId};
use antiphon_core::Span;
use std::borrow::Borrow;
use std::ops::Range;

/// Makes one object out of its template: the key expanded and the key ids sorted out once, for any number of
/// spans. `I` is the index, owned, shared or borrowed.
#[derive(Debug)]
pub struct Encryptor<I> {
    index: I,
    cipher: SampleCipher,
    /// Invariant: as many as the index has key id slots. Upheld by `new`.
    kids: Vec<KeyId>,
    /// Invariant: one of `kids`. Upheld by `new`.
    own: KeyId,
}

/// Why a span cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// Key ids of some other track.
    #[error("{got} key ids for a track of {want} renditions")]
    KidCount {
        /// How many were given.
        got: usize,
        /// How many the template has room for.
        want: usize,
    },
    /// A rendition that the track does not have.
    #[error("rendition number {own} of a track of {want}")]
    Own {
        /// The number given, from 0.
        own: usize,
        /// How many renditions there are.
        want: usize,
    },
    /// A span past the end.
    #[error("bytes {span:?} of an object of {total_len}")]
    Outside {
        /// The span asked for.
        span: Span,
        /// Bytes the object has.
        total_len: u64,
    },
    /// A buffer that is not the span.
    #[error("{got} bytes for a span of {}", .span.len())]
    BufferLen {
        /// Bytes in the buffer.
        got: usize,
        /// The span it should hold.
        span: Span,
    },
}

impl<I: Borrow<SampleIndex>> Encryptor<I> {
    /// Prepares the object of rendition number `own`; `kids` are the key ids of all renditions of the track
    /// by rising bit rate, `key` is the one that `kids[own]` names.
    pub fn new(index: I, key: &ContentKey, kids: &[KeyId], own: usize) -> Result<Self, EncryptError> {
        let want = index.borrow().kid_count();
        if kids.len() != want {
            return Err(EncryptError::KidCount { got: kids.len(), want });
        }
        let own = *kids.get(own).ok_or(EncryptError::Own { own, want })?;
        Ok(Self { index, cipher: SampleCipher::new(key.expose()), kids: kids.to_vec(), own })
    }

    /// The layout of the object.
    pub fn index(&self) -> &SampleIndex {
        self.index.borrow()
    }

    /// Turns `bytes`, which hold exactly `span` of the template, into that span of the object, in place.
    pub fn apply(&self, span: Span, bytes: &mut [u8]) -> Result<(), EncryptError> {
        let index = self.index();
        let total_len = index.total_len();
        if span.end() > total_len {
            return Err(EncryptError::Outside { span, total_len });
        }
        if bytes.len() as u64 != span.len() {
            return Err(EncryptError::BufferLen { got: bytes.len(), span });
        }
        index.kid_patches().iter().for_each(|patch| self.put_kid(*patch, span, bytes));
        index.fragments_in(span).iter().for_each(|fragment| self.encrypt_fragment(fragment, span, bytes));
        Ok(())
    }

    fn put_kid(&self, patch: KidPatch, span: Span, bytes: &mut [u8]) {
        let kid = match patch.slot {
            KidSlot::Own => self.own,
            KidSlot::Rendition(number) => self.kids[usize::from(number)],
        };
        let start = u64::from(patch.offset);
        if let Some(part) = Part::of(span, start, start + u64::from(KID_LEN)) {
            let kid = &kid.as_bytes()[part.skipped as usize..];
            let here = &mut bytes[part.here];
            here.copy_from_slice(&kid[..here.len()]);
        }
    }

    fn encrypt_fragment(&self, fragment: &Fragment, span: Span, bytes: &mut [u8]) {
        let mut start = fragment.payload;
        for (number, size) in (fragment.first_sample..).zip(self.index().sizes_of(fragment)) {
            let end = start + u64::from(*size);
            if start >= span.end() {
                break;
            }
            if let Some(part) = Part::of(span, start, end) {
                let iv = SampleIv::new(fragment.variant, number);
                self.cipher.apply(iv, part.skipped, &mut bytes[part.here]);
            }
            start = end;
        }
    }
}

/// The part of a thing that lies in a span.
struct Part {
    /// Where it is in a buffer that holds the span.
    here: Range<usize>,
    /// How many bytes of the thing lie before it.
    skipped: u32,
}

impl Part {
    /// The part of `start..end` in `span`, if there is any; things are shorter than 4 GiB.
    fn of(span: Span, start: u64, end: u64) -> Option<Self> {
        let part = Span::new(start, end)?.overlap(span)?;
        Some(Self { here: span.offsets_of(part)?, skipped: u32::try_from(part.start() - start).ok()? })
    }
}

/// [`Encryptor`] for a single span: turns `bytes`, which hold `span` of the template, into that span of the
/// object, in place.
pub fn encrypt_range(
    bytes: &mut [u8],
    span: Span,
    index: &SampleIndex,
    key: &ContentKey,
    kids: &[KeyId],
    own: usize,
) -> Result<(), EncryptError> {
    Encryptor::new(index, key, kids, own)?.apply(span, bytes)
}
