//! What is played: assets, renditions, qualities, schemes and epochs (DESIGN.md, "Words").

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A content-addressed version of a track: the first 16 bytes of a SHA-256 over the codec configuration and
/// all samples of all its renditions (MEDIA.md §3), so two different recordings never share a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetId([u8; 16]);

/// One encoding of a track: codec and bit rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rendition {
    /// AAC-LC at 64 kbit/s.
    Aac64,
    /// AAC-LC at 128 kbit/s.
    Aac128,
    /// AAC-LC at 256 kbit/s.
    Aac256,
    /// AAC-LC at 320 kbit/s.
    Aac320,
    /// Opus at 96 kbit/s.
    Opus96,
    /// Opus at 160 kbit/s.
    Opus160,
    /// FLAC, lossless.
    Flac,
}

/// What a listener asks for by name (the seed's `quality`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// 64 kbit/s.
    Low,
    /// 128 kbit/s: the most a free listener may have.
    Normal,
    /// 256 kbit/s.
    High,
    /// 320 kbit/s.
    Premium,
    /// As the source.
    Lossless,
}

/// How samples are encrypted (ISO/IEC 23001-7 §10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `cenc`: AES-128-CTR over whole samples.
    Cenc,
    /// `cbcs`: AES-128-CBC over whole blocks, needed by FairPlay.
    Cbcs,
}

/// A period of the key schedule, 30 days per asset (MEDIA.md §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

/// Loudness of a whole track after EBU R 128.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loudness {
    /// Integrated over the track, LUFS.
    pub integrated_lufs: f64,
    /// Highest true peak of the track, dBTP.
    pub true_peak_dbtp: f64,
}

/// Which of the decoded samples are music, all numbers in units of `timescale` a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gapless {
    /// Units a second.
    pub timescale: u32,
    /// Encoder delay to skip at the start.
    pub priming: u64,
    /// Samples to play after it.
    pub play: u64,
}

/// Why a text names nothing here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not 32 lowercase hexadecimal digits.
    #[error("{0:?} is no asset id: 32 lowercase hexadecimal digits")]
    Asset(String),
    /// Not one of the renditions.
    #[error("{0:?} is no rendition: one of 64, 128, 256, 320, o96, o160, fl")]
    Rendition(String),
}

impl AssetId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Rendition {
    /// All renditions, by rising bit rate within a codec.
    pub const ALL: [Self; 7] =
        [Self::Aac64, Self::Aac128, Self::Aac256, Self::Aac320, Self::Opus96, Self::Opus160, Self::Flac];

    /// The AAC ladder, by rising bit rate.
    pub const AAC: [Self; 4] = [Self::Aac64, Self::Aac128, Self::Aac256, Self::Aac320];

    /// The name used in paths and key ids (MEDIA.md §3.1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aac64 => "64",
            Self::Aac128 => "128",
            Self::Aac256 => "256",
            Self::Aac320 => "320",
            Self::Opus96 => "o96",
            Self::Opus160 => "o160",
            Self::Flac => "fl",
        }
    }

    /// The bit rate a token's `q` claim is held against, kbit/s. Lossless counts as 1411 (CD audio).
    pub const fn kbps(self) -> u32 {
        match self {
            Self::Aac64 => 64,
            Self::Opus96 => 96,
            Self::Aac128 => 128,
            Self::Opus160 => 160,
            Self::Aac256 => 256,
            Self::Aac320 => 320,
            Self::Flac => 1411,
        }
    }
}

impl Quality {
    /// The most kbit/s this quality may deliver.
    pub const fn kbps(self) -> u32 {
        match self {
            Self::Low => 64,
            Self::Normal => 128,
            Self::High => 256,
            Self::Premium => 320,
            Self::Lossless => 1411,
        }
    }
}

impl Scheme {
    /// The letter used in paths: `c` or `b`. Also the scheme byte of a key id (MEDIA.md §4).
    pub const fn letter(self) -> char {
        match self {
            Self::Cenc => 'c',
            Self::Cbcs => 'b',
        }
    }

    /// The four characters used in `schm` boxes and manifests.
    pub const fn fourcc(self) -> &'static str {
        match self {
            Self::Cenc => "cenc",
            Self::Cbcs => "cbcs",
        }
    }
}

impl fmt::Display for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssetId({self})")
    }
}

impl FromStr for AssetId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| NameError::Asset(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Rendition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Rendition {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|rendition| rendition.name() == text)
            .ok_or_else(|| NameError::Rendition(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Serialises through `Display` and `FromStr`: one spelling of a name everywhere.
macro_rules! serde_as_text {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

serde_as_text!(AssetId);
serde_as_text!(Rendition);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_they_are_written() {
        for rendition in Rendition::ALL {
            assert_eq!(rendition.to_string().parse(), Ok(rendition));
        }
        let asset = AssetId::from_bytes(*b"0123456789abcdef");
        assert_eq!(asset.to_string().parse(), Ok(asset));
    }

    #[test]
    fn an_asset_id_has_one_spelling() {
        for text in [
            "",
            "00",
            "4F1C0D2E9B7A4C554F1C0D2E9B7A4C55",
            "4f1c0d2e9b7a4c554f1c0d2e9b7a4c5",
            "zz1c0d2e9b7a4c554f1c0d2e9b7a4c55",
        ] {
            assert!(text.parse::<AssetId>().is_err(), "{text:?}");
        }
    }
}
