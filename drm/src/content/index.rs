//! Where everything lies in an object: what the origin needs to encrypt any span of it (MEDIA.md §10).
//!
//! Promises
//! - An index that exists is consistent: fragments follow one another without a gap, samples fill their
//!   fragments, key ids lie in the init segment. Only [`SampleIndex::assemble`] makes one.
//! - The byte form carries a version and a hash of itself; [`SampleIndex::from_bytes`] takes time and memory
//!   in proportion to the bytes given.
//!
//! Does not know: keys, key ids, the samples themselves.

mod bytes;

use antiphon_core::{Scheme, Span};

/// The layout of one template and of every object made from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleIndex {
    facts: Facts,
    /// Invariant: first the track's own key id, then those of all renditions in order, at rising offsets,
    /// [`KID_LEN`] bytes each, all inside the init segment. Upheld by `assemble`.
    kid_patches: Vec<KidPatch>,
    /// Invariant: never empty, contiguous from `init_len + sidx_len` on. Upheld by `assemble`.
    fragments: Vec<Fragment>,
    /// Length of each sample. Invariant: as many as the fragments count together.
    sizes: Vec<u32>,
}

/// What is known of a track as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// How samples will be encrypted.
    pub scheme: Scheme,
    /// As a `codecs` parameter names the codec.
    pub codecs: String,
    /// Channels of the audio.
    pub channels: u8,
    /// Units a second.
    pub timescale: u32,
    /// Units an ordinary sample lasts.
    pub frame: u32,
    /// Units at the beginning that are not heard.
    pub priming: u64,
    /// Units that are heard.
    pub play: u64,
    /// Bytes of `ftyp` and `moov`.
    pub init_len: u32,
    /// Bytes of `sidx`.
    pub sidx_len: u32,
    /// Bits a second over the whole track.
    pub bandwidth: u64,
    /// Bits a second of the fragment that has most.
    pub max_bandwidth: u64,
}

/// A place in the init segment where a key id is written when an object is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KidPatch {
    /// Where the key id begins in the file.
    pub offset: u32,
    /// Whose key id.
    pub slot: KidSlot,
}

/// Whose key id stands at a [`KidPatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KidSlot {
    /// That of the rendition the file holds (`tenc`).
    Own,
    /// That of the rendition with this number, counted by rising bit rate (`pssh`).
    Rendition(u8),
}

/// One `moof` and its `mdat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where `moof` begins in the file.
    pub moof: u64,
    /// Where the first sample begins in the file.
    pub payload: u64,
    /// Where the fragment ends in the file.
    pub end: u64,
    /// Number of its first sample in the track, from 0.
    pub first_sample: u32,
    /// How many samples it has.
    pub samples: u16,
    /// 0 for A or unmarked, 1 for B: the first byte of every IV.
    pub variant: u8,
}

/// A fragment before it has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentShape {
    /// Bytes of `moof`.
    pub moof_len: u32,
    /// Bytes of the payload of `mdat`: its samples, and what pads them.
    pub payload_len: u32,
    /// How many samples it has.
    pub samples: u16,
    /// 0 for A or unmarked, 1 for B.
    pub variant: u8,
}

/// Why some numbers are no index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The bytes are no index of ours.
    #[error("these bytes are no sample index")]
    Magic,
    /// An index of another time.
    #[error("sample index version {0} is not known here")]
    Version(u16),
    /// Fewer or more bytes than the counts inside ask for.
    #[error("the sample index ends too early or too late")]
    Length,
    /// The bytes are not those that were written.
    #[error("the sample index is damaged: its hash does not match")]
    Hash,
    /// Numbers that contradict each other.
    #[error("the sample index contradicts itself: {0}")]
    Inconsistent(&'static str),
}

/// Bytes of a key id.
pub const KID_LEN: u32 = 16;
/// Most renditions of a track, and so most key ids in an init segment.
pub const KIDS_MAX: usize = 16;
/// Most fragments: what the 16-bit count of `sidx` can say; 36 hours of them.
pub const FRAGMENTS_MAX: usize = 0xffff;
/// Bytes of the header of `mdat`.
pub const MDAT_HEADER_LEN: u32 = 8;

impl SampleIndex {
    /// Puts fragments one behind the other after `sidx` and holds all numbers against each other.
    pub fn assemble(
        facts: Facts,
        kid_offsets: &[u32],
        shapes: &[FragmentShape],
        sizes: Vec<u32>,
    ) -> Result<Self, IndexError> {
        check_facts(&facts)?;
        let kid_patches = place_kids(kid_offsets, facts.init_len)?;
        let fragments = place_fragments(&facts, shapes, &sizes)?;
        Ok(Self { facts, kid_patches, fragments, sizes })
    }

    /// What is known of the track as a whole.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Bytes of the whole file.
    pub fn total_len(&self) -> u64 {
        self.fragments.last().map_or(0, |fragment| fragment.end)
    }

    /// Where key ids are written when an object is made.
    pub fn kid_patches(&self) -> &[KidPatch] {
        &self.kid_patches
    }

    /// How many renditions the track has: as many key ids are needed to make an object.
    pub fn kid_count(&self) -> usize {
        self.kid_patches.len().saturating_sub(1)
    }

    /// All fragments in order; never empty.
    pub fn fragments(&self) -> &[Fragment] {
        &self.fragments
    }

    /// The fragments that `span` touches.
    pub fn fragments_in(&self, span: Span) -> &[Fragment] {
        let from = self.fragments.partition_point(|fragment| fragment.end <= span.start());
        let to = self.fragments.partition_point(|fragment| fragment.moof < span.end());
        self.fragments.get(from..to).unwrap_or(&[])
    }

    /// Lengths of the samples of `fragment`, which is one of this index.
    pub fn sizes_of(&self, fragment: &Fragment) -> &[u32] {
        let first = fragment.first_sample as usize;
        self.sizes.get(first..first + usize::from(fragment.samples)).unwrap_or(&[])
    }

    /// Memory this index holds, in bytes: what a bounded cache of indexes should charge for it.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.facts.codecs.capacity()
            + self.kid_patches.capacity() * size_of::<KidPatch>()
            + self.fragments.capacity() * size_of::<Fragment>()
            + self.sizes.capacity() * size_of::<u32>()
    }
}

fn check_facts(facts: &Facts) -> Result<(), IndexError> {
    let whole_track = [facts.timescale, facts.frame, facts.init_len, facts.sidx_len].iter().all(|n| *n > 0);
    if !whole_track || facts.play == 0 || facts.channels == 0 {
        return Err(IndexError::Inconsistent("a track of nothing"));
    }
    let clean = facts.codecs.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    if facts.codecs.is_empty() || facts.codecs.len() > CODECS_LEN_MAX || !clean {
        return Err(IndexError::Inconsistent("a codec with an impossible name"));
    }
    Ok(())
}

/// Longest `codecs` parameter, in bytes.
const CODECS_LEN_MAX: usize = 32;

fn place_kids(offsets: &[u32], init_len: u32) -> Result<Vec<KidPatch>, IndexError> {
    if !(2..=KIDS_MAX + 1).contains(&offsets.len()) {
        return Err(IndexError::Inconsistent("too few or too many key ids"));
    }
    let apart = offsets.windows(2).all(|pair| pair[0].checked_add(KID_LEN).is_some_and(|end| end <= pair[1]));
    let inside = offsets.iter().all(|at| at.checked_add(KID_LEN).is_some_and(|end| end <= init_len));
    if !apart || !inside {
        return Err(IndexError::Inconsistent("a key id outside the init segment"));
    }
    let slot = |at: usize| match at {
        0 => KidSlot::Own,
        // Fits: there are at most `KIDS_MAX`.
        at => KidSlot::Rendition((at - 1) as u8),
    };
    Ok(offsets.iter().enumerate().map(|(at, offset)| KidPatch { offset: *offset, slot: slot(at) }).collect())
}

fn place_fragments(
    facts: &Facts,
    shapes: &[FragmentShape],
    sizes: &[u32],
) -> Result<Vec<Fragment>, IndexError> {
    if shapes.is_empty() || shapes.len() > FRAGMENTS_MAX {
        return Err(IndexError::Inconsistent("too few or too many fragments"));
    }
    let mut at = u64::from(facts.init_len) + u64::from(facts.sidx_len);
    let mut rest = sizes;
    let mut fragments = Vec::with_capacity(shapes.len());
    for shape in shapes {
        let first_sample = sizes.len() - rest.len();
        let (own, after) = rest
            .split_at_checked(shape.samples.into())
            .ok_or(IndexError::Inconsistent("fragments with more samples than there are"))?;
        let filled: u64 = own.iter().map(|size| u64::from(*size)).sum();
        if own.is_empty() || shape.variant > 1 || filled > u64::from(shape.payload_len) {
            return Err(IndexError::Inconsistent("a fragment that its samples do not fit"));
        }
        let payload = at + u64::from(shape.moof_len) + u64::from(MDAT_HEADER_LEN);
        let end = payload + u64::from(shape.payload_len);
        let first_sample =
            u32::try_from(first_sample).map_err(|_| IndexError::Inconsistent("too many samples"))?;
        let FragmentShape { samples, variant, .. } = *shape;
        fragments.push(Fragment { moof: at, payload, end, first_sample, samples, variant });
        (at, rest) = (end, after);
    }
    match rest {
        [] => Ok(fragments),
        _ => Err(IndexError::Inconsistent("fragments with fewer samples than there are")),
    }
}
