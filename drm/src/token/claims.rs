//! What a token's payload says: fields found, checked and kept as slices of one text.
//!
//! Promises
//! - Every value has the form its field demands; nothing is checked again when it is held against a request.
//!
//! Does not know: keys. Whoever reads a claim has verified the signature first; [`super::Token`] sees to it.

use super::bounds::{self, Cidr, Watermark};
use super::url_keys::is_key_name;
use super::{SKEW_SECS, TOKEN_LEN_MAX, TokenError, TokenRequest};
use antiphon_core::UnixTime;
use data_encoding::BASE64URL_NOPAD;
use std::ops::Range;

/// The fields of a payload in the only order they may come in.
pub(super) const FIELDS: &[u8; 11] = b"xnpusdqgiwm";

/// Longest value of a field, in bytes.
pub(super) const VALUE_LEN_MAX: usize = 200;

/// Most digits of a moment: seconds until the year 5138.
pub(super) const TIME_DIGITS_MAX: usize = 11;

/// Most digits of a bit rate.
const KBPS_DIGITS_MAX: usize = 6;

/// A parsed payload together with the signed text it came from.
pub(super) struct Claims {
    /// `1.<kid>.<payload>` as it was signed, followed by the payload decoded.
    text: Box<str>,
    /// Where the decoded payload begins in `text`.
    head_len: usize,
    /// Where the key's name is in `text`.
    kid: Range<usize>,
    /// Where the text of each field of [`FIELDS`] is in `text`; an absent field has no range, for a value
    /// is never empty.
    values: [Option<(u16, u16)>; FIELDS.len()],
    expires: UnixTime,
    not_before: Option<UnixTime>,
    max_kbps: Option<u32>,
    address: Option<Cidr>,
    watermark: Option<Watermark>,
}

impl Claims {
    /// Reads the second and third part of a token.
    pub(super) fn parse(kid: &str, payload: &str) -> Result<Self, TokenError> {
        if !is_key_name(kid) {
            return Err(malformed("the key's name is not 1 to 16 of a-z 0-9 -"));
        }
        let mut buffer = [0; TOKEN_LEN_MAX];
        let decoded = decode(payload, &mut buffer)?;
        let (head, kid_from) = (2 + kid.len() + 1 + payload.len(), 2);
        let mut text = String::with_capacity(head + decoded.len());
        for part in ["1.", kid, ".", payload, decoded] {
            text.push_str(part);
        }
        let values = find_values(decoded, head)?;
        let value = |field| slice(&text, &values, field);
        if value(b'p').is_some_and(|scope| !bounds::is_scope(scope)) {
            return Err(malformed("p is no path scope"));
        }
        if value(b'g').is_some_and(|list| !bounds::is_country_list(list)) {
            return Err(malformed("g is no list of countries"));
        }
        if value(b'm').is_some_and(|list| !bounds::is_method_list(list)) {
            return Err(malformed("m is no list of methods"));
        }
        let expires = value(b'x').ok_or(malformed("no expiry"))?;
        let expires = time(expires).ok_or(malformed("x is no moment"))?;
        let not_before = optional(value(b'n'), time, "n is no moment")?;
        let max_kbps = optional(value(b'q'), kbps, "q is no bit rate")?;
        let address = optional(value(b'i'), |text| text.parse().ok(), "i is no network")?;
        let watermark = optional(value(b'w'), |text| text.parse().ok(), "w is not 32 hexadecimal digits")?;
        Ok(Self {
            head_len: head,
            kid: kid_from..kid_from + kid.len(),
            values,
            expires,
            not_before,
            max_kbps,
            address,
            watermark,
            text: text.into_boxed_str(),
        })
    }

    /// Holds the claims against a request, in the order of MEDIA.md §6.1.
    pub(super) fn allow(&self, request: &TokenRequest<'_>, now: UnixTime) -> Result<(), TokenError> {
        if now > self.expires.plus(SKEW_SECS) {
            return Err(TokenError::Expired { at: self.expires, now });
        }
        if let Some(from) = self.not_before.filter(|from| now.plus(SKEW_SECS) < *from) {
            return Err(TokenError::NotYet { from, now });
        }
        if self.path_scope().is_some_and(|scope| !bounds::covers(scope, request.path)) {
            return Err(TokenError::Path);
        }
        if let Some(max_kbps) = self.max_kbps.filter(|max| request.kbps.is_some_and(|kbps| kbps > *max)) {
            return Err(TokenError::Rendition { max_kbps });
        }
        if self.value(b'g').is_some_and(|list| !bounds::admits_country(list, request.country)) {
            return Err(TokenError::Geo);
        }
        if self.address.is_some_and(|network| !request.address.is_some_and(|address| network.holds(address)))
        {
            return Err(TokenError::Ip);
        }
        if self.value(b'm').is_some_and(|list| !bounds::admits_method(list, request.method)) {
            return Err(TokenError::Method);
        }
        Ok(())
    }

    /// `1.<kid>.<payload>`: the part of the token that is always signed.
    pub(super) fn head(&self) -> &str {
        &self.text[..self.head_len]
    }

    /// The path is signed too, unless the payload carries a scope instead.
    pub(super) fn path_under_mac<'a>(&self, path: &'a str) -> &'a str {
        if self.path_scope().is_some() { "" } else { path }
    }

    pub(super) fn key_name(&self) -> &str {
        &self.text[self.kid.clone()]
    }

    pub(super) fn expires(&self) -> UnixTime {
        self.expires
    }

    pub(super) fn listener(&self) -> Option<&str> {
        self.value(b'u')
    }

    pub(super) fn session(&self) -> Option<&str> {
        self.value(b's')
    }

    pub(super) fn device(&self) -> Option<&str> {
        self.value(b'd')
    }

    pub(super) fn path_scope(&self) -> Option<&str> {
        self.value(b'p')
    }

    pub(super) fn max_kbps(&self) -> Option<u32> {
        self.max_kbps
    }

    pub(super) fn watermark(&self) -> Option<Watermark> {
        self.watermark
    }

    fn value(&self, field: u8) -> Option<&str> {
        slice(&self.text, &self.values, field)
    }
}

/// A value's alphabet: nothing in it has a meaning in a URL, a log line or a payload.
pub(super) fn is_value(text: &str) -> bool {
    let clean =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'/' | b'*' | b',' | b'-');
    (1..=VALUE_LEN_MAX).contains(&text.len()) && text.bytes().all(clean)
}

/// Canonical, unpadded base64url of UTF-8; what is not ASCII is refused with the values' alphabet.
fn decode<'b>(payload: &str, buffer: &'b mut [u8; TOKEN_LEN_MAX]) -> Result<&'b str, TokenError> {
    let wrong = malformed("the payload is no canonical base64url");
    let len = BASE64URL_NOPAD.decode_len(payload.len()).map_err(|_| wrong)?;
    let buffer = buffer.get_mut(..len).ok_or(wrong)?;
    let len = BASE64URL_NOPAD.decode_mut(payload.as_bytes(), buffer).map_err(|_| wrong)?;
    std::str::from_utf8(&buffer[..len]).map_err(|_| malformed("the payload is no text"))
}

/// Finds the fields of `decoded`, which begins at `offset` of the text that ranges are given in.
fn find_values(decoded: &str, offset: usize) -> Result<[Option<(u16, u16)>; FIELDS.len()], TokenError> {
    let mut values = [None; FIELDS.len()];
    let (mut next_field, mut at) = (0, offset);
    for part in decoded.split('~') {
        let [name, b'=', ..] = part.as_bytes() else {
            return Err(malformed("a field is not one letter, = and a value"));
        };
        let index = FIELDS.iter().position(|field| field == name).ok_or(malformed("an unknown field"))?;
        if index < next_field {
            return Err(malformed("a field comes twice or out of order"));
        }
        if !is_value(&part[2..]) {
            return Err(malformed("a value has a character or length that no value has"));
        }
        // Head and payload together are below 2 * TOKEN_LEN_MAX, so both ends fit.
        values[index] = Some(((at + 2) as u16, (at + part.len()) as u16));
        (next_field, at) = (index + 1, at + part.len() + 1);
    }
    Ok(values)
}

const _: () = assert!(2 * TOKEN_LEN_MAX <= u16::MAX as usize, "offsets of values fit two bytes");

fn slice<'a>(text: &'a str, values: &[Option<(u16, u16)>; FIELDS.len()], field: u8) -> Option<&'a str> {
    let index = FIELDS.iter().position(|known| *known == field)?;
    values[index].map(|(from, to)| &text[usize::from(from)..usize::from(to)])
}

fn optional<T>(
    value: Option<&str>,
    read: impl Fn(&str) -> Option<T>,
    what: &'static str,
) -> Result<Option<T>, TokenError> {
    value.map(|text| read(text).ok_or(malformed(what))).transpose()
}

fn time(text: &str) -> Option<UnixTime> {
    digits(text, TIME_DIGITS_MAX)?.parse().ok().map(UnixTime)
}

fn kbps(text: &str) -> Option<u32> {
    digits(text, KBPS_DIGITS_MAX)?.parse().ok()
}

fn digits(text: &str, len_max: usize) -> Option<&str> {
    ((1..=len_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

const fn malformed(what: &'static str) -> TokenError {
    TokenError::Malformed { what }
}
