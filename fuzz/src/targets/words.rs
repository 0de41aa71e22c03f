//! The words every part shares: paths, ranges, configuration.

use crate::Outcome;
use antiphon_core::config::{parse, render};
use antiphon_core::path::{PATH_LEN_MAX, check_grammar};
use antiphon_core::range::{RangeHeader, RangeSpec};
use antiphon_core::{ByteSize, ObjectPath};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The path of a request: its grammar against a second telling of the grammar, and one spelling per object.
pub fn path(data: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(data);
    assert_eq!(check_grammar(&text).is_ok(), is_path(&text), "two tellings of one grammar differ");
    let Ok(object) = text.parse::<ObjectPath>() else {
        return Outcome::Refused;
    };
    assert!(is_path(&text), "an object outside the grammar");
    assert_eq!(object.to_string(), text, "an object has one spelling");
    assert!(object.etag().bytes().all(|b| b.is_ascii_graphic()));
    Outcome::Taken
}

/// MEDIA.md §3.1 word by word: alphabet, length, no `//`, no dot segments.
fn is_path(text: &str) -> bool {
    let alphabet = |c: char| c.is_ascii_alphanumeric() || "._~/-".contains(c);
    let tricks = ["//", "/./", "/../"].iter().any(|trick| text.contains(trick));
    text.starts_with('/')
        && (2..=PATH_LEN_MAX + 1).contains(&text.len())
        && text.chars().all(alphabet)
        && !tricks
        && !text.ends_with("/.")
        && !text.ends_with("/..")
}

/// The value of `Range`: what is granted fits the object, what is written is read back.
pub fn range(data: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(data);
    let RangeHeader::One(spec) = RangeHeader::parse(&text) else {
        return Outcome::Refused;
    };
    assert_eq!(RangeHeader::parse(&spec.to_string()), RangeHeader::One(spec));
    if let RangeSpec::Between { first, last } = spec {
        assert!(first <= last);
    }
    for len in [0, 1, 2, 255, 256 * 1024, 8_030_000, u64::MAX] {
        if let Some(span) = spec.resolve(len) {
            assert!(span.start() < span.end() && span.end() <= len, "{span:?} of {len}");
            assert_eq!(span.as_spec().resolve(len), Some(span));
        }
    }
    Outcome::Taken
}

/// A file with every shape of key that our roles have.
#[derive(Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct House {
    /// Addresses it listens on.
    listen: Vec<String>,
    /// A whole number.
    wait_ms: u32,
    /// A number that may be negative.
    offset: i16,
    /// A switch.
    enabled: bool,
    /// May be absent.
    key_file: Option<String>,
    /// A table.
    ram: Room,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Room {
    /// Bytes with a unit.
    capacity_bytes: ByteSize,
    /// A table in a table.
    deep: Deep,
}

#[derive(Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Deep {
    /// A share.
    share: u8,
}

impl Default for Room {
    fn default() -> Self {
        Self { capacity_bytes: ByteSize::mib(64), deep: Deep::default() }
    }
}

/// A role's file: what is read is printed and read again; a fault has a place inside the file.
pub fn config(data: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(data);
    match parse::<House>(&text, "house.toml") {
        Ok(house) => {
            let printed = render(&house).unwrap_or_else(|error| panic!("what was read is printed: {error}"));
            assert_eq!(parse::<House>(&printed, "house.toml"), Ok(house), "{printed}");
            Outcome::Taken
        }
        Err(error) => {
            assert!((1..=text.matches('\n').count() + 1).contains(&error.line), "{error}");
            assert!(error.column >= 1 && error.column <= text.chars().count() + 1, "{error}");
            Outcome::Refused
        }
    }
}
