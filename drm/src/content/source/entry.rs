//! The sample entry of `stsd`: which codec, and the configuration a decoder needs.
//!
//! ISO/IEC 14496-12 §12.2.3 (audio entries), 14496-1 §7.2.6 (descriptors), 14496-3 §1.6.2 (AAC).

use super::SourceError;
use crate::content::boxes::{Boxes, Found};
use std::fmt;

/// What the samples are coded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// MPEG-4 AAC.
    Aac {
        /// The audio object type: 2 is AAC-LC.
        object_type: u8,
    },
    /// Opus.
    Opus,
    /// FLAC.
    Flac,
}

/// A parsed sample entry.
pub(super) struct Description<'a> {
    pub entry: &'a [u8],
    pub codec: Codec,
    pub channels: u8,
}

/// Longest sample entry: a FLAC one may carry metadata blocks, but the entry travels in every first request.
const ENTRY_LEN_MAX: usize = 16 * 1024;
/// Bytes of an audio sample entry before its child boxes, box header not counted.
const ENTRY_FIELDS_LEN: usize = 28;

impl fmt::Display for Codec {
    /// As `codecs` parameters name it (RFC 6381).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aac { object_type } => write!(f, "mp4a.40.{object_type}"),
            Self::Opus => f.write_str("opus"),
            Self::Flac => f.write_str("flac"),
        }
    }
}

/// Reads the one sample entry of `stsd`.
pub(super) fn parse<'a>(stsd: &Found<'a>) -> Result<Description<'a>, SourceError> {
    match stsd.u32(4)? {
        1 => {}
        count => return Err(SourceError::SampleDescriptions(count)),
    }
    let mut entries = stsd.inside_after(8)?;
    let entry = entries.next().transpose()?.ok_or(SourceError::SampleDescriptions(0))?;
    if entries.next().is_some() {
        return Err(SourceError::Configuration("bytes after the sample entry"));
    }
    if entry.whole.len() > ENTRY_LEN_MAX {
        return Err(SourceError::Configuration("a sample entry longer than 16 KiB"));
    }
    if entry.body_offset - entry.offset != 8 {
        return Err(SourceError::Configuration("a sample entry with a 64-bit size"));
    }
    let known = match &entry.kind.0 {
        b"mp4a" | b"Opus" | b"fLaC" => entry.kind.0,
        b"enca" => return Err(SourceError::Encrypted),
        _ => return Err(SourceError::Codec(entry.kind)),
    };
    if entry.u16(8)? != 0 {
        return Err(SourceError::Configuration("a QuickTime sound description"));
    }
    let told_channels = channels(entry.u16(16)?)?;
    let children = || entry.inside_after(ENTRY_FIELDS_LEN);
    let (codec, channels) = match &known {
        b"mp4a" => {
            let (object_type, channels) = aac(child(children()?, b"esds", "no esds box")?.bytes_after(4)?)?;
            (Codec::Aac { object_type }, if channels == 0 { told_channels } else { channels })
        }
        b"Opus" => (Codec::Opus, child(children()?, b"dOps", "no dOps box")?.u8(1)?),
        _ => {
            child(children()?, b"dfLa", "no dfLa box")?;
            (Codec::Flac, told_channels)
        }
    };
    // The entry is written again with a box of its own behind the children: they must end where it ends.
    children()?.try_for_each(|child| child.map(drop))?;
    Ok(Description { entry: entry.whole, codec, channels })
}

impl<'a> Found<'a> {
    fn bytes_after(&self, at: usize) -> Result<&'a [u8], SourceError> {
        Ok(self.bytes(at, self.body.len().saturating_sub(at))?)
    }
}

fn channels(told: u16) -> Result<u8, SourceError> {
    match u8::try_from(told) {
        Ok(count @ 1..=8) => Ok(count),
        _ => Err(SourceError::Configuration("a number of channels that is not 1 to 8")),
    }
}

fn child<'a>(children: Boxes<'a>, kind: &[u8; 4], absent: &'static str) -> Result<Found<'a>, SourceError> {
    for found in children {
        let found = found?;
        if found.kind.0 == *kind {
            return Ok(found);
        }
    }
    Err(SourceError::Configuration(absent))
}

/// The audio object type and channel configuration out of an ES descriptor.
fn aac(es: &[u8]) -> Result<(u8, u8), SourceError> {
    let broken = SourceError::Configuration("a broken ES descriptor");
    let config = specific_info(es).ok_or_else(|| broken.clone())?;
    if config.kind != MPEG4_AUDIO {
        return Err(SourceError::Configuration("an esds that is not MPEG-4 audio"));
    }
    let mut bits = Bits { bytes: config.specific, at: 0 };
    let mut read = || {
        let object_type = match bits.take(5)? {
            31 => 32 + bits.take(6)?,
            kind => kind,
        };
        if bits.take(4)? == 15 {
            bits.take(24)?;
        }
        Some((u8::try_from(object_type).ok()?, u8::try_from(bits.take(4)?).ok()?))
    };
    let (object_type, configuration) = read().ok_or(broken)?;
    if ![2, 5, 29].contains(&object_type) {
        return Err(SourceError::AacObjectType(object_type));
    }
    match configuration {
        0..=6 => Ok((object_type, configuration)),
        7 => Ok((object_type, 8)),
        _ => Err(SourceError::Configuration("an unknown AAC channel configuration")),
    }
}

/// Object type indication of MPEG-4 audio (14496-1 table 5).
const MPEG4_AUDIO: u8 = 0x40;

struct DecoderConfig<'a> {
    kind: u8,
    specific: &'a [u8],
}

/// ES descriptor, decoder configuration inside, decoder specific information inside that.
fn specific_info(es: &[u8]) -> Option<DecoderConfig<'_>> {
    let (es, _) = descriptor(es, 3)?;
    let flags = *es.get(2)?;
    let mut at = 3;
    if flags & 0x80 != 0 {
        at += 2;
    }
    if flags & 0x40 != 0 {
        at += 1 + usize::from(*es.get(at)?);
    }
    if flags & 0x20 != 0 {
        at += 2;
    }
    let (config, _) = descriptor(es.get(at..)?, 4)?;
    let (specific, _) = descriptor(config.get(13..)?, 5)?;
    Some(DecoderConfig { kind: *config.first()?, specific })
}

/// The body of the descriptor with this tag at the head of `bytes`, and what follows it.
fn descriptor(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, mut rest) = bytes.split_first()?;
    let mut len = 0_usize;
    // At most four bytes of seven bits each (14496-1 §8.3.3).
    for last in [false, false, false, true] {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        len = len << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
        if last {
            return None;
        }
    }
    (found == tag).then(|| rest.split_at_checked(len)).flatten()
}

/// Reads bits from the most significant one on.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for at in self.at..self.at + count {
            let bit = self.bytes.get(at / 8)? >> (7 - at % 8) & 1;
            value = value << 1 | u32::from(bit);
        }
        self.at += count;
        Some(value)
    }
}
