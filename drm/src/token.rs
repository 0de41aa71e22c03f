//! Stream tokens: the `st` parameter that lets one listener fetch one path for one hour (MEDIA.md §6.1).
//!
//! `1.<kid>.<payload>.<mac>`: the payload is unpadded base64url of `c=value` fields joined by `~`, the MAC is
//! HMAC-SHA256 over the head and, unless the payload carries its own path scope, the path.
//!
//! Promises
//! - Claims stay unreadable until [`Token::verify`] has found the signature right and every bound kept.
//! - MACs are compared in constant time, and before any claim is looked at.
//! - A token has one spelling: no padding, no slack bits, fields in one order, each at most once.
//! - Parsing and verifying make one allocation, of at most [`TOKEN_LEN_MAX`] times two bytes.
//!
//! Does not know: HTTP, where a country or an address comes from, revocations.

mod bounds;
mod claims;
mod grant;
mod url_keys;

pub use bounds::{BoundError, Cidr, Countries, Methods, Watermark};
pub use grant::{Grant, SignError};
pub use url_keys::{KEY_LIFE_AFTER_ROTATION_SECS, URL_KEYS_MAX, UrlKeys, UrlKeysError};

use antiphon_core::UnixTime;
use antiphon_core::path::check_grammar;
use claims::Claims;
use std::net::IpAddr;
use url_keys::MAC_TEXT_LEN;

/// A stream token. What it claims stays unreadable until it has been verified.
pub struct Token<State> {
    claims: Claims,
    state: State,
}

/// Well-formed, nothing more.
pub struct Unverified {
    /// The last part of the token; `None` if it has a length that no MAC has.
    mac: Option<[u8; MAC_TEXT_LEN]>,
}

/// The signature holds and every bound is kept. Private field: only [`Token::verify`] makes one.
pub struct Verified(());

/// What a token is held against: the request as the edge sees it.
#[derive(Clone, Copy, Debug)]
pub struct TokenRequest<'a> {
    /// The path asked for, without the query.
    pub path: &'a str,
    /// Bit rate of the rendition asked for; `None` when the path names none.
    pub kbps: Option<u32>,
    /// Two-letter country of the client; `None` when unknown, which fails every country bound.
    pub country: Option<&'a str>,
    /// Address of the client.
    pub address: Option<IpAddr>,
    /// Method of the request.
    pub method: &'a str,
}

/// Why a token does not open this path. Clients learn [`TokenError::reason`] and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The path is outside the grammar of paths.
    #[error("the path has a character or segment that no path here has")]
    BadPath,
    /// The text is no token.
    #[error("the token is malformed: {what}")]
    Malformed {
        /// Which rule it breaks.
        what: &'static str,
    },
    /// No key of that name verifies at this hour.
    #[error("no key of the token's name verifies at this hour")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the token's signature does not fit")]
    BadMac,
    /// The token has run out.
    #[error("the token ran out at {at}, it is {now}")]
    Expired {
        /// When it ran out.
        at: UnixTime,
        /// The present moment.
        now: UnixTime,
    },
    /// The token is not valid yet.
    #[error("the token is valid from {from}, it is {now}")]
    NotYet {
        /// When it begins.
        from: UnixTime,
        /// The present moment.
        now: UnixTime,
    },
    /// The path is outside the token's scope.
    #[error("the path is outside the token's scope")]
    Path,
    /// The rendition is above the token's bit rate.
    #[error("the rendition is above the token's {max_kbps} kbit/s")]
    Rendition {
        /// The most the token grants.
        max_kbps: u32,
    },
    /// The client's country is excluded or unknown.
    #[error("the client's country is excluded or unknown")]
    Geo,
    /// The client's address is outside the token's network.
    #[error("the client's address is outside the token's network")]
    Ip,
    /// The method is not one of the token's.
    #[error("the method is not one of the token's")]
    Method,
}

/// Longest token that is looked at, in bytes.
pub const TOKEN_LEN_MAX: usize = 1024;

/// How far clocks may differ: a token lives this long past its expiry and before its beginning.
pub const SKEW_SECS: u64 = 30;

impl Token<Unverified> {
    /// Reads a token's text. Nothing is known yet about who wrote it.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_LEN_MAX {
            return Err(TokenError::Malformed { what: "longer than 1024 bytes" });
        }
        let mut parts = text.split('.');
        let (Some("1"), Some(kid), Some(payload), Some(mac), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed { what: "not four parts of version 1" });
        };
        let claims = Claims::parse(kid, payload)?;
        Ok(Self { claims, state: Unverified { mac: mac.as_bytes().try_into().ok() } })
    }

    /// Consumes the doubtful token, so that no copy of the doubt survives. The order of checks is that of
    /// MEDIA.md §6.1: path grammar, key, MAC, time, scope, rendition, country, address, method.
    pub fn verify(
        self,
        keys: &UrlKeys,
        request: &TokenRequest<'_>,
        now: UnixTime,
    ) -> Result<Token<Verified>, TokenError> {
        let Self { claims, state } = self;
        check_grammar(request.path).map_err(|_| TokenError::BadPath)?;
        let key = keys.verifying(claims.key_name(), now).ok_or(TokenError::UnknownKey)?;
        let mac = state.mac.ok_or(TokenError::BadMac)?;
        if !key.signed(claims.head(), claims.path_under_mac(request.path), &mac) {
            return Err(TokenError::BadMac);
        }
        claims.allow(request, now)?;
        Ok(Token { claims, state: Verified(()) })
    }

    /// Parses and verifies `text` in the order of MEDIA.md §6.1: a bad path is told before a bad token.
    pub fn check(
        text: &str,
        keys: &UrlKeys,
        request: &TokenRequest<'_>,
        now: UnixTime,
    ) -> Result<Token<Verified>, TokenError> {
        check_grammar(request.path).map_err(|_| TokenError::BadPath)?;
        Self::parse(text)?.verify(keys, request, now)
    }
}

impl Token<Verified> {
    /// When the token runs out, [`SKEW_SECS`] not counted.
    pub fn expires(&self) -> UnixTime {
        let Verified(()) = self.state;
        self.claims.expires()
    }

    /// The listener's pseudonym.
    pub fn listener(&self) -> Option<&str> {
        self.claims.listener()
    }

    /// The play this token belongs to.
    pub fn session(&self) -> Option<&str> {
        self.claims.session()
    }

    /// The device this token was made for.
    pub fn device(&self) -> Option<&str> {
        self.claims.device()
    }

    /// The most kbit/s this token opens; `None` is no bound.
    pub fn max_kbps(&self) -> Option<u32> {
        self.claims.max_kbps()
    }

    /// Who is to be found in the sound, if this play is marked.
    pub fn watermark(&self) -> Option<Watermark> {
        self.claims.watermark()
    }

    /// The paths this token opens: one path, or a prefix ending in `/*`; `None` is the path it was made for.
    pub fn path_scope(&self) -> Option<&str> {
        self.claims.path_scope()
    }

    /// Name of the key that signed it.
    pub fn key_name(&self) -> &str {
        self.claims.key_name()
    }
}

impl TokenError {
    /// The word a client hears in `Edge-Token-Error`, and the label refusals are counted by.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadPath => "bad_path",
            Self::Malformed { .. } => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::BadMac => "bad_mac",
            Self::Expired { .. } => "expired",
            Self::NotYet { .. } => "not_yet",
            Self::Path => "path",
            Self::Rendition { .. } => "rendition",
            Self::Geo => "geo",
            Self::Ip => "ip",
            Self::Method => "method",
        }
    }

    /// Every word [`TokenError::reason`] can say, for tables of counters.
    pub const REASONS: [&'static str; 11] = [
        "bad_path",
        "malformed",
        "unknown_key",
        "bad_mac",
        "expired",
        "not_yet",
        "path",
        "rendition",
        "geo",
        "ip",
        "method",
    ];
}

/// Claims of an unverified token are nobody's business, those of a verified one name a listener: neither prints.
impl<State> std::fmt::Debug for Token<State> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(kid {}, hidden)", self.claims.key_name())
    }
}
