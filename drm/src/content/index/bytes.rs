//! The byte form of an index, version 1. All numbers are big-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `EDGESIX1` |
//! | 2 | version, 1 |
//! | 1 | scheme: `c` or `b` |
//! | 1 | channels |
//! | 1 + n | length of the codec's name, the name |
//! | 4 + 4 | timescale, frame |
//! | 8 + 8 | priming, play |
//! | 4 + 4 | bytes of the init segment, bytes of `sidx` |
//! | 8 + 8 | bandwidth, highest bandwidth |
//! | 1 + 4n | number of key ids, offset of each (own first, then all renditions) |
//! | 4 + 11n | number of fragments; of each: bytes of `moof` (4), of payload (4), samples (2), variant (1) |
//! | 4 + … | number of samples; length of each: 2 bytes, or `ffff` and 3 bytes from 65,535 on |
//! | 16 | first half of the SHA-256 of everything before |

use super::{Facts, Fragment, FragmentShape, IndexError, MDAT_HEADER_LEN, SampleIndex};
use antiphon_core::Scheme;
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"EDGESIX1";
const VERSION: u16 = 1;
const HASH_LEN: usize = 16;
/// Marks a sample length that needs three bytes.
const LONG: u16 = 0xffff;
/// Bytes of one fragment.
const SHAPE_LEN: usize = 11;
/// Bytes of the shortest sample length.
const SIZE_LEN_MIN: usize = 2;

impl SampleIndex {
    /// The byte form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(128 + self.fragments.len() * SHAPE_LEN + self.sizes.len() * SIZE_LEN_MIN);
        out.extend(MAGIC);
        out.extend(VERSION.to_be_bytes());
        put_facts(&mut out, &self.facts);
        out.push(self.kid_patches.len() as u8);
        self.kid_patches.iter().for_each(|patch| out.extend(patch.offset.to_be_bytes()));
        out.extend((self.fragments.len() as u32).to_be_bytes());
        self.fragments.iter().for_each(|fragment| put_shape(&mut out, shape_of(fragment)));
        out.extend((self.sizes.len() as u32).to_be_bytes());
        self.sizes.iter().for_each(|size| put_size(&mut out, *size));
        let hash = Sha256::digest(&out);
        out.extend(&hash[..HASH_LEN]);
        out
    }

    /// Reads the byte form back.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IndexError> {
        let told = bytes.strip_prefix(MAGIC).ok_or(IndexError::Magic)?;
        let mut rest = Fields(told);
        match rest.u16()? {
            VERSION => {}
            other => return Err(IndexError::Version(other)),
        }
        let body = bytes.len().checked_sub(HASH_LEN).ok_or(IndexError::Length)?;
        if Sha256::digest(&bytes[..body])[..HASH_LEN] != bytes[body..] {
            return Err(IndexError::Hash);
        }
        let end = rest.0.len().checked_sub(HASH_LEN).ok_or(IndexError::Length)?;
        rest.0 = &rest.0[..end];
        let facts = rest.facts()?;
        let kids = usize::from(rest.u8()?);
        let kid_offsets = rest.many(kids, 4, Fields::u32)?;
        let fragments = rest.count()?;
        let shapes = rest.many(fragments, SHAPE_LEN, Fields::shape)?;
        let samples = rest.count()?;
        let sizes = rest.many(samples, SIZE_LEN_MIN, Fields::size)?;
        if !rest.0.is_empty() {
            return Err(IndexError::Length);
        }
        Self::assemble(facts, &kid_offsets, &shapes, sizes)
    }
}

fn put_facts(out: &mut Vec<u8>, facts: &Facts) {
    out.push(facts.scheme.letter() as u8);
    out.push(facts.channels);
    out.push(facts.codecs.len() as u8);
    out.extend(facts.codecs.as_bytes());
    out.extend(facts.timescale.to_be_bytes());
    out.extend(facts.frame.to_be_bytes());
    out.extend(facts.priming.to_be_bytes());
    out.extend(facts.play.to_be_bytes());
    out.extend(facts.init_len.to_be_bytes());
    out.extend(facts.sidx_len.to_be_bytes());
    out.extend(facts.bandwidth.to_be_bytes());
    out.extend(facts.max_bandwidth.to_be_bytes());
}

/// The shape a fragment was placed from: both lengths came from 32-bit numbers.
fn shape_of(fragment: &Fragment) -> FragmentShape {
    FragmentShape {
        moof_len: (fragment.payload - fragment.moof - u64::from(MDAT_HEADER_LEN)) as u32,
        payload_len: (fragment.end - fragment.payload) as u32,
        samples: fragment.samples,
        variant: fragment.variant,
    }
}

fn put_shape(out: &mut Vec<u8>, shape: FragmentShape) {
    out.extend(shape.moof_len.to_be_bytes());
    out.extend(shape.payload_len.to_be_bytes());
    out.extend(shape.samples.to_be_bytes());
    out.push(shape.variant);
}

fn put_size(out: &mut Vec<u8>, size: u32) {
    match u16::try_from(size) {
        Ok(short) if short < LONG => out.extend(short.to_be_bytes()),
        _ => {
            out.extend(LONG.to_be_bytes());
            out.extend(&size.to_be_bytes()[1..]);
        }
    }
}

/// What is still to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], IndexError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(IndexError::Length)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, IndexError> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, IndexError> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, IndexError> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, IndexError> {
        self.take().map(u64::from_be_bytes)
    }

    fn count(&mut self) -> Result<usize, IndexError> {
        usize::try_from(self.u32()?).map_err(|_| IndexError::Length)
    }

    /// `count` things of at least `len_min` bytes each: a count that the bytes cannot bear out takes no memory.
    fn many<T>(
        &mut self,
        count: usize,
        len_min: usize,
        read: impl Fn(&mut Self) -> Result<T, IndexError>,
    ) -> Result<Vec<T>, IndexError> {
        if count.checked_mul(len_min).is_none_or(|len| len > self.0.len()) {
            return Err(IndexError::Length);
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn facts(&mut self) -> Result<Facts, IndexError> {
        let scheme = match self.u8()? {
            b'c' => Scheme::Cenc,
            b'b' => Scheme::Cbcs,
            _ => return Err(IndexError::Inconsistent("an unknown scheme")),
        };
        let channels = self.u8()?;
        let name_len = usize::from(self.u8()?);
        let (name, rest) = self.0.split_at_checked(name_len).ok_or(IndexError::Length)?;
        self.0 = rest;
        let codecs = String::from_utf8(name.to_vec())
            .map_err(|_| IndexError::Inconsistent("a codec with an impossible name"))?;
        Ok(Facts {
            scheme,
            codecs,
            channels,
            timescale: self.u32()?,
            frame: self.u32()?,
            priming: self.u64()?,
            play: self.u64()?,
            init_len: self.u32()?,
            sidx_len: self.u32()?,
            bandwidth: self.u64()?,
            max_bandwidth: self.u64()?,
        })
    }

    fn shape(&mut self) -> Result<FragmentShape, IndexError> {
        Ok(FragmentShape {
            moof_len: self.u32()?,
            payload_len: self.u32()?,
            samples: self.u16()?,
            variant: self.u8()?,
        })
    }

    fn size(&mut self) -> Result<u32, IndexError> {
        match self.u16()? {
            LONG => match u32::from_be_bytes({
                let [a, b, c] = self.take()?;
                [0, a, b, c]
            }) {
                size if size < LONG.into() => {
                    Err(IndexError::Inconsistent("a short length in the long form"))
                }
                size => Ok(size),
            },
            short => Ok(short.into()),
        }
    }
}
