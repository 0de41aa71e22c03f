//! Whether an answer of the origin fits the question, before a byte of it is believed.
//!
//! Promises
//! - A 206 has exactly one `Content-Range`, it starts where we asked and ends there or at the object's end, and
//!   `Content-Length` says the same number.
//! - A 200 to a range is the whole object and is passed on as that.
//! - A 304 is an answer only to a condition, and about the object of the condition.
//! - The entity tag is the one that the path prescribes: another one is another recording, or another key.
//!
//! Does not know: connections, bodies.

use super::terms::{self, CACHE_TAG};
use antiphon_cache::{ObjMeta, ObjName, UpstreamError, Want};
use antiphon_core::{ObjectPath, Span, UnixTime};
use data_encoding::BASE64;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
};
use http::{HeaderMap, HeaderName, StatusCode};

/// What a head that fits says.
#[derive(Debug)]
pub(super) enum Said {
    /// The object of the condition is unchanged; its description as of today.
    NotModified(ObjMeta),
    /// The object, or a part of it.
    Found(Head),
}

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub object: &'a ObjName,
    pub want: Want,
    /// The object as it was, if the question is whether it still is.
    pub known: Option<&'a ObjMeta>,
    /// When it was asked.
    pub at: UnixTime,
}

/// The head of an answer with an object.
#[derive(Debug)]
pub(super) struct Head {
    pub meta: ObjMeta,
    /// The bytes that the body holds; `None` if there is none to read.
    pub span: Option<Span>,
    pub digest: Option<[u8; 32]>,
}

/// RFC 9530.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Holds an answer's head against the question.
pub(super) fn check(
    status: StatusCode,
    headers: &HeaderMap,
    asked: &Question<'_>,
) -> Result<Said, UpstreamError> {
    let head = match status {
        StatusCode::OK => whole(headers, asked),
        StatusCode::PARTIAL_CONTENT => partial(headers, asked),
        StatusCode::RANGE_NOT_SATISFIABLE => past_end(headers, asked.want),
        StatusCode::NOT_MODIFIED => return not_modified(headers, asked).map(Said::NotModified),
        StatusCode::NOT_FOUND => Err(UpstreamError::Missing),
        StatusCode::GONE => Err(UpstreamError::Gone),
        other => Err(UpstreamError::Refused { status: other.as_u16() }),
    };
    head.map(Said::Found)
}

fn whole(headers: &HeaderMap, asked: &Question<'_>) -> Result<Head, UpstreamError> {
    let len = length(headers)?.ok_or(malformed("no Content-Length"))?;
    let meta = meta(headers, asked, len)?;
    let span = match asked.want {
        Want::Head => None,
        Want::Whole | Want::Range(_) => Span::whole(len),
    };
    Ok(Head { meta, span, digest: digest(headers)? })
}

/// RFC 9110 §15.4.5: what the answer says anew holds, the rest is as it was.
fn not_modified(headers: &HeaderMap, asked: &Question<'_>) -> Result<ObjMeta, UpstreamError> {
    let known = asked.known.ok_or(malformed("304 without a condition"))?;
    if let Some(etag) = one(headers, &ETAG)?
        && known.etag.as_deref() != Some(etag)
    {
        return Err(malformed("304 about another ETag"));
    }
    let mut meta = known.clone();
    if let Some(terms) = one(headers, &CACHE_CONTROL)? {
        meta.cache_control = Some(terms.to_owned());
    }
    if headers.contains_key(&CACHE_TAG) {
        meta.tags = terms::tags(headers);
    }
    terms::set(&mut meta, headers, asked.at);
    Ok(meta)
}

fn partial(headers: &HeaderMap, asked: &Question<'_>) -> Result<Head, UpstreamError> {
    let Want::Range(range) = asked.want else { return Err(malformed("206 without a range")) };
    let (span, total) = content_range(headers)?;
    if range.resolve(total) != Some(span) {
        return Err(malformed("another Content-Range than asked for"));
    }
    if length(headers)?.is_some_and(|len| len != span.len()) {
        return Err(malformed("Content-Length and Content-Range differ"));
    }
    Ok(Head { meta: meta(headers, asked, total)?, span: Some(span), digest: digest(headers)? })
}

/// Only the length counts: the cache asks for the rest.
fn past_end(headers: &HeaderMap, want: Want) -> Result<Head, UpstreamError> {
    let Want::Range(asked) = want else { return Err(malformed("416 without a range")) };
    let total = one(headers, &CONTENT_RANGE)?
        .and_then(|text| text.strip_prefix("bytes */"))
        .and_then(number)
        .ok_or(malformed("416 without a length"))?;
    if asked.resolve(total).is_some() {
        return Err(malformed("416 to a range inside the object"));
    }
    Ok(Head { meta: ObjMeta::new(total, None), span: None, digest: None })
}

fn meta(headers: &HeaderMap, asked: &Question<'_>, len: u64) -> Result<ObjMeta, UpstreamError> {
    let etag = one(headers, &ETAG)?.ok_or(malformed("no ETag"))?;
    let prescribed = asked.object.as_str().parse::<ObjectPath>().ok().map(|path| path.etag());
    if prescribed.as_deref() != Some(etag) {
        return Err(malformed("another ETag than the path's"));
    }
    if one(headers, &CONTENT_ENCODING)?.is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(malformed("a Content-Encoding"));
    }
    let text = |name| Ok(one(headers, name)?.map(str::to_owned));
    let mut meta = ObjMeta::new(len, Some(etag.to_owned()));
    meta.content_type = text(&CONTENT_TYPE)?;
    meta.last_modified = text(&LAST_MODIFIED)?.filter(|date| httpdate::parse_http_date(date).is_ok());
    meta.cache_control = text(&CACHE_CONTROL)?;
    meta.tags = terms::tags(headers);
    terms::set(&mut meta, headers, asked.at);
    Ok(meta)
}

/// `bytes first-last/total` (RFC 9110 §14.4).
fn content_range(headers: &HeaderMap) -> Result<(Span, u64), UpstreamError> {
    let text = one(headers, &CONTENT_RANGE)?.ok_or(malformed("206 without Content-Range"))?;
    let parse = || {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, total) = (number(first)?, number(last)?, number(total)?);
        let span = Span::new(first, last.checked_add(1)?)?;
        (span.end() <= total).then_some((span, total))
    };
    parse().ok_or(malformed("a Content-Range that is none"))
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, UpstreamError> {
    one(headers, &CONTENT_LENGTH)?
        .map(|text| number(text).ok_or(malformed("a Content-Length that is none")))
        .transpose()
}

/// The SHA-256 among the digests of the body, `sha-256=:<base64>:` (RFC 9530 §2); other algorithms are skipped.
fn digest(headers: &HeaderMap) -> Result<Option<[u8; 32]>, UpstreamError> {
    let wrong = || malformed("a Content-Digest that is none");
    for value in headers.get_all(&CONTENT_DIGEST) {
        for member in value.to_str().map_err(|_| wrong())?.split(',') {
            let (name, value) = member.trim().split_once('=').ok_or_else(wrong)?;
            if name == "sha-256" {
                let text =
                    value.strip_prefix(':').and_then(|text| text.strip_suffix(':')).ok_or_else(wrong)?;
                let bytes = BASE64.decode(text.as_bytes()).map_err(|_| wrong())?;
                return bytes.try_into().map(Some).map_err(|_| wrong());
            }
        }
    }
    Ok(None)
}

/// The value of a field that may be there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, UpstreamError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(malformed("a field twice"));
    }
    first.map(|value| value.to_str().map_err(|_| malformed("a field that is no text"))).transpose()
}

/// `1*DIGIT`: no sign, no space.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

const fn malformed(what: &'static str) -> UpstreamError {
    UpstreamError::Malformed { what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use antiphon_core::RangeSpec;

    const PATH: &str = "/a/c/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/256.mp4";
    const TAG: &str = "\"4f1c0d2e9b7a-256-c692\"";

    fn between(first: u64, last: u64) -> Want {
        Want::Range(RangeSpec::Between { first, last })
    }

    fn ask(status: u16, fields: &[(&'static str, &str)], want: Want) -> Result<Option<Span>, String> {
        let headers = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect::<HeaderMap>();
        let (object, at) = (ObjName::new(PATH), UnixTime(1));
        let question = Question { object: &object, want, known: None, at };
        match check(StatusCode::from_u16(status).unwrap(), &headers, &question) {
            Ok(Said::Found(head)) => Ok(head.span),
            Ok(Said::NotModified(_)) => Err("304".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_304_about_the_object_of_the_condition_brings_new_terms_and_keeps_the_rest() {
        let object = ObjName::new(PATH);
        let mut known = ObjMeta::new(10, Some(TAG.to_owned()));
        known.tags = vec!["a".to_owned()];
        known.cache_control = Some("max-age=5".to_owned());
        known.content_type = Some("audio/mp4".to_owned());
        let ask = |fields: &[(&'static str, &str)]| {
            let headers = fields
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
                .collect::<HeaderMap>();
            let question =
                Question { object: &object, want: Want::Head, known: Some(&known), at: UnixTime(100) };
            match check(StatusCode::NOT_MODIFIED, &headers, &question) {
                Ok(Said::NotModified(meta)) => Some(meta),
                _ => None,
            }
        };
        let plain = ask(&[]).unwrap();
        assert_eq!((plain.ver, plain.fresh_until, &plain.tags), (known.ver, UnixTime(105), &known.tags));
        assert_eq!(plain.content_type, known.content_type);
        let new = ask(&[("etag", TAG), ("cache-control", "max-age=7"), ("cache-tag", "b, c")]).unwrap();
        assert_eq!((new.ver, new.fresh_until, new.tags.len()), (known.ver, UnixTime(107), 2));
        assert!(ask(&[("etag", "\"x\"")]).is_none());
    }

    #[test]
    fn an_answer_that_fits_is_believed() {
        let tag = ("etag", TAG);
        let len = |text| ("content-length", text);
        let range = |text| ("content-range", text);
        for (status, fields, want, span) in [
            (206, vec![tag, len("5"), range("bytes 5-9/100")], between(5, 9), Span::new(5, 10)),
            (206, vec![tag, range("bytes 5-9/10")], between(5, 99), Span::new(5, 10)),
            (
                206,
                vec![tag, range("bytes 5-9/10")],
                Want::Range(RangeSpec::Last { count: 5 }),
                Span::new(5, 10),
            ),
            (200, vec![tag, len("10")], Want::Whole, Span::new(0, 10)),
            (200, vec![tag, len("10")], Want::Head, None),
            (200, vec![tag, len("0")], Want::Whole, None),
            (200, vec![tag, len("10")], between(0, 9), Span::new(0, 10)),
            (200, vec![tag, len("10")], between(0, 99), Span::new(0, 10)),
            (200, vec![tag, len("10")], between(0, 8), Span::new(0, 10)),
            (200, vec![tag, len("10")], between(5, 9), Span::new(0, 10)),
            (416, vec![range("bytes */10")], between(10, 20), None),
        ] {
            assert_eq!(ask(status, &fields, want), Ok(span), "{status} {fields:?} {want:?}");
        }
    }

    #[test]
    fn an_answer_that_does_not_fit_is_refused() {
        let tag = ("etag", TAG);
        let len = |text| ("content-length", text);
        let range = |text| ("content-range", text);
        for (status, fields, want) in [
            (206, vec![tag, range("bytes 4-9/100")], between(5, 9)),
            (206, vec![tag, range("bytes 5-8/100")], between(5, 9)),
            (206, vec![tag, range("bytes 5-10/100")], between(5, 9)),
            (206, vec![tag, range("bytes 5-9/9")], between(5, 9)),
            (206, vec![tag, range("bytes 5-9/*")], between(5, 9)),
            (206, vec![tag, range("bytes +5-9/10")], between(5, 9)),
            (206, vec![tag, len("4"), range("bytes 5-9/10")], between(5, 9)),
            (206, vec![tag, len("5")], between(5, 9)),
            (206, vec![tag, range("bytes 5-9/10"), range("bytes 5-9/11")], between(5, 9)),
            (206, vec![tag, range("bytes 0-9/10")], Want::Whole),
            (206, vec![("etag", "\"x\""), range("bytes 5-9/10")], between(5, 9)),
            (206, vec![range("bytes 5-9/10")], between(5, 9)),
            (200, vec![tag], Want::Whole),
            (200, vec![tag, len("-1")], Want::Whole),
            (200, vec![("etag", "W/\"4f1c0d2e9b7a-256-c692\""), len("10")], Want::Whole),
            (200, vec![tag, len("10"), ("content-encoding", "gzip")], Want::Whole),
            (200, vec![tag, len("10"), ("content-digest", "sha-256=:AAAA:")], Want::Whole),
            (416, vec![], between(10, 20)),
            (416, vec![range("bytes */30")], between(10, 20)),
            (302, vec![], Want::Whole),
            (204, vec![tag], Want::Whole),
            (304, vec![tag], Want::Whole),
        ] {
            assert!(ask(status, &fields, want).is_err(), "{status} {fields:?} {want:?}");
        }
    }

    #[test]
    fn the_sha_256_is_found_among_other_digests() {
        let headers = |text: &str| HeaderMap::from_iter([(CONTENT_DIGEST, text.parse().unwrap())]);
        let empty = "sha-512=:AAAA:, sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
        assert_eq!(digest(&headers(empty)).unwrap().unwrap()[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert_eq!(digest(&headers("md5=:AAAA:")).unwrap(), None);
        assert!(digest(&headers("sha-256=47DEQpj8")).is_err());
    }
}
