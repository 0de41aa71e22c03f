//! What is stored beside the objects: small JSON records, and the names of everything.
//!
//! ```text
//! assets/<asset>/<rendition>.c.mez   the template, sealed        assets/<asset>/<rendition>.c.six   its sample index, sealed
//! assets/<asset>/asset.json          written after them: from then on the asset is served
//! songs/<song_id>.json               what the catalogue is told  sources/<sha256>.json              which file became which song
//! ```
//!
//! Promises
//! - An [`AssetRecord`] that parses names at least one rendition, in order of rising bit rate.
//!
//! Does not know: the store, keys, HTTP.

use antiphon_core::{AssetId, Gapless, Loudness, Rendition, Scheme, SongId, UnixTime};
use serde::{Deserialize, Serialize};

/// Most bytes of a record that are read.
pub const RECORD_LEN_MAX: u64 = 64 * 1024;

/// Version of [`AssetRecord`]; another one is refused by name.
pub const ASSET_FORMAT: u32 = 1;

/// `asset.json`: what an asset consists of. Once it is there, its objects are, and it is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetRecord {
    /// [`ASSET_FORMAT`].
    pub format: u32,
    /// Its name.
    pub asset: AssetId,
    /// When it was taken in; `Last-Modified` of its objects.
    pub ingested_at: UnixTime,
    /// Its renditions, by rising bit rate.
    pub renditions: Vec<RenditionRecord>,
    /// How long it plays.
    pub duration_ms: u64,
    /// How loud it is, when it was measured.
    pub loudness: Option<Loudness>,
    /// What of the samples is music.
    pub gapless: Gapless,
}

/// One rendition of an asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenditionRecord {
    /// Its name.
    pub rendition: Rendition,
    /// Bytes of its object.
    pub size: u64,
}

/// What the catalogue is told about a song: the body of control's `PUT /admin/v1/songs/{song_id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SongRecord {
    /// Its name: `song_` and the first 16 digits of the asset.
    pub song_id: SongId,
    /// As the tags or the operator say, else the file's name.
    pub title: String,
    /// As the tags or the operator say.
    pub artist: String,
    /// As the tags or the operator say; may be empty.
    pub album: String,
    /// Which asset plays it.
    pub asset: AssetId,
    /// How long it plays.
    pub duration_ms: u64,
    /// Its renditions, by rising bit rate.
    pub renditions: Vec<Rendition>,
    /// How loud it is, when it was measured.
    pub loudness: Option<Loudness>,
    /// What of the samples is music.
    pub gapless: Gapless,
    /// SHA-256 of the file it was made from, 64 hexadecimal digits.
    pub source_sha256: String,
}

/// Why a record is refused.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not JSON of this shape.
    #[error("the record is not readable")]
    Shape(#[from] serde_json::Error),
    /// Written by another version of this product.
    #[error("the record has format {found}, this version reads {ASSET_FORMAT}")]
    Format {
        /// The version found.
        found: u32,
    },
    /// Well-formed and yet impossible.
    #[error("the record {0}")]
    Contents(&'static str),
}

impl AssetRecord {
    /// Reads `asset.json` of `asset`.
    pub fn from_json(bytes: &[u8], asset: AssetId) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(bytes)?;
        if record.format != ASSET_FORMAT {
            return Err(RecordError::Format { found: record.format });
        }
        if record.asset != asset {
            return Err(RecordError::Contents("names another asset"));
        }
        let rising = record
            .renditions
            .is_sorted_by(|a, b| (a.rendition.kbps(), a.rendition) < (b.rendition.kbps(), b.rendition));
        match record.renditions.is_empty() || !rising {
            true => Err(RecordError::Contents("does not list renditions by rising bit rate")),
            false => Ok(record),
        }
    }
}

impl SongRecord {
    /// Reads `songs/*.json` or `sources/*.json`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RecordError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// The song that plays an asset.
pub fn song_id(asset: AssetId) -> SongId {
    let text = format!("song_{}", &asset.to_string()[..16]);
    text.parse().unwrap_or_else(|_| unreachable!("21 characters of the id's alphabet"))
}

/// Name of the sealed template of a rendition.
pub fn template_name(asset: AssetId, rendition: Rendition, scheme: Scheme) -> String {
    format!("assets/{asset}/{rendition}.{}.mez", scheme.letter())
}

/// Name of the sealed sample index of a rendition.
pub fn index_name(asset: AssetId, rendition: Rendition, scheme: Scheme) -> String {
    format!("assets/{asset}/{rendition}.{}.six", scheme.letter())
}

/// Name of `asset.json`.
pub fn asset_name(asset: AssetId) -> String {
    format!("assets/{asset}/asset.json")
}

/// Name of a song's record.
pub fn song_name(song: &SongId) -> String {
    format!("songs/{song}.json")
}

/// Name of the record that tells which song a file became.
pub fn source_name(sha256_hex: &str) -> String {
    format!("sources/{sha256_hex}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(renditions: &[Rendition]) -> AssetRecord {
        AssetRecord {
            format: ASSET_FORMAT,
            asset: AssetId::from_bytes([7; 16]),
            ingested_at: UnixTime(1_760_000_000),
            renditions: renditions.iter().map(|&rendition| RenditionRecord { rendition, size: 9 }).collect(),
            duration_ms: 36_786,
            loudness: Some(Loudness { integrated_lufs: -15.0, true_peak_dbtp: -3.0 }),
            gapless: Gapless { timescale: 44_100, priming: 1024, play: 1_622_250 },
        }
    }

    fn read_back(record: &AssetRecord) -> Result<AssetRecord, RecordError> {
        AssetRecord::from_json(&serde_json::to_vec(record).unwrap(), AssetId::from_bytes([7; 16]))
    }

    #[test]
    fn an_asset_record_is_read_back_as_it_is_written() {
        let record = record(&Rendition::AAC);
        assert_eq!(read_back(&record).unwrap(), record);
    }

    #[test]
    fn records_that_cannot_be_are_refused() {
        for renditions in
            [&[][..], &[Rendition::Aac128, Rendition::Aac64], &[Rendition::Aac64, Rendition::Aac64]]
        {
            assert!(
                matches!(read_back(&record(renditions)), Err(RecordError::Contents(_))),
                "{renditions:?}"
            );
        }
        let newer = AssetRecord { format: 2, ..record(&Rendition::AAC) };
        assert!(matches!(read_back(&newer), Err(RecordError::Format { found: 2 })));
        let other = AssetRecord { asset: AssetId::from_bytes([8; 16]), ..record(&Rendition::AAC) };
        assert!(matches!(read_back(&other), Err(RecordError::Contents(_))));
        assert!(matches!(
            AssetRecord::from_json(b"{}", AssetId::from_bytes([7; 16])),
            Err(RecordError::Shape(_))
        ));
    }

    #[test]
    fn a_song_is_named_after_its_asset() {
        assert_eq!(song_id(AssetId::from_bytes([0xab; 16])).as_str(), "song_abababababababab");
    }
}
