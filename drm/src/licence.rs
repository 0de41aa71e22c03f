//! ClearKey licences for the web: what a browser asks and what it is told (W3C EME §9.1.4).
//!
//! Promises
//! - A request is bounded before it is parsed, and so are its key ids; fields nobody here knows are ignored.
//! - Only temporary licences: what asks for more is refused by name.
//!
//! Does not know: who may have which key. The control plane decides that between request and answer.

use crate::json::json_fault;
use crate::keys::{ContentKey, KeyId};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Which keys a player asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearKeyRequest {
    /// Invariant: 1 to [`KIDS_MAX`], no id twice, in the order asked; upheld by `parse`.
    kids: Vec<KeyId>,
}

/// The keys a player is given.
#[derive(Debug)]
pub struct ClearKeyAnswer {
    keys: Vec<(KeyId, ContentKey)>,
}

/// Why a licence request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LicenceError {
    /// More bytes than a request has.
    #[error("the licence request has {len} bytes, {REQUEST_LEN_MAX} are the limit")]
    TooLong {
        /// How many it has.
        len: usize,
    },
    /// Not the JSON of a request.
    #[error("the licence request is not {{\"kids\":[..],\"type\":\"temporary\"}}: {0}")]
    Json(String),
    /// It asks for nothing.
    #[error("the licence request names no key id")]
    NoKids,
    /// It asks for too much.
    #[error("the licence request names {count} key ids, {KIDS_MAX} are the limit")]
    TooManyKids {
        /// How many.
        count: usize,
    },
    /// One of its key ids is none.
    #[error("key id {index} of the licence request is not 16 bytes in unpadded base64url")]
    BadKid {
        /// Its place, from 0.
        index: usize,
    },
    /// It asks for a licence to keep.
    #[error("a ClearKey licence of type \"persistent-license\" is not given: ask for \"temporary\"")]
    Persistent,
    /// It asks for a kind of licence that EME does not know.
    #[error("the licence request asks for an unknown type: \"temporary\" is given")]
    UnknownType,
}

/// Longest licence request, in bytes.
pub const REQUEST_LEN_MAX: usize = 8 * 1024;

/// Most key ids of a request.
pub const KIDS_MAX: usize = 64;

#[derive(Deserialize)]
struct RequestText<'a> {
    #[serde(borrow)]
    kids: Vec<std::borrow::Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Option<std::borrow::Cow<'a, str>>,
}

impl ClearKeyRequest {
    /// Reads the body of a licence request, whatever its content type says.
    pub fn parse(body: &[u8]) -> Result<Self, LicenceError> {
        if body.len() > REQUEST_LEN_MAX {
            return Err(LicenceError::TooLong { len: body.len() });
        }
        let request: RequestText<'_> =
            serde_json::from_slice(body).map_err(|error| LicenceError::Json(json_fault(&error)))?;
        match request.kind.as_deref() {
            None | Some("temporary") => {}
            Some("persistent-license") => return Err(LicenceError::Persistent),
            Some(_) => return Err(LicenceError::UnknownType),
        }
        match request.kids.len() {
            0 => return Err(LicenceError::NoKids),
            count if count > KIDS_MAX => return Err(LicenceError::TooManyKids { count }),
            _ => {}
        }
        let mut kids = Vec::with_capacity(request.kids.len());
        for (index, text) in request.kids.iter().enumerate() {
            let kid = key_id(text).ok_or(LicenceError::BadKid { index })?;
            if !kids.contains(&kid) {
                kids.push(kid);
            }
        }
        Ok(Self { kids })
    }

    /// The key ids asked for, none twice, at least one.
    pub fn kids(&self) -> &[KeyId] {
        &self.kids
    }
}

impl ClearKeyAnswer {
    /// An answer that gives these keys.
    pub fn new(keys: impl IntoIterator<Item = (KeyId, ContentKey)>) -> Self {
        Self { keys: keys.into_iter().collect() }
    }

    /// The JSON Web Key set that a browser expects.
    pub fn to_json(&self) -> Zeroizing<String> {
        // Room for everything at once: growing would leave copies of keys behind.
        let mut text = Zeroizing::new(String::with_capacity(40 + self.keys.len() * 96));
        text.push_str("{\"keys\":[");
        for (index, (id, key)) in self.keys.iter().enumerate() {
            text.push_str(if index > 0 { "," } else { "" });
            text.push_str("{\"kty\":\"oct\",\"kid\":\"");
            BASE64URL_NOPAD.encode_append(id.as_bytes(), &mut text);
            text.push_str("\",\"k\":\"");
            BASE64URL_NOPAD.encode_append(key.expose(), &mut text);
            text.push_str("\"}");
        }
        text.push_str("],\"type\":\"temporary\"}");
        text
    }
}

fn key_id(text: &str) -> Option<KeyId> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok().map(KeyId::from_bytes)
}
