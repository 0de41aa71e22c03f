//! What a client asked for, and what it was granted.
//!
//! Promises
//! - A [`Span`] is never empty and lies inside the object it was resolved against.
//! - Parsing never fails: text that is not one well-formed byte range is *ignored*, as RFC 9110 §14.2 lets a
//!   server do, and the caller serves the whole object.
//!
//! Does not know: status codes, headers other than the value of `Range`.

use std::fmt;

/// What a client asked for: one range of RFC 9110 §14.1.2, ends inclusive as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `bytes=first-last`, with `first <= last`.
    Between {
        /// Offset of the first byte asked for.
        first: u64,
        /// Offset of the last byte asked for, inclusive.
        last: u64,
    },
    /// `bytes=first-`: from here to the end.
    From {
        /// Offset of the first byte asked for.
        first: u64,
    },
    /// `bytes=-count`: the last `count` bytes.
    Last {
        /// How many bytes from the end; more than the object has means all of it.
        count: u64,
    },
}

/// The value of a `Range` header, sorted into what a server may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeHeader {
    /// One byte range.
    One(RangeSpec),
    /// Several byte ranges, or a range set longer than [`RANGE_TEXT_MAX`]: served whole, never amplified.
    Several,
    /// Another unit or not the grammar: as if the header were absent (RFC 9110 §14.2).
    Ignored,
}

/// A non-empty run of bytes inside one object. Only [`RangeSpec::resolve`], [`Span::whole`] and the
/// sub-span functions make one, so whoever holds a `Span` need not ask whether it fits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// Invariant: `start < end`. Upheld by [`Span::new`], asserted in [`Span::offsets_of`].
    start: u64,
    end: u64,
}

/// Longest `Range` value that is looked into, in bytes: one range of two 20-digit numbers fits twice.
pub const RANGE_TEXT_MAX: usize = 128;

impl RangeHeader {
    /// Reads the value of a `Range` header.
    ///
    /// ```
    /// use antiphon_core::range::{RangeHeader, RangeSpec};
    /// assert_eq!(RangeHeader::parse("bytes=0-99"), RangeHeader::One(RangeSpec::Between { first: 0, last: 99 }));
    /// assert_eq!(RangeHeader::parse("bytes=9-3"), RangeHeader::Ignored);
    /// ```
    pub fn parse(text: &str) -> Self {
        let Some(set) = text.trim().split_once('=').and_then(|(unit, set)| {
            // Range units are case-insensitive tokens (RFC 9110 §14.1).
            unit.eq_ignore_ascii_case("bytes").then_some(set.trim())
        }) else {
            return Self::Ignored;
        };
        if set.len() > RANGE_TEXT_MAX || set.contains(',') {
            return Self::Several;
        }
        parse_one(set).map_or(Self::Ignored, Self::One)
    }
}

impl RangeSpec {
    /// Pins the request to an object of `len` bytes; `None` means it cannot be satisfied.
    pub fn resolve(self, len: u64) -> Option<Span> {
        let (start, end) = match self {
            Self::Between { first, last } => (first, last.saturating_add(1).min(len)),
            Self::From { first } => (first, len),
            Self::Last { count } => (len.saturating_sub(count), len),
        };
        Span::new(start, end)
    }
}

impl fmt::Display for RangeSpec {
    /// As it is written after `Range: ` on the wire.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between { first, last } => write!(f, "bytes={first}-{last}"),
            Self::From { first } => write!(f, "bytes={first}-"),
            Self::Last { count } => write!(f, "bytes=-{count}"),
        }
    }
}

impl Span {
    /// The bytes `start..end`, or `None` if there are none.
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// All of an object of `len` bytes, or `None` if it is empty.
    pub fn whole(len: u64) -> Option<Self> {
        Self::new(0, len)
    }

    /// Offset of the first byte.
    pub fn start(self) -> u64 {
        self.start
    }

    /// Offset just past the last byte.
    pub fn end(self) -> u64 {
        self.end
    }

    /// How many bytes; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a span is never empty")]
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// The part of `self` that lies inside `other`.
    pub fn overlap(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// Where `part` lies inside a buffer that holds exactly `self`, as indexes of that buffer.
    ///
    /// `None` when `part` is not inside `self` or the distance does not fit a `usize`.
    pub fn offsets_of(self, part: Self) -> Option<std::ops::Range<usize>> {
        debug_assert!(self.start < self.end && part.start < part.end, "a span is never empty");
        let inside = self.start <= part.start && part.end <= self.end;
        let from = usize::try_from(part.start.checked_sub(self.start)?).ok()?;
        let to = usize::try_from(part.end.checked_sub(self.start)?).ok()?;
        inside.then_some(from..to)
    }

    /// The same bytes as a request for them.
    pub fn as_spec(self) -> RangeSpec {
        RangeSpec::Between { first: self.start, last: self.end - 1 }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// `first-last`, `first-` or `-count`.
fn parse_one(set: &str) -> Option<RangeSpec> {
    let (first, last) = set.split_once('-')?;
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => Some(RangeSpec::Last { count: digits(last)? }),
        (false, true) => Some(RangeSpec::From { first: digits(first)? }),
        (false, false) => {
            let (first, last) = (digits(first)?, digits(last)?);
            (first <= last).then_some(RangeSpec::Between { first, last })
        }
    }
}

/// `1*DIGIT`, saturating: RFC 9110 sets no bound on the digits, so an absurd number means "past the end".
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Option<RangeSpec> {
        match RangeHeader::parse(text) {
            RangeHeader::One(spec) => Some(spec),
            _ => None,
        }
    }

    #[test]
    fn the_three_forms_of_a_range_are_read() {
        assert_eq!(one("bytes=0-0"), Some(RangeSpec::Between { first: 0, last: 0 }));
        assert_eq!(one("bytes=5-"), Some(RangeSpec::From { first: 5 }));
        assert_eq!(one("bytes=-5"), Some(RangeSpec::Last { count: 5 }));
        assert_eq!(one("Bytes=1-2"), Some(RangeSpec::Between { first: 1, last: 2 }));
    }

    #[test]
    fn text_that_is_no_range_is_ignored() {
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=2-1",
            "items=0-1",
            "bytes=0x0-1",
        ] {
            assert_eq!(RangeHeader::parse(text), RangeHeader::Ignored, "{text:?}");
        }
    }

    #[test]
    fn several_ranges_and_overlong_ones_are_told_apart() {
        assert_eq!(RangeHeader::parse("bytes=0-1,4-5"), RangeHeader::Several);
        let at_limit = format!("bytes={}-", "0".repeat(RANGE_TEXT_MAX - 1));
        assert_eq!(one(&at_limit), Some(RangeSpec::From { first: 0 }));
        let past_limit = format!("bytes={}-", "0".repeat(RANGE_TEXT_MAX));
        assert_eq!(RangeHeader::parse(&past_limit), RangeHeader::Several);
    }

    #[test]
    fn the_last_bytes_of_an_object_are_counted_from_its_end() {
        assert_eq!(RangeSpec::Last { count: 3 }.resolve(10), Span::new(7, 10));
        assert_eq!(RangeSpec::Last { count: 30 }.resolve(10), Span::new(0, 10));
        assert_eq!(RangeSpec::Last { count: 0 }.resolve(10), None);
        assert_eq!(RangeSpec::From { first: 10 }.resolve(10), None);
        assert_eq!(RangeSpec::From { first: 9 }.resolve(10), Span::new(9, 10));
        assert_eq!(RangeSpec::Between { first: 0, last: u64::MAX }.resolve(10), Span::whole(10));
        assert_eq!(RangeSpec::From { first: 0 }.resolve(0), None);
    }

    fn any_spec() -> impl Strategy<Value = RangeSpec> {
        prop_oneof![
            (any::<u64>(), any::<u64>())
                .prop_map(|(a, b)| RangeSpec::Between { first: a.min(b), last: a.max(b) }),
            any::<u64>().prop_map(|first| RangeSpec::From { first }),
            any::<u64>().prop_map(|count| RangeSpec::Last { count }),
        ]
    }

    proptest! {
        #[test]
        fn a_granted_span_always_fits_its_object(asked in any_spec(), len in 0_u64..1 << 40) {
            if let Some(span) = asked.resolve(len) {
                prop_assert!(span.start() < span.end() && span.end() <= len);
            }
        }

        #[test]
        fn what_is_written_is_read_back(asked in any_spec()) {
            prop_assert_eq!(RangeHeader::parse(&asked.to_string()), RangeHeader::One(asked));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = RangeHeader::parse(&text);
        }
    }
}
