//! What a player must know of a track before its first byte: the layout, and the DASH manifest made of it.
//!
//! The manifest is form S of MEDIA.md §2.2, the one that Shaka Player, dash.js and our own player all take:
//! one adaptation set; on it the key id of the lowest rendition and the ClearKey system with the licence's
//! address but no `pssh`; on each representation its own key id and a W3C `pssh` with the key ids of all
//! representations listed.
//!
//! Promises
//! - The same layout and options give the same text.
//! - A manifest lists only renditions within the entitlement, and names only their key ids: a player never
//!   asks for a key that must be refused.
//! - Every text that comes from outside is escaped.
//!
//! Does not know: tokens (they come as a finished query), listeners, where the manifest is served.

mod mpd;

use crate::content::index::SampleIndex;
use crate::keys::KeyId;
use antiphon_core::{AssetId, Epoch, ObjectPath, Rendition, Scheme};
pub use mpd::{MpdOptions, mpd};
use serde::{Deserialize, Serialize};

/// Where everything lies in the objects of one track in one epoch: what the origin tells the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackLayout {
    /// The recording.
    pub asset: AssetId,
    /// Whose keys.
    pub epoch: Epoch,
    /// How samples are encrypted.
    #[serde(with = "scheme_text")]
    pub scheme: Scheme,
    /// Units a second.
    pub timescale: u32,
    /// Units at the beginning that are not heard.
    pub priming: u64,
    /// Units that are heard.
    pub play: u64,
    /// Seconds that are heard.
    pub duration_secs: f64,
    /// One entry for each rendition, by rising bit rate.
    pub renditions: Vec<RenditionLayout>,
}

/// One object of the track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenditionLayout {
    /// Which encoding.
    pub rendition: Rendition,
    /// As a `codecs` parameter names the codec.
    pub codecs: String,
    /// Channels of the audio.
    #[serde(default = "stereo")]
    pub channels: u8,
    /// The key id of this object.
    pub kid: KeyId,
    /// Bytes of the object.
    pub size: u64,
    /// Last byte of the init segment, inclusive; the first is 0.
    pub init_end: u64,
    /// First byte of `sidx`.
    pub index_start: u64,
    /// Last byte of `sidx`, inclusive.
    pub index_end: u64,
    /// Bits a second over the whole track.
    pub bandwidth: u64,
    /// Bits a second of the fragment that has most.
    pub max_bandwidth: u64,
    /// Where the object is, at the origin and at every edge.
    pub path: String,
}

/// One rendition of a track, to be laid out.
#[derive(Clone, Copy, Debug)]
pub struct RenditionFacts<'a> {
    /// Which encoding.
    pub rendition: Rendition,
    /// Its layout.
    pub index: &'a SampleIndex,
    /// Its key id in the epoch.
    pub kid: KeyId,
}

/// Why renditions make no track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Nothing to list.
    #[error("asset {0} has no renditions")]
    NoRenditions(AssetId),
    /// Players switch between renditions in mid-track: all must keep the same time.
    #[error("rendition {rendition} of asset {asset} does not keep the time of the others")]
    Uneven {
        /// The recording.
        asset: AssetId,
        /// The rendition that differs from the lowest.
        rendition: Rendition,
    },
}

impl TrackLayout {
    /// The layout of the objects of `asset` in `epoch`, in whatever order the renditions are given.
    pub fn new(
        asset: AssetId,
        epoch: Epoch,
        scheme: Scheme,
        renditions: &[RenditionFacts<'_>],
    ) -> Result<Self, LayoutError> {
        let mut ordered = renditions.to_vec();
        ordered.sort_by_key(|facts| (facts.rendition.kbps(), facts.rendition));
        let lowest = ordered.first().ok_or(LayoutError::NoRenditions(asset))?.index.facts();
        let uneven = ordered.iter().find(|facts| {
            let facts = facts.index.facts();
            (facts.timescale, facts.priming, facts.play) != (lowest.timescale, lowest.priming, lowest.play)
        });
        if let Some(facts) = uneven {
            return Err(LayoutError::Uneven { asset, rendition: facts.rendition });
        }
        Ok(Self {
            asset,
            epoch,
            scheme,
            timescale: lowest.timescale,
            priming: lowest.priming,
            play: lowest.play,
            duration_secs: lowest.play as f64 / f64::from(lowest.timescale),
            renditions: ordered.iter().map(|facts| facts.lay_out(asset, epoch, scheme)).collect(),
        })
    }

    /// The renditions of at most `max_kbps`, by rising bit rate; all without a limit.
    pub fn within(&self, max_kbps: Option<u32>) -> impl Iterator<Item = &RenditionLayout> {
        let max_kbps = max_kbps.unwrap_or(u32::MAX);
        self.renditions.iter().filter(move |layout| layout.rendition.kbps() <= max_kbps)
    }
}

impl RenditionFacts<'_> {
    fn lay_out(&self, asset: AssetId, epoch: Epoch, scheme: Scheme) -> RenditionLayout {
        let facts = self.index.facts();
        let index_start = u64::from(facts.init_len);
        RenditionLayout {
            rendition: self.rendition,
            codecs: facts.codecs.clone(),
            channels: facts.channels,
            kid: self.kid,
            size: self.index.total_len(),
            init_end: index_start - 1,
            index_start,
            index_end: index_start + u64::from(facts.sidx_len) - 1,
            bandwidth: facts.bandwidth,
            max_bandwidth: facts.max_bandwidth,
            path: ObjectPath { scheme, epoch, asset, rendition: self.rendition }.to_string(),
        }
    }
}

fn stereo() -> u8 {
    2
}

/// A scheme by its four characters.
mod scheme_text {
    use antiphon_core::Scheme;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(scheme: &Scheme, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(scheme.fourcc())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scheme, D::Error> {
        let text = String::deserialize(deserializer)?;
        [Scheme::Cenc, Scheme::Cbcs]
            .into_iter()
            .find(|scheme| scheme.fourcc() == text)
            .ok_or_else(|| de::Error::unknown_variant(&text, &["cenc", "cbcs"]))
    }
}
