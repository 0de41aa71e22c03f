//! The path of an object: `/a/<c|b>/<epoch>/<asset>/<rendition>.mp4` (MEDIA.md §3.1).
//!
//! Promises
//! - One object has one spelling: epochs without leading zeros, assets in lowercase.
//! - [`check_grammar`] holds for every path this edge serves, signed or not.

use crate::media::{AssetId, Epoch, Rendition, Scheme};
use std::fmt;
use std::str::FromStr;

/// Where an object lives, at the origin and at every edge. Also its cache key: a token is never part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectPath {
    /// How samples are encrypted.
    pub scheme: Scheme,
    /// Whose keys.
    pub epoch: Epoch,
    /// Which recording.
    pub asset: AssetId,
    /// Which encoding of it.
    pub rendition: Rendition,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A character, a dot segment, an empty segment or a length that no path here has.
    #[error("the path has a character, segment or length that no path here has")]
    Grammar,
    /// Well-formed, but not the path of an object.
    #[error("the path names no object")]
    NotAnObject,
}

/// Longest path, in bytes, its first slash not counted.
pub const PATH_LEN_MAX: usize = 300;

/// `/[A-Za-z0-9._~/-]{1,300}` without `//` and dot segments. Percent signs, backslashes and control
/// characters are outside the alphabet, so nothing is ever decoded.
pub fn check_grammar(path: &str) -> Result<(), PathError> {
    let rest = path.strip_prefix('/').ok_or(PathError::Grammar)?;
    let fits = (1..=PATH_LEN_MAX).contains(&rest.len());
    let alphabet =
        rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'/' | b'-'));
    // A trailing slash leaves one empty last segment, which the grammar allows.
    let mut segments = rest.split('/').peekable();
    let mut clean = true;
    while let Some(segment) = segments.next() {
        clean &= segment != "." && segment != ".." && (!segment.is_empty() || segments.peek().is_none());
    }
    (fits && alphabet && clean && rest != "/").then_some(()).ok_or(PathError::Grammar)
}

impl ObjectPath {
    /// The strong entity tag, quotes included: `"<asset, 12 digits>-<rendition>-<scheme><epoch>"`
    /// (MEDIA.md §3.1). Bytes are deterministic per path, so the path is the version.
    pub fn etag(&self) -> String {
        let asset = self.asset.to_string();
        format!("\"{}-{}-{}{}\"", &asset[..12], self.rendition, self.scheme.letter(), self.epoch)
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/a/{}/{}/{}/{}.mp4", self.scheme.letter(), self.epoch, self.asset, self.rendition)
    }
}

impl FromStr for ObjectPath {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        check_grammar(path)?;
        let mut segments = path.split('/').skip(1);
        let mut next = || segments.next().ok_or(PathError::NotAnObject);
        if next()? != "a" {
            return Err(PathError::NotAnObject);
        }
        let scheme = match next()? {
            "c" => Scheme::Cenc,
            "b" => Scheme::Cbcs,
            _ => return Err(PathError::NotAnObject),
        };
        let epoch = parse_epoch(next()?).ok_or(PathError::NotAnObject)?;
        let asset = next()?.parse().map_err(|_| PathError::NotAnObject)?;
        let file = next()?.strip_suffix(".mp4").ok_or(PathError::NotAnObject)?;
        let rendition = file.parse().map_err(|_| PathError::NotAnObject)?;
        match segments.next() {
            Some(_) => Err(PathError::NotAnObject),
            None => Ok(Self { scheme, epoch, asset, rendition }),
        }
    }
}

/// Decimal digits without a leading zero, as `Epoch` is written.
fn parse_epoch(text: &str) -> Option<Epoch> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok().map(Epoch)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATH: &str = "/a/c/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/256.mp4";

    #[test]
    fn a_path_is_read_back_as_it_is_written() {
        let path: ObjectPath = PATH.parse().unwrap();
        assert_eq!(path.to_string(), PATH);
        assert_eq!(path.epoch, Epoch(692));
        assert_eq!(path.etag(), "\"4f1c0d2e9b7a-256-c692\"");
    }

    #[test]
    fn path_tricks_are_refused_by_the_grammar() {
        for path in [
            "", "/", "//", "a/c", "/a//c", "/a/./c", "/a/../c", "/a/..", "/a/.", "/a%2fc", "/a\\c", "/a\0c",
            "/a c", "/a?b", "/ä", "/a//",
        ] {
            assert_eq!(check_grammar(path), Err(PathError::Grammar), "{path:?}");
        }
        assert_eq!(check_grammar(&format!("/{}", "a".repeat(PATH_LEN_MAX))), Ok(()));
        assert_eq!(check_grammar(&format!("/{}", "a".repeat(PATH_LEN_MAX + 1))), Err(PathError::Grammar));
        assert_eq!(check_grammar("/a/"), Ok(()));
        assert_eq!(check_grammar("/a/...x/~b"), Ok(()));
    }

    #[test]
    fn an_object_has_one_spelling() {
        for path in [
            "/a/c/0692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/256.mp4",
            "/a/c/692/4F1C0D2E9B7A4C554F1C0D2E9B7A4C55/256.mp4",
            "/a/c/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/256.mp4/",
            "/a/c/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/257.mp4",
            "/a/x/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/256.mp4",
            "/a/c/4294967296/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/256.mp4",
            "/b/c/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/256.mp4",
            "/a/c/692",
        ] {
            assert_eq!(path.parse::<ObjectPath>(), Err(PathError::NotAnObject), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_the_parser_panic(path in "\\PC{0,80}") {
            let _ = path.parse::<ObjectPath>();
        }

        #[test]
        fn whatever_parses_prints_as_it_came(path in "/a/[cb]/[0-9]{1,11}/[0-9a-f]{31,32}/(64|128|o96|fl|x).mp4") {
            if let Ok(parsed) = path.parse::<ObjectPath>() {
                prop_assert_eq!(parsed.to_string(), path);
            }
        }
    }
}
