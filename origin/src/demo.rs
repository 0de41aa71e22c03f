//! The two demo tracks that travel with the program, so that a machine without ffmpeg has music to deliver.
//!
//! Promises
//! - They are pieces of our own; `origin/tracks/README.md` tells how they were made.
//!
//! Does not know: stores, keys. [`crate::ingest::Ingest::encoded`] takes them in.

use crate::ingest::Facts;
use antiphon_core::{Loudness, Rendition};
use bytes::Bytes;
use serde::Deserialize;

/// One demo track, encoded.
pub struct DemoTrack {
    /// Its name, such as `first-light`.
    pub name: &'static str,
    facts_json: &'static str,
    renditions: [(Rendition, &'static [u8]); 4],
}

/// What `facts.json` says of a track.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FactsFile {
    title: String,
    artist: String,
    album: String,
    source_sha256: String,
    loudness: Loudness,
}

macro_rules! track {
    ($name:literal) => {
        DemoTrack {
            name: $name,
            facts_json: include_str!(concat!("../tracks/", $name, "/facts.json")),
            renditions: [
                (Rendition::Aac64, include_bytes!(concat!("../tracks/", $name, "/64.m4a"))),
                (Rendition::Aac128, include_bytes!(concat!("../tracks/", $name, "/128.m4a"))),
                (Rendition::Aac256, include_bytes!(concat!("../tracks/", $name, "/256.m4a"))),
                (Rendition::Aac320, include_bytes!(concat!("../tracks/", $name, "/320.m4a"))),
            ],
        }
    };
}

static TRACKS: [DemoTrack; 2] = [track!("first-light"), track!("paper-lanterns")];

/// Both tracks.
pub fn tracks() -> &'static [DemoTrack] {
    &TRACKS
}

impl DemoTrack {
    /// Title, artist and album.
    pub fn facts(&self) -> Facts {
        let FactsFile { title, artist, album, .. } = self.read();
        Facts { title: Some(title), artist: Some(artist), album: Some(album) }
    }

    /// How loud it is.
    pub fn loudness(&self) -> Loudness {
        self.read().loudness
    }

    /// SHA-256 of the WAV file it was encoded from.
    pub fn source_sha256(&self) -> String {
        self.read().source_sha256
    }

    /// The four renditions, as M4A files.
    pub fn renditions(&self) -> Vec<(Rendition, Bytes)> {
        self.renditions.iter().map(|(rendition, bytes)| (*rendition, Bytes::from_static(bytes))).collect()
    }

    fn read(&self) -> FactsFile {
        serde_json::from_str(self.facts_json)
            .unwrap_or_else(|_| unreachable!("a test reads every facts.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use antiphon_drm::content::source::AudioFile;

    #[test]
    fn both_tracks_are_whole_and_travel_light() {
        let mut bytes = 0;
        for track in tracks() {
            assert!(track.facts().title.is_some() && track.source_sha256().len() == 64);
            assert!(track.loudness().true_peak_dbtp < 0.0, "{} clips", track.name);
            for (rendition, file) in track.renditions() {
                let audio = AudioFile::parse(&file).unwrap();
                assert!(audio.duration_secs() > 25.0, "{} {rendition}", track.name);
                bytes += file.len();
            }
        }
        assert!(bytes < 6_000_000, "{bytes} bytes");
    }
}
