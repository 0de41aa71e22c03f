//! From a request to what it may have: every rule about hosts, targets, methods and tokens.
//!
//! Promises
//! - No I/O and no waiting: a refusal costs a few microseconds and touches nothing shared.
//! - Order: sizes, host, path grammar, method, object path, token. The first fault is the one reported.
//! - `st` is percent-decoded exactly once; a second `st`, however it is spelt, is a malformed token.
//! - A [`Play`] is a proof: it holds a verified token and the canonical name of one object.
//!
//! Does not know: what the cache holds, whether the object exists.

use crate::conditions::Conditions;
use crate::request::Req;
use crate::verdict::Refusal;
use antiphon_cache::ObjName;
use antiphon_core::path::{ObjectPath, check_grammar};
use antiphon_core::range::RangeHeader;
use antiphon_core::{RangeSpec, UnixTime};
use antiphon_drm::token::{Token, TokenRequest, UrlKeys, Verified};
use http::header::{HOST, RANGE};
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::net::Ipv6Addr;

/// Sizes past which a request is refused unread.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Longest target (path and query), bytes.
    pub target_bytes_max: usize,
    /// Longest value of one header field, bytes.
    pub field_bytes_max: usize,
}

/// What a request may have.
#[expect(clippy::large_enum_variant, reason = "a box would cost every played request an allocation")]
pub enum Decision<'a> {
    /// Bytes of an object.
    Play(Play<'a>),
    /// The answer to a browser's question about cross-origin rules.
    Preflight,
}

/// An object, granted to the holder of a token.
pub struct Play<'a> {
    /// The object's canonical path: the cache key.
    pub name: ObjName,
    /// By whose leave.
    pub token: Token<Verified>,
    /// How it is wanted.
    pub wish: Wish<'a>,
}

/// How an object is wanted.
pub struct Wish<'a> {
    /// The object.
    pub path: ObjectPath,
    /// With or without its bytes.
    pub asked: Asked,
    /// Which of its bytes; `None` is all of them.
    pub range: Option<RangeSpec>,
    /// What must hold first (RFC 9110 §13); `None` is the usual case.
    pub conditions: Option<Conditions<'a>>,
}

/// With or without bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// GET.
    Bytes,
    /// HEAD.
    Head,
}

/// Longest `Host` or `:authority`, bytes: a DNS name of 253, a colon, a port.
pub const HOST_BYTES_MAX: usize = 260;

/// Decides about a request.
pub fn decide<'a>(
    request: &Req<'a>,
    rules: &Rules,
    keys: &UrlKeys,
    now: UnixTime,
) -> Result<Decision<'a>, Refusal> {
    check_sizes(request, rules)?;
    check_host(request)?;
    let (path, query) = split_target(request.target);
    check_grammar(path).map_err(|_| Refusal::PathGrammar)?;
    let asked = match *request.method {
        Method::GET => Asked::Bytes,
        Method::HEAD => Asked::Head,
        Method::OPTIONS => return Ok(Decision::Preflight),
        _ => return Err(Refusal::Method),
    };
    let object: ObjectPath = path.parse().map_err(|_| Refusal::NoSuchPath)?;
    let token = verify(request, path, query, object, keys, now)?;
    let wish = Wish {
        path: object,
        asked,
        range: wanted_range(asked, request.headers),
        conditions: Conditions::of(request.headers),
    };
    Ok(Decision::Play(Play { name: ObjName::new(path), token, wish }))
}

fn check_sizes(request: &Req<'_>, rules: &Rules) -> Result<(), Refusal> {
    if request.target.len() > rules.target_bytes_max {
        return Err(Refusal::TargetTooLong);
    }
    let fits = request.headers.values().all(|value| value.len() <= rules.field_bytes_max);
    fits.then_some(()).ok_or(Refusal::FieldTooLarge)
}

/// Exactly one host, in plain letters, the same wherever it is named (RFC 9112 §3.2, RFC 9113 §8.3.1).
fn check_host(request: &Req<'_>) -> Result<(), Refusal> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let field = hosts.next().map(|value| value.to_str().map_err(|_| Refusal::Host)).transpose()?;
    if hosts.next().is_some() {
        return Err(Refusal::Host);
    }
    let host = match (field, request.authority) {
        (Some(field), Some(authority)) if !field.eq_ignore_ascii_case(authority) => {
            return Err(Refusal::Host);
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(Refusal::Host),
    };
    is_host(host).then_some(()).ok_or(Refusal::Host)
}

/// A name, an IPv4 address or a bracketed IPv6 address, with an optional port.
fn is_host(host: &str) -> bool {
    if host.len() > HOST_BYTES_MAX {
        return false;
    }
    let (named, rest) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address.parse::<Ipv6Addr>().is_ok(), rest),
        None => {
            let (name, rest) = host.split_at(host.find(':').unwrap_or(host.len()));
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            (!name.is_empty() && name.bytes().all(plain), rest)
        }
    };
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    named && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

/// Path and query of a target in origin form or absolute form (RFC 9112 §3.2.2).
fn split_target(target: &str) -> (&str, &str) {
    let local = ["https://", "http://"]
        .iter()
        .find_map(|scheme| target.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)))
        .map_or(target, |scheme| {
            let rest = &target[scheme.len()..];
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        });
    local.split_once('?').unwrap_or((local, ""))
}

/// The token, held against this very request.
fn verify(
    request: &Req<'_>,
    path: &str,
    query: &str,
    object: ObjectPath,
    keys: &UrlKeys,
    now: UnixTime,
) -> Result<Token<Verified>, Refusal> {
    let text = token_of(query).ok_or(Refusal::TokenQuery)?;
    let question = TokenRequest {
        path,
        kbps: Some(object.rendition.kbps()),
        country: None,
        address: Some(request.peer.to_canonical()),
        method: request.method.as_str(),
    };
    Token::check(&text, keys, &question, now).map_err(Refusal::Token)
}

/// The one value of `st`, percent-decoded once. `None` if there is none, more than one, or it decodes to
/// something that is no text.
fn token_of(query: &str) -> Option<Cow<'_, str>> {
    let mut found = None;
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        // An escaped spelling of the name is never *the* token, yet it counts as a second one.
        let plain = name == "st";
        if plain || (name.contains('%') && percent_decode_str(name).eq(*b"st")) {
            if found.is_some() || !plain {
                return None;
            }
            found = Some(value);
        }
    }
    percent_decode_str(found?).decode_utf8().ok()
}

/// The range asked for. HEAD has none (RFC 9110 §14.2), several are answered with the whole object.
fn wanted_range(asked: Asked, headers: &HeaderMap) -> Option<RangeSpec> {
    let mut values = headers.get_all(RANGE).iter();
    let value = values.next().filter(|_| asked == Asked::Bytes)?;
    if values.next().is_some() {
        return None;
    }
    match RangeHeader::parse(value.to_str().ok()?) {
        RangeHeader::One(spec) => Some(spec),
        RangeHeader::Several | RangeHeader::Ignored => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::IF_NONE_MATCH;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    const PATH: &str = "/a/c/692/00000000000000000000000000000001/64.mp4";
    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn keys() -> UrlKeys {
        UrlKeys::generate("k1", [7; 32], NOW).unwrap()
    }

    fn judge(method: &Method, target: &str, headers: &HeaderMap) -> Result<(), &'static str> {
        let request = Req {
            method,
            target,
            authority: Some("localhost"),
            headers,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            proto: crate::request::Proto::H2,
        };
        let rules = Rules { target_bytes_max: 1000, field_bytes_max: 1000 };
        decide(&request, &rules, &keys(), NOW).map(drop).map_err(|refusal| refusal.reason())
    }

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for host in ["a", "edge.example", "a_b-c.d:443", "127.0.0.1:8443", "[::1]", "[2001:db8::1]:65535"] {
            assert!(is_host(host), "{host}");
        }
        for host in [
            "", ":1", "a:", "a:b", "a:65536", "a:+1", "a b", "a/b", "u@a", "[::1", "[x]", "[::1]x", "[::1]:",
            "ä", "a:1:2",
        ] {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn targets_have_a_path_and_a_query_in_either_form() {
        for (target, parts) in [
            ("/a?b=c?d", ("/a", "b=c?d")),
            ("/a", ("/a", "")),
            ("https://h:1/a?b", ("/a", "b")),
            ("HTTP://h", ("/", "")),
            ("http://h?b", ("", "b")),
            ("/http://h/a", ("/http://h/a", "")),
        ] {
            assert_eq!(split_target(target), parts, "{target}");
        }
    }

    #[test]
    fn there_is_one_token_or_none() {
        for (query, token) in [
            ("st=a", Some("a")),
            ("x=1&st=a&y", Some("a")),
            ("st=%61%2E", Some("a.")),
            ("st=%2561", Some("%61")),
            ("st=", Some("")),
            ("st", Some("")),
            ("sta=b", None),
            ("", None),
            ("st=a&st=a", None),
            ("st=a&s%74=a", None),
            ("%73%74=a", None),
            ("st=%ff", None),
        ] {
            assert_eq!(token_of(query).as_deref(), token, "{query}");
        }
    }

    #[test]
    fn the_first_fault_is_the_one_reported() {
        let none = HeaderMap::new();
        let big = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_str(&"x".repeat(1001)).unwrap())]);
        let two = HeaderMap::from_iter([(HOST, HeaderValue::from_static("other"))]);
        let long = "/a".repeat(501);
        for (method, target, headers, reason) in [
            (Method::PUT, long.as_str(), &big, "target_too_long"),
            (Method::PUT, "/a//b", &big, "field_too_large"),
            (Method::PUT, "/a//b", &two, "host"),
            (Method::PUT, "/a//b", &none, "path_grammar"),
            (Method::PUT, "/nothing", &none, "http_method"),
            (Method::GET, "/nothing?st=x", &none, "no_such_path"),
            (Method::GET, PATH, &none, "malformed"),
        ] {
            assert_eq!(judge(&method, target, headers), Err(reason), "{method} {target}");
        }
    }

    proptest! {
        #[test]
        fn no_target_makes_the_decision_panic(target in "(/a/c/692/[0-9a-f]{32}/64.mp4)?\\PC{0,60}") {
            let _ = judge(&Method::GET, &target, &HeaderMap::new());
        }

        #[test]
        fn a_token_is_decoded_exactly_once(token in "[A-Za-z0-9._%-]{0,40}") {
            let escaped: String = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let query = format!("a=b&st={escaped}");
            prop_assert_eq!(token_of(&query), Some(Cow::Owned(token)));
        }
    }
}
