//! Songs as ingest describes them and as the catalogue keeps them.
//!
//! Promises
//! - A [`Song`] is well-formed: labels are short and printable, a recording has sound and at least one
//!   rendition, and renditions are in order without repeats.
//!
//! Does not know: databases, the JSON that listeners see.

use antiphon_core::{AssetId, Gapless, Loudness, Rendition, SongId};
use serde::{Deserialize, Deserializer, Serialize, de};

/// A song record, from `PUT /admin/v1/songs/{song_id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Song {
    /// The catalogue's name for it.
    pub song_id: SongId,
    /// What it is called.
    #[serde(deserialize_with = "label")]
    pub title: String,
    /// Who plays it; `None` when the file did not say.
    #[serde(default, deserialize_with = "optional_label")]
    pub artist: Option<String>,
    /// Where it was published; `None` when the file did not say.
    #[serde(default, deserialize_with = "optional_label")]
    pub album: Option<String>,
    /// The recording.
    pub asset: AssetId,
    /// Its length.
    #[serde(deserialize_with = "duration")]
    pub duration_ms: u64,
    /// What it was encoded to. Invariant: by rising bit rate, none twice, at least one; upheld by `renditions`.
    #[serde(deserialize_with = "renditions")]
    pub renditions: Vec<Rendition>,
    /// How loud it is, where that was measured.
    #[serde(default)]
    pub loudness: Option<Loudness>,
    /// Where the sound begins and ends in the samples.
    pub gapless: Gapless,
    /// Digest of the file it came from.
    #[serde(deserialize_with = "digest")]
    pub source_sha256: String,
}

/// Longest title or name, in characters.
pub const LABEL_CHARS_MAX: usize = 300;
/// Longest recording: a day.
pub const DURATION_MS_MAX: u64 = 86_400_000;

fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked_label(String::deserialize(deserializer)?)
}

fn optional_label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    // Ingest writes an empty text where a file says nothing.
    Option::<String>::deserialize(deserializer)?
        .filter(|text| !text.is_empty())
        .map(checked_label)
        .transpose()
}

fn checked_label<E: de::Error>(text: String) -> Result<String, E> {
    let fits = (1..=LABEL_CHARS_MAX).contains(&text.chars().count());
    let clean = !text.chars().any(char::is_control);
    match fits && clean {
        true => Ok(text),
        false => Err(E::custom(format!("a title or name has 1 to {LABEL_CHARS_MAX} printable characters"))),
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let millis = u64::deserialize(deserializer)?;
    match (1..=DURATION_MS_MAX).contains(&millis) {
        true => Ok(millis),
        false => Err(de::Error::custom(format!("a recording lasts 1 to {DURATION_MS_MAX} ms"))),
    }
}

fn renditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Rendition>, D::Error> {
    let mut list = Vec::<Rendition>::deserialize(deserializer)?;
    let given = list.len();
    list.sort_by_key(|rendition| (rendition.kbps(), *rendition));
    list.dedup();
    match list.is_empty() || list.len() != given {
        true => Err(de::Error::custom("at least one rendition, and none twice")),
        false => Ok(list),
    }
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let hex = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    hex.then_some(text).ok_or_else(|| de::Error::custom("a SHA-256 is 64 lowercase hexadecimal digits"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    pub(crate) fn record() -> Json {
        json!({
            "song_id": "song_0505050505050505", "title": "Nocturne", "artist": "Nobody", "album": "Nights",
            "asset": "05".repeat(16), "duration_ms": 12_345, "renditions": ["64", "128", "256", "320"],
            "loudness": {"integrated_lufs": -14.2, "true_peak_dbtp": -1.0},
            "gapless": {"timescale": 44_100, "priming": 1024, "play": 544_414},
            "source_sha256": "ab".repeat(32),
        })
    }

    fn with(key: &str, value: Json) -> Result<Song, serde_json::Error> {
        let mut record = record();
        record[key] = value;
        serde_json::from_value(record)
    }

    #[test]
    fn a_record_is_read_back_as_it_is_written() {
        let song: Song = serde_json::from_value(record()).unwrap();
        assert_eq!(serde_json::to_value(&song).unwrap(), record());
    }

    #[test]
    fn what_a_file_did_not_say_may_be_absent() {
        for key in ["artist", "album", "loudness"] {
            assert!(with(key, Json::Null).is_ok(), "{key}");
        }
        assert_eq!(with("album", json!("")).unwrap().album, None);
    }

    #[test]
    fn odd_records_are_refused() {
        for (key, value) in [
            ("title", json!("")),
            ("title", json!("a\nb")),
            ("title", json!("x".repeat(LABEL_CHARS_MAX + 1))),
            ("artist", json!("\u{7}")),
            ("duration_ms", json!(0)),
            ("duration_ms", json!(DURATION_MS_MAX + 1)),
            ("duration_ms", json!(-1)),
            ("renditions", json!([])),
            ("renditions", json!(["64", "64"])),
            ("renditions", json!(["63"])),
            ("asset", json!("05")),
            ("source_sha256", json!("AB".repeat(32))),
            ("gapless", Json::Null),
            ("extra", json!(1)),
        ] {
            assert!(with(key, value.clone()).is_err(), "{key} = {value}");
        }
        assert!(with("title", json!("x".repeat(LABEL_CHARS_MAX))).is_ok());
        assert!(with("duration_ms", json!(DURATION_MS_MAX)).is_ok());
    }
}
