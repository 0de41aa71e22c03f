//! What a path asks for.
//!
//! Promises
//! - One thing has one spelling; everything else is refused before any work.
//!
//! Does not know: whether the thing exists.

use crate::verdict::ServeError;
use antiphon_core::path::check_grammar;
use antiphon_core::{ObjectPath, Rendition, Scheme};
use http::Uri;

/// A track in an epoch; the rendition of the path within is of no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Track(pub ObjectPath);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `/a/<c|b>/<epoch>/<asset>/<rendition>.mp4`.
    Object(ObjectPath),
    /// `/layout/<c|b>/<epoch>/<asset>.json`.
    Layout(Track),
    /// `/m/<c|b>/<epoch>/<asset>.mpd[?max_kbps=<number>]`.
    Manifest {
        /// Of which track.
        track: Track,
        /// Renditions above this are left out.
        max_kbps: Option<u32>,
    },
}

impl Target {
    /// Reads path and query of a request.
    pub fn parse(uri: &Uri) -> Result<Self, ServeError> {
        let path = uri.path();
        check_grammar(path).map_err(|_| ServeError::Path)?;
        let target = if let Some(rest) = path.strip_prefix("/layout/") {
            Self::Layout(track(rest, ".json")?)
        } else if let Some(rest) = path.strip_prefix("/m/") {
            Self::Manifest { track: track(rest, ".mpd")?, max_kbps: max_kbps(uri.query())? }
        } else {
            Self::Object(path.parse().map_err(|_| ServeError::NoSuchPath)?)
        };
        match target.path().scheme {
            Scheme::Cenc => Ok(target),
            Scheme::Cbcs => Err(ServeError::Scheme(Scheme::Cbcs.fourcc())),
        }
    }

    /// Scheme, epoch and asset, in the form of an object's path.
    pub fn path(&self) -> &ObjectPath {
        match self {
            Self::Object(path) | Self::Layout(Track(path)) | Self::Manifest { track: Track(path), .. } => {
                path
            }
        }
    }
}

/// `<c|b>/<epoch>/<asset><ending>`, by the rules of an object's path.
fn track(rest: &str, ending: &str) -> Result<Track, ServeError> {
    let stem = rest.strip_suffix(ending).ok_or(ServeError::NoSuchPath)?;
    let object = format!("/a/{stem}/{}.mp4", Rendition::Aac64);
    object.parse().map(Track).map_err(|_| ServeError::NoSuchPath)
}

fn max_kbps(query: Option<&str>) -> Result<Option<u32>, ServeError> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(None) };
    let digits = query.strip_prefix("max_kbps=").ok_or(ServeError::Query)?;
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    number.map(Some).ok_or(ServeError::Query)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASSET: &str = "4f1c0d2e9b7a4c554f1c0d2e9b7a4c55";

    fn read(text: &str) -> Result<Target, ServeError> {
        Target::parse(&text.replace("ASSET", ASSET).parse().unwrap())
    }

    #[test]
    fn the_three_kinds_of_paths_are_read() {
        assert!(matches!(read("/a/c/692/ASSET/64.mp4"), Ok(Target::Object(_))));
        assert!(matches!(read("/layout/c/692/ASSET.json"), Ok(Target::Layout(_))));
        assert!(matches!(read("/m/c/692/ASSET.mpd"), Ok(Target::Manifest { max_kbps: None, .. })));
        assert!(matches!(
            read("/m/c/692/ASSET.mpd?max_kbps=128"),
            Ok(Target::Manifest { max_kbps: Some(128), .. })
        ));
    }

    #[test]
    fn everything_else_is_refused_by_its_fault() {
        for path in ["/", "/a//c", "/a/%61", "/a/../x"] {
            assert!(matches!(read(path), Err(ServeError::Path)), "{path}");
        }
        for path in [
            "/x",
            "/a/c/0692/ASSET/64.mp4",
            "/layout/c/692/ASSET.mpd",
            "/m/c/692/ASSET",
            "/m/c/692/ASSET/64.mpd",
        ] {
            assert!(matches!(read(path), Err(ServeError::NoSuchPath)), "{path}");
        }
        for path in [
            "/m/c/1/ASSET.mpd?max_kbps=",
            "/m/c/1/ASSET.mpd?max_kbps=+1",
            "/m/c/1/ASSET.mpd?max_kbps=4294967296",
            "/m/c/1/ASSET.mpd?x=1",
        ] {
            assert!(matches!(read(path), Err(ServeError::Query)), "{path}");
        }
        assert!(matches!(read("/a/b/692/ASSET/64.mp4"), Err(ServeError::Scheme("cbcs"))));
    }
}
