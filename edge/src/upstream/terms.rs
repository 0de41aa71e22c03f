//! How long an answer of the origin holds, and what it can be purged by.
//!
//! Promises
//! - RFC 9111 for a shared cache: `s-maxage` before `max-age`, less `Age`; `no-store`, `no-cache` and `private`
//!   are never kept; `must-revalidate` and `proxy-revalidate` allow nothing stale. RFC 5861 for what may be
//!   stale. Numbers that are none count as 0.
//! - An answer without a lifetime holds for ever: its bytes follow from its path (MEDIA.md §3.1).
//! - Tags are bounded in number and length; what is beyond is not read.
//!
//! Does not know: entity tags, bytes.

use antiphon_cache::{ObjMeta, TAG_BYTES_MAX, TAGS_MAX};
use antiphon_core::UnixTime;
use http::header::AGE;
use http::{HeaderMap, HeaderName};

/// Names of groups that an object belongs to, divided by commas.
pub(super) const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// Longer lifetimes count as this, in seconds (RFC 9111 §1.2.2).
const SECS_MAX: u64 = 1 << 31;

/// What `Cache-Control` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Terms {
    never: bool,
    strict: bool,
    max_age: Option<u64>,
    shared_max_age: Option<u64>,
    while_revalidate: u64,
    if_error: u64,
}

/// Sets until when the object holds, by its `cache_control` and the age that `headers` give it, asked at `at`.
pub(super) fn set(meta: &mut ObjMeta, headers: &HeaderMap, at: UnixTime) {
    let terms = meta.cache_control.as_deref().map_or_else(Terms::default, Terms::parse);
    if terms.never {
        for until in
            [&mut meta.fresh_until, &mut meta.stale_while_revalidate_until, &mut meta.stale_if_error_until]
        {
            *until = UnixTime(0);
        }
        return;
    }
    let Some(lifetime) = terms.shared_max_age.or(terms.max_age) else { return };
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()).map_or(0, secs);
    let fresh_until = UnixTime(at.plus(lifetime).0.saturating_sub(age).max(1));
    let (while_revalidate, if_error) =
        if terms.strict { (0, 0) } else { (terms.while_revalidate, terms.if_error) };
    meta.fresh_until = fresh_until;
    meta.stale_while_revalidate_until = fresh_until.plus(while_revalidate);
    meta.stale_if_error_until = fresh_until.plus(if_error);
}

/// The tags that `headers` give.
pub(super) fn tags(headers: &HeaderMap) -> Vec<String> {
    let fields = headers.get_all(CACHE_TAG).iter().filter_map(|field| field.to_str().ok());
    let tags = fields.flat_map(|field| field.split(',')).map(str::trim);
    tags.filter(|tag| !tag.is_empty() && tag.len() <= TAG_BYTES_MAX)
        .take(TAGS_MAX)
        .map(str::to_owned)
        .collect()
}

impl Terms {
    /// RFC 9111 §5.2: directives divided by commas, an argument plain or in quotes. What is unknown is skipped.
    fn parse(text: &str) -> Self {
        let mut terms = Self::default();
        for directive in text.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let argument = argument.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" | "private" => terms.never = true,
                "must-revalidate" | "proxy-revalidate" => terms.strict = true,
                "max-age" => terms.max_age = Some(secs(argument)),
                "s-maxage" => terms.shared_max_age = Some(secs(argument)),
                "stale-while-revalidate" => terms.while_revalidate = secs(argument),
                "stale-if-error" => terms.if_error = secs(argument),
                _ => {}
            }
        }
        terms
    }
}

/// `1*DIGIT`; as many as there can be if they are more, 0 if they are none.
fn secs(text: &str) -> u64 {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    text.parse().unwrap_or(SECS_MAX).min(SECS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_000);
    const EVER: u64 = u64::MAX;

    /// Fresh, stale while revalidating and stale if error, until when.
    fn until(text: &str, age: Option<&str>) -> (u64, u64, u64) {
        let mut meta = ObjMeta::new(1, None);
        meta.cache_control = Some(text.to_owned());
        let headers = age.map(|age| (AGE, age.parse().unwrap())).into_iter().collect();
        set(&mut meta, &headers, NOW);
        (meta.fresh_until.0, meta.stale_while_revalidate_until.0, meta.stale_if_error_until.0)
    }

    #[test]
    fn an_answer_holds_as_long_as_it_says() {
        for (text, age, want) in [
            ("public, max-age=60, immutable", None, (1060, 1060, 1060)),
            ("max-age=60", Some("50"), (1010, 1010, 1010)),
            ("max-age=60", Some("2000"), (1, 1, 1)),
            ("max-age=60, s-maxage=5", None, (1005, 1005, 1005)),
            ("max-age=10, stale-while-revalidate=20, stale-if-error=30", None, (1010, 1030, 1040)),
            ("max-age=10, stale-while-revalidate=20, must-revalidate", None, (1010, 1010, 1010)),
            ("s-maxage=10, stale-if-error=20, proxy-revalidate", None, (1010, 1010, 1010)),
            ("MAX-AGE = \"60\"", None, (1060, 1060, 1060)),
            ("max-age=", None, (1000, 1000, 1000)),
            ("max-age=-1", None, (1000, 1000, 1000)),
            ("max-age=99999999999999999999999", None, (1000 + SECS_MAX, 1000 + SECS_MAX, 1000 + SECS_MAX)),
            ("immutable", None, (EVER, EVER, EVER)),
            ("", None, (EVER, EVER, EVER)),
            ("no-store", None, (0, 0, 0)),
            ("max-age=60, no-cache", None, (0, 0, 0)),
            ("private, max-age=60, stale-if-error=60", None, (0, 0, 0)),
            ("no-cache=\"x-y\"", None, (0, 0, 0)),
        ] {
            assert_eq!(until(text, age), want, "{text:?} {age:?}");
        }
    }

    #[test]
    fn tags_are_read_up_to_their_bounds() {
        let read =
            |texts: &[&str]| tags(&texts.iter().map(|text| (CACHE_TAG, text.parse().unwrap())).collect());
        assert_eq!(read(&["a, b:c,,  d", "e"]), ["a", "b:c", "d", "e"]);
        let (fits, long) = ("x".repeat(TAG_BYTES_MAX), "x".repeat(TAG_BYTES_MAX + 1));
        assert_eq!(read(&[&fits, &long, "y"]), [fits.as_str(), "y"]);
        assert_eq!(read(&[&vec!["t"; TAGS_MAX + 1].join(",")]).len(), TAGS_MAX);
        assert!(read(&[]).is_empty());
    }
}
