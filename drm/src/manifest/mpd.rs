//! The text of a manifest (ISO/IEC 23009-1), by hand: it is short, and every byte of it is wanted.

use super::{RenditionLayout, TrackLayout};
use crate::keys::KeyId;
use data_encoding::BASE64;
use std::fmt;

/// What a manifest says beside the layout.
#[derive(Clone, Copy, Debug, Default)]
pub struct MpdOptions<'a> {
    /// What is put before the path of each object: `https://edge.example:8443`, or nothing.
    pub base_url: &'a str,
    /// What is put behind it, without its question mark.
    pub query: Option<&'a str>,
    /// Where licences are asked for.
    pub licence_url: Option<&'a str>,
    /// Renditions above this are not listed, kbit/s.
    pub max_kbps: Option<u32>,
}

const MPD_OPEN: &str = concat!(
    "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" xmlns:cenc=\"urn:mpeg:cenc:2013\"",
    " xmlns:dashif=\"https://dashif.org/CPS\"",
    " profiles=\"urn:mpeg:dash:profile:isoff-on-demand:2011,urn:mpeg:dash:profile:cmaf:2019\"",
    " type=\"static\" minBufferTime=\"PT2S\"",
);
const SET_OPEN: &str = concat!(
    "  <AdaptationSet id=\"0\" contentType=\"audio\" mimeType=\"audio/mp4\" lang=\"und\" segmentAlignment=\"true\"",
    " subsegmentAlignment=\"true\" subsegmentStartsWithSAP=\"1\" startWithSAP=\"1\">",
);
const MP4_PROTECTION: &str = "urn:mpeg:dash:mp4protection:2011";
const CHANNELS: &str = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011";
/// DASH-IF's ClearKey system.
const CLEARKEY_SYSTEM: &str = "urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e";
/// W3C's "common" system: a `pssh` box that lists key ids.
const COMMON_SYSTEM: &str = "urn:uuid:1077efec-c0b2-4d02-ace3-3c1e52e2fb4b";
const COMMON_SYSTEM_ID: [u8; 16] = *b"\x10\x77\xef\xec\xc0\xb2\x4d\x02\xac\xe3\x3c\x1e\x52\xe2\xfb\x4b";

/// The manifest of the renditions of `layout` that `options` allow; `None` if they allow none.
pub fn mpd(layout: &TrackLayout, options: &MpdOptions<'_>) -> Option<String> {
    let listed: Vec<_> = layout.within(options.max_kbps).collect();
    let lowest = listed.first()?;
    let kids: Vec<KeyId> = listed.iter().map(|rendition| rendition.kid).collect();
    let pssh = BASE64.encode(&pssh(&kids));
    let scheme = layout.scheme.fourcc();
    let duration = layout.duration_secs;
    let mut lines = vec![
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>".to_owned(),
        format!("{MPD_OPEN} mediaPresentationDuration=\"PT{duration:.6}S\">"),
        " <Period id=\"0\">".to_owned(),
        SET_OPEN.to_owned(),
        format!("   {}", protection(scheme, lowest.kid)),
        format!("   {}", clearkey(options.licence_url)),
    ];
    for rendition in listed {
        lines.extend(representation(layout, rendition, &pssh, options));
    }
    lines.extend(["  </AdaptationSet>", " </Period>", "</MPD>", ""].map(str::to_owned));
    Some(lines.join("\n"))
}

fn representation(
    layout: &TrackLayout,
    rendition: &RenditionLayout,
    pssh: &str,
    options: &MpdOptions<'_>,
) -> [String; 7] {
    let RenditionLayout { rendition: name, channels, index_start, index_end, init_end, .. } = rendition;
    let (codecs, rate) = (Escaped(&rendition.codecs), layout.timescale);
    let query = options.query.map(|query| format!("?{}", Escaped(query))).unwrap_or_default();
    [
        format!(
            "   <Representation id=\"{name}\" bandwidth=\"{}\" codecs=\"{codecs}\" audioSamplingRate=\"{rate}\">",
            rendition.max_bandwidth
        ),
        format!("    <AudioChannelConfiguration schemeIdUri=\"{CHANNELS}\" value=\"{channels}\"/>"),
        format!("    {}", protection(layout.scheme.fourcc(), rendition.kid)),
        format!(
            "    <ContentProtection schemeIdUri=\"{COMMON_SYSTEM}\"><cenc:pssh>{pssh}</cenc:pssh></ContentProtection>"
        ),
        format!("    <BaseURL>{}{}{query}</BaseURL>", Escaped(options.base_url), Escaped(&rendition.path)),
        format!(
            "    <SegmentBase timescale=\"{rate}\" indexRange=\"{index_start}-{index_end}\">\
             <Initialization range=\"0-{init_end}\"/></SegmentBase>"
        ),
        "   </Representation>".to_owned(),
    ]
}

fn protection(scheme: &str, kid: KeyId) -> String {
    let kid = Uuid(kid);
    format!(
        "<ContentProtection schemeIdUri=\"{MP4_PROTECTION}\" value=\"{scheme}\" cenc:default_KID=\"{kid}\"/>"
    )
}

fn clearkey(licence_url: Option<&str>) -> String {
    let laurl =
        licence_url.map(|url| format!("<dashif:Laurl>{}</dashif:Laurl>", Escaped(url))).unwrap_or_default();
    format!(
        "<ContentProtection schemeIdUri=\"{CLEARKEY_SYSTEM}\" value=\"ClearKey1.0\">{laurl}</ContentProtection>"
    )
}

/// A `pssh` box, version 1, of the common system (ISO/IEC 23001-7 §8.1).
fn pssh(kids: &[KeyId]) -> Vec<u8> {
    let len = 36 + 16 * kids.len();
    let mut out = Vec::with_capacity(len);
    // Both fit: a track has a handful of renditions.
    out.extend((len as u32).to_be_bytes());
    out.extend(b"pssh\x01\0\0\0");
    out.extend(COMMON_SYSTEM_ID);
    out.extend((kids.len() as u32).to_be_bytes());
    kids.iter().for_each(|kid| out.extend(kid.as_bytes()));
    out.extend([0; 4]);
    out
}

/// A key id as manifests write it: 8-4-4-4-12 digits.
struct Uuid(KeyId);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.as_bytes().iter().enumerate() {
            if [4, 6, 8, 10].contains(&at) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Text that may stand between tags and between quotes. Characters that XML 1.0 has no place for are left out.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&apos;"),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => Ok(()),
            c => write!(f, "{c}"),
        })
    }
}
