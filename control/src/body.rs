//! Request bodies: bounded in length and time, then JSON or a form of exactly the fields we know.
//!
//! Promises
//! - Nothing is parsed before it is complete, and nothing longer than the limit is ever held.
//! - What is said about a bad body is short and printable, whatever was in it.
//!
//! Does not know: what the fields mean.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How much a request may send, and how slowly.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes.
    pub bytes: usize,
    /// Until the last byte is there.
    pub time: Duration,
}

/// Why a body is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More bytes than the limit.
    #[error("the request body is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// It came too slowly.
    #[error("the request body did not arrive within {} ms", limit.as_millis())]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// The client stopped in the middle.
    #[error("the request body ended early")]
    CutShort,
    /// Another format than the one that is read here.
    #[error("send the request body as {wanted}")]
    MediaType {
        /// The format that is.
        wanted: &'static str,
    },
    /// Not the JSON that is asked for.
    #[error("the request body is not what this endpoint takes: {what}")]
    Json {
        /// Where and what, without control characters, at most [`WHAT_CHARS_MAX`].
        what: String,
    },
    /// Not a form.
    #[error("the request body is not a well-formed form")]
    Form,
}

/// Longest text about a bad body, in characters: it may quote a field's name.
pub const WHAT_CHARS_MAX: usize = 200;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Collects a body.
pub async fn read(body: Body, limits: BodyLimits) -> Result<Bytes, BodyError> {
    let collect = Limited::new(body, limits.bytes).collect();
    match tokio::time::timeout(limits.time, collect).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLong { limit: limits.bytes }),
        Ok(Err(_)) => Err(BodyError::CutShort),
        Err(_) => Err(BodyError::TooSlow { limit: limits.time }),
    }
}

/// Collects a JSON body and reads it.
pub async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> Result<T, BodyError> {
    media_type(headers, JSON)?;
    let bytes = read(body, limits).await?;
    serde_json::from_slice(&bytes).map_err(|error| BodyError::Json { what: printable(&error.to_string()) })
}

/// Collects a form and reads its fields, in order, repeats included.
pub async fn form(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> Result<Vec<(String, String)>, BodyError> {
    media_type(headers, FORM)?;
    let bytes = read(body, limits).await?;
    fields(&bytes).ok_or(BodyError::Form)
}

/// The fields of `application/x-www-form-urlencoded` text, which query strings are too; `None` if it is not
/// UTF-8 or a percent sign stands alone.
pub fn fields(text: &[u8]) -> Option<Vec<(String, String)>> {
    text.split(|byte| *byte == b'&')
        .filter(|field| !field.is_empty())
        .map(|field| {
            let at = field.iter().position(|byte| *byte == b'=').unwrap_or(field.len());
            Some((decoded(&field[..at])?, decoded(field.get(at + 1..).unwrap_or(b""))?))
        })
        .collect()
}

fn decoded(text: &[u8]) -> Option<String> {
    let hex = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => rest.next().and_then(hex)? << 4 | rest.next().and_then(hex)?,
            plain => *plain,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Refuses another format than `wanted`; parameters such as `charset` do not matter.
fn media_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), BodyError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim();
    match essence.eq_ignore_ascii_case(wanted) {
        true => Ok(()),
        false => Err(BodyError::MediaType { wanted }),
    }
}

/// `text` as it may stand in an answer and in a log.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(WHAT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: BodyLimits = BodyLimits { bytes: 8, time: Duration::from_secs(5) };

    #[tokio::test]
    async fn a_body_may_have_the_limit_and_not_a_byte_more() {
        assert_eq!(read(Body::from("12345678"), LIMITS).await, Ok(Bytes::from("12345678")));
        assert_eq!(read(Body::from("123456789"), LIMITS).await, Err(BodyError::TooLong { limit: 8 }));
    }

    #[tokio::test]
    async fn a_body_that_never_comes_is_given_up() {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let limits = BodyLimits { time: Duration::from_millis(5), ..LIMITS };
        assert_eq!(read(body, limits).await, Err(BodyError::TooSlow { limit: limits.time }));
    }

    #[test]
    fn fields_are_decoded_once() {
        let pairs = |text: &str| fields(text.as_bytes()).unwrap();
        assert_eq!(
            pairs("a=b+c&d=%41%2541&e&&=f"),
            [("a", "b c"), ("d", "A%41"), ("e", ""), ("", "f")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        for odd in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert_eq!(fields(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn parameters_of_the_media_type_do_not_matter() {
        let headers =
            |value: &'static str| HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]);
        for good in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(media_type(&headers(good), JSON), Ok(()));
        }
        for bad in ["", "text/plain", "application/jsonp", "text/json"] {
            assert!(media_type(&headers(bad), JSON).is_err(), "{bad}");
        }
        assert!(media_type(&HeaderMap::new(), JSON).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&text);
        }

        #[test]
        fn what_is_said_is_short_and_printable(text in "\\PC{0,50}[\\x00-\\x1f]{0,9}.{0,400}") {
            let said = printable(&text);
            prop_assert!(said.chars().count() <= WHAT_CHARS_MAX && !said.chars().any(char::is_control));
        }
    }
}
