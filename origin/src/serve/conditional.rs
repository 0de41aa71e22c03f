//! What a request asks to hold before it is answered, and which part it asks for (RFC 9110 §13, §14).
//!
//! Promises
//! - Conditions are weighed in the order of RFC 9110 §13.2.2; dates that do not parse are as if absent.
//! - A range is granted to GET alone, and only if `If-Range` still holds.
//!
//! Does not know: where validators come from, status codes.

use antiphon_core::range::RangeHeader;
use antiphon_core::{Span, UnixTime};
use http::header::{
    HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use std::time::{Duration, SystemTime};

/// What tells one version of a representation from another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validators<'a> {
    /// A strong entity tag, with its quotes.
    pub etag: &'a str,
    /// When it last changed, if that is known.
    pub last_modified: Option<UnixTime>,
}

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// All of it.
    Whole,
    /// A part.
    Part(Span),
    /// That nothing changed.
    NotModified,
    /// That a condition does not hold.
    Failed,
    /// That the range lies outside.
    Unsatisfiable,
}

/// Longest conditional header that is looked into; a longer list is as if absent, which serves more, not less.
const LIST_LEN_MAX: usize = 4096;

/// Weighs the conditions and the range of a GET (`ranged`) or HEAD for a representation of `len` bytes.
pub(super) fn decide(headers: &HeaderMap, validators: Validators<'_>, len: u64, ranged: bool) -> Decision {
    let failed = match listed(headers, IF_MATCH, validators.etag, Weak::Refused) {
        Some(found) => !found,
        None => since(headers, IF_UNMODIFIED_SINCE, validators).is_some_and(|unchanged| !unchanged),
    };
    if failed {
        return Decision::Failed;
    }
    let unchanged = match listed(headers, IF_NONE_MATCH, validators.etag, Weak::Taken) {
        Some(found) => found,
        None => since(headers, IF_MODIFIED_SINCE, validators).unwrap_or(false),
    };
    if unchanged {
        return Decision::NotModified;
    }
    if !ranged || !range_holds(headers, validators) {
        return Decision::Whole;
    }
    match single(headers, RANGE).map(RangeHeader::parse) {
        Some(RangeHeader::One(spec)) => spec.resolve(len).map_or(Decision::Unsatisfiable, Decision::Part),
        Some(RangeHeader::Several | RangeHeader::Ignored) | None => Decision::Whole,
    }
}

/// Whether weak tags count (RFC 9110 §8.8.3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weak {
    Refused,
    Taken,
}

/// Whether `etag` is in the list of a header; `None` without that header.
fn listed(headers: &HeaderMap, name: HeaderName, etag: &str, weak: Weak) -> Option<bool> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    let mut found = false;
    for line in lines {
        let text = line.to_str().ok().filter(|text| text.len() <= LIST_LEN_MAX)?;
        // Our own tags hold no comma, so a tag cut at one of its own commas is no match, as it should be.
        found |= text.split(',').map(str::trim).any(|member| {
            let member = match weak {
                Weak::Refused => member,
                Weak::Taken => member.strip_prefix("W/").unwrap_or(member),
            };
            member == "*" || member == etag
        });
    }
    Some(found)
}

/// Whether nothing changed since the date in a header; `None` without a usable date.
fn since(headers: &HeaderMap, name: HeaderName, validators: Validators<'_>) -> Option<bool> {
    Some(moment(validators.last_modified?) <= date(single(headers, name)?)?)
}

/// Whether `If-Range` allows a part (RFC 9110 §13.1.5): a strong tag or the very date.
fn range_holds(headers: &HeaderMap, validators: Validators<'_>) -> bool {
    match headers.get(IF_RANGE).map(|value| value.to_str()) {
        None => true,
        Some(Ok(text)) if text.starts_with('"') => text == validators.etag,
        Some(Ok(text)) => match (date(text), validators.last_modified) {
            (Some(date), Some(modified)) => date == moment(modified),
            _ => false,
        },
        Some(Err(_)) => false,
    }
}

/// The value of a header that may stand once; twice is as if absent.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

fn moment(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(time.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "\"4f1c0d2e9b7a-256-c692\"";
    const LEN: u64 = 1000;

    fn ask(headers: &[(&'static str, &str)]) -> Decision {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        // 1994-11-06 08:49:37, the date of RFC 9110 §5.6.7.
        let validators = Validators { etag: ETAG, last_modified: Some(UnixTime(784_111_777)) };
        decide(&headers.collect(), validators, LEN, true)
    }

    fn part(start: u64, end: u64) -> Decision {
        Decision::Part(Span::new(start, end).unwrap())
    }

    #[test]
    fn ranges_are_granted_served_whole_or_refused() {
        assert_eq!(ask(&[]), Decision::Whole);
        assert_eq!(ask(&[("range", "bytes=0-0")]), part(0, 1));
        assert_eq!(ask(&[("range", "bytes=999-5000")]), part(999, 1000));
        assert_eq!(ask(&[("range", "bytes=-1")]), part(999, 1000));
        assert_eq!(ask(&[("range", "bytes=1000-")]), Decision::Unsatisfiable);
        assert_eq!(ask(&[("range", "bytes=-0")]), Decision::Unsatisfiable);
        assert_eq!(ask(&[("range", "bytes=0-1,5-6")]), Decision::Whole);
        assert_eq!(ask(&[("range", "lines=0-1")]), Decision::Whole);
        assert_eq!(ask(&[("range", "bytes=0-1"), ("range", "bytes=2-3")]), Decision::Whole);
    }

    #[test]
    fn a_range_of_another_version_becomes_the_whole() {
        let range = ("range", "bytes=0-9");
        assert_eq!(ask(&[range, ("if-range", ETAG)]), part(0, 10));
        assert_eq!(ask(&[range, ("if-range", "Sun, 06 Nov 1994 08:49:37 GMT")]), part(0, 10));
        for other in ["\"x\"", &format!("W/{ETAG}"), "Sun, 06 Nov 1994 08:49:38 GMT", "soon"] {
            assert_eq!(ask(&[range, ("if-range", other)]), Decision::Whole, "{other}");
        }
    }

    #[test]
    fn conditions_are_weighed_before_the_range() {
        let range = ("range", "bytes=5000-");
        assert_eq!(ask(&[range, ("if-none-match", ETAG)]), Decision::NotModified);
        assert_eq!(ask(&[range, ("if-match", "\"x\"")]), Decision::Failed);
        assert_eq!(ask(&[("if-none-match", &format!("\"a\", W/{ETAG}"))]), Decision::NotModified);
        assert_eq!(ask(&[("if-none-match", "*")]), Decision::NotModified);
        assert_eq!(ask(&[("if-none-match", "\"x\"")]), Decision::Whole);
        assert_eq!(ask(&[("if-match", &format!("W/{ETAG}"))]), Decision::Failed);
        assert_eq!(ask(&[("if-match", "*")]), Decision::Whole);
    }

    #[test]
    fn dates_count_where_no_tag_does() {
        let (then, before) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT");
        assert_eq!(ask(&[("if-modified-since", then)]), Decision::NotModified);
        assert_eq!(ask(&[("if-modified-since", before)]), Decision::Whole);
        assert_eq!(ask(&[("if-modified-since", then), ("if-none-match", "\"x\"")]), Decision::Whole);
        assert_eq!(ask(&[("if-unmodified-since", before)]), Decision::Failed);
        assert_eq!(ask(&[("if-unmodified-since", then)]), Decision::Whole);
        assert_eq!(ask(&[("if-unmodified-since", before), ("if-match", ETAG)]), Decision::Whole);
        assert_eq!(ask(&[("if-modified-since", "yesterday")]), Decision::Whole);
    }

    #[test]
    fn a_list_is_read_up_to_its_limit() {
        let at = |len: usize| format!("{},{ETAG}", "x".repeat(len - ETAG.len() - 1));
        assert_eq!(ask(&[("if-none-match", &at(LIST_LEN_MAX))]), Decision::NotModified);
        assert_eq!(ask(&[("if-none-match", &at(LIST_LEN_MAX + 1))]), Decision::Whole);
    }
}
