//! Conditional requests (RFC 9110 §13): what must hold before an answer has bytes.
//!
//! Promises
//! - Evaluation order of §13.2.2; a field that does not parse is as if absent, as the RFC asks.
//! - `If-Range` compares strongly, or a date exactly: a client never splices two versions.
//!
//! Does not know: status codes, the cache.

use http::HeaderMap;
use http::header::{
    HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};
use std::time::SystemTime;

/// The conditional fields of one request.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    headers: &'a HeaderMap,
}

/// What an object is compared by.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// Strong entity tag, quotes included.
    pub etag: &'a str,
    /// `Last-Modified` as sent.
    pub last_modified: Option<&'a str>,
}

/// What the conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Answer as if there were none.
    Proceed,
    /// The client has it already: 304.
    NotModified,
    /// The client wants a version that is not here: 412.
    Failed,
}

const FIELDS: [HeaderName; 5] = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE];

impl<'a> Conditions<'a> {
    /// The conditions of a request; `None` if it has none.
    pub fn of(headers: &'a HeaderMap) -> Option<Self> {
        FIELDS.iter().any(|name| headers.contains_key(name)).then_some(Self { headers })
    }

    /// Holds the conditions of a GET or HEAD against an object.
    pub fn judge(&self, object: &Validators<'_>) -> Judgement {
        let modified = object.last_modified.and_then(date);
        if self.headers.contains_key(IF_MATCH) {
            if !self.names(&IF_MATCH, |tag| tag == object.etag) {
                return Judgement::Failed;
            }
        } else if let (Some(limit), Some(modified)) = (self.date_of(&IF_UNMODIFIED_SINCE), modified)
            && modified > limit
        {
            return Judgement::Failed;
        }
        if self.headers.contains_key(IF_NONE_MATCH) {
            if self.names(&IF_NONE_MATCH, |tag| tag.strip_prefix("W/").unwrap_or(tag) == object.etag) {
                return Judgement::NotModified;
            }
        } else if let (Some(limit), Some(modified)) = (self.date_of(&IF_MODIFIED_SINCE), modified)
            && modified <= limit
        {
            return Judgement::NotModified;
        }
        Judgement::Proceed
    }

    /// Whether the range asked for still applies to this version (§13.1.5). If not, all of it is due.
    pub fn range_applies(&self, object: &Validators<'_>) -> bool {
        let Some(value) = self.headers.get(IF_RANGE) else { return true };
        let Ok(value) = value.to_str() else { return false };
        if value.starts_with('"') || value.starts_with("W/") {
            // Strong comparison: a weak tag never matches.
            return value == object.etag;
        }
        matches!((date(value), object.last_modified.and_then(date)), (Some(asked), Some(modified)) if asked == modified)
    }

    /// Whether a list of entity tags is `*` or has one that matches.
    fn names(&self, field: &HeaderName, matches: impl Fn(&str) -> bool) -> bool {
        let mut values = self.headers.get_all(field).iter().filter_map(|value| value.to_str().ok());
        values.any(|list| list.trim() == "*" || tags(list).any(&matches))
    }

    fn date_of(&self, field: &HeaderName) -> Option<SystemTime> {
        self.headers.get(field).map(HeaderValue::to_str)?.ok().and_then(date)
    }
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

/// The entity tags of a list (§8.8.3): quoted strings, commas inside the quotes belong to the tag.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let open = if rest.starts_with("W/") { 2 } else { 0 };
        let quoted = rest.get(open..)?.strip_prefix('"')?;
        let len = open + 1 + quoted.find('"')? + 1;
        let (tag, after) = rest.split_at(len);
        rest = after;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: Validators<'static> =
        Validators { etag: "\"v1\"", last_modified: Some("Sun, 06 Nov 1994 08:49:37 GMT") };
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn judge(fields: &[(HeaderName, &str)]) -> Judgement {
        let headers = headers(fields);
        Conditions::of(&headers).map_or(Judgement::Proceed, |conditions| conditions.judge(&OBJECT))
    }

    #[test]
    fn conditions_are_judged_in_the_order_of_the_rfc() {
        use Judgement::{Failed, NotModified, Proceed};
        let cases: [(&[(HeaderName, &str)], Judgement); 17] = [
            (&[], Proceed),
            (&[(IF_MATCH, "\"v1\"")], Proceed),
            (&[(IF_MATCH, "*")], Proceed),
            (&[(IF_MATCH, "\"v0\", \"v1\"")], Proceed),
            (&[(IF_MATCH, "\"v0\"")], Failed),
            (&[(IF_MATCH, "W/\"v1\"")], Failed),
            (&[(IF_MATCH, "v1")], Failed),
            (&[(IF_NONE_MATCH, "\"v1\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"a,b\",W/\"v1\"")], NotModified),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, "\"v0\"")], Proceed),
            (&[(IF_NONE_MATCH, "\"v0\""), (IF_MODIFIED_SINCE, SAME)], Proceed),
            (&[(IF_MODIFIED_SINCE, SAME)], NotModified),
            (&[(IF_MODIFIED_SINCE, BEFORE)], Proceed),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], Failed),
            (&[(IF_UNMODIFIED_SINCE, "yesterday")], Proceed),
            (&[(IF_MATCH, "\"v0\""), (IF_NONE_MATCH, "\"v1\"")], Failed),
        ];
        for (fields, want) in cases {
            assert_eq!(judge(fields), want, "{fields:?}");
        }
    }

    #[test]
    fn a_range_applies_only_to_the_version_it_was_asked_of() {
        for (value, applies) in [
            ("\"v1\"", true),
            ("\"v0\"", false),
            ("W/\"v1\"", false),
            (SAME, true),
            (BEFORE, false),
            ("Mon, 07 Nov 1994 08:49:37 GMT", false),
            ("v1", false),
        ] {
            let headers = headers(&[(IF_RANGE, value)]);
            let conditions = Conditions::of(&headers).unwrap();
            assert_eq!(conditions.range_applies(&OBJECT), applies, "{value}");
        }
    }
}
