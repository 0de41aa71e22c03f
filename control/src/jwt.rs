//! JSON Web Tokens (RFC 7519) of our own making: one key, one algorithm, one audience per kind of token.
//!
//! Promises
//! - Only HS256 under this kind's key is accepted, whatever the header says; the signature is checked before
//!   any claim is read.
//! - `iss`, `aud`, `sub`, `nbf` and `exp` are required. Time is an argument; clocks may differ by the leeway.
//! - No error and no `Debug` shows a token or a key.
//!
//! Does not know: what the claims mean, where tokens come from.

use antiphon_core::{Secret, UnixTime};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;

/// Makes and reads one kind of token.
pub struct Mint<Claims> {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    kind: Kind,
    leeway_secs: u64,
    claims: PhantomData<fn() -> Claims>,
}

/// What tells one kind of token from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// `iss`.
    pub issuer: &'static str,
    /// `aud`: who may accept it.
    pub audience: &'static str,
    /// `typ` of the header, for whoever looks at a token by hand.
    pub media_type: &'static str,
}

/// A token that was found to be ours and in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<Claims> {
    /// Whom it is about.
    pub subject: String,
    /// When it ends, leeway not counted.
    pub expires: UnixTime,
    /// What it says.
    pub claims: Claims,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// No token of this kind looks so.
    #[error("the token is malformed")]
    Malformed,
    /// Signed by somebody else, or by another method.
    #[error("the token's signature is not ours")]
    Forged,
    /// Ours, but of another kind.
    #[error("the token is meant for something else")]
    Elsewhere,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYet,
}

/// A token could not be made. With our own claims and an HMAC key that means a defect, not bad luck.
#[derive(Debug, thiserror::Error)]
#[error("sign a token for {audience}")]
pub struct SignError {
    audience: &'static str,
    #[source]
    cause: jsonwebtoken::errors::Error,
}

/// Longest token that is looked at, in bytes.
pub const TOKEN_LEN_MAX: usize = 2048;

/// The registered claims of RFC 7519 §4.1 around ours.
#[derive(Serialize, Deserialize)]
struct Envelope<Claims> {
    iss: String,
    aud: String,
    sub: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    #[serde(flatten)]
    claims: Claims,
}

impl<Claims: Serialize + DeserializeOwned> Mint<Claims> {
    /// Tokens of `kind` under `key`.
    pub fn new(kind: Kind, key: &Secret, leeway_secs: u32) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[kind.audience]);
        validation.set_issuer(&[kind.issuer]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "nbf", "exp"]);
        // The library reads the system's clock; ours is an argument, so `verify` compares times itself.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self {
            encoding: EncodingKey::from_secret(key.expose()),
            decoding: DecodingKey::from_secret(key.expose()),
            validation,
            kind,
            leeway_secs: leeway_secs.into(),
            claims: PhantomData,
        }
    }

    /// Signs a token that is valid from `now` until `expires`.
    pub fn sign(
        &self,
        subject: &str,
        claims: Claims,
        now: UnixTime,
        expires: UnixTime,
    ) -> Result<String, SignError> {
        let envelope = Envelope {
            iss: self.kind.issuer.to_owned(),
            aud: self.kind.audience.to_owned(),
            sub: subject.to_owned(),
            iat: now.0,
            nbf: now.0,
            exp: expires.0,
            claims,
        };
        let header = Header { typ: Some(self.kind.media_type.to_owned()), ..Header::new(Algorithm::HS256) };
        encode(&header, &envelope, &self.encoding)
            .map_err(|cause| SignError { audience: self.kind.audience, cause })
    }

    /// Reads a token: signature first, then audience and issuer, then time.
    pub fn verify(&self, token: &str, now: UnixTime) -> Result<Verified<Claims>, JwtError> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(JwtError::Malformed);
        }
        let data = decode::<Envelope<Claims>>(token, &self.decoding, &self.validation)
            .map_err(|error| refusal(error.kind()))?;
        let Envelope { sub, nbf, exp, claims, .. } = data.claims;
        if now.plus(self.leeway_secs).0 < nbf {
            return Err(JwtError::NotYet);
        }
        if exp.saturating_add(self.leeway_secs) <= now.0 {
            return Err(JwtError::Expired);
        }
        Ok(Verified { subject: sub, expires: UnixTime(exp), claims })
    }
}

impl<Claims> fmt::Debug for Mint<Claims> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mint").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The library's kinds of error are open-ended; all that are not about the signature or the audience mean
/// that the text is no token of ours.
fn refusal(kind: &ErrorKind) -> JwtError {
    match kind {
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            JwtError::Forged
        }
        ErrorKind::InvalidAudience | ErrorKind::InvalidIssuer => JwtError::Elsewhere,
        _ => JwtError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64URL_NOPAD;

    const KIND: Kind = Kind { issuer: "antiphon", audience: "tests", media_type: "JWT" };
    const NOW: UnixTime = UnixTime(1_800_000_000);

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Said {
        word: String,
    }

    fn mint(kind: Kind, key: &[u8]) -> Mint<Said> {
        Mint::new(kind, &Secret::from_bytes(key.to_vec()), 30)
    }

    fn ours() -> Mint<Said> {
        mint(KIND, &[7; 32])
    }

    fn token(mint: &Mint<Said>) -> String {
        mint.sign("somebody", Said { word: "hear".into() }, NOW, NOW.plus(60)).unwrap()
    }

    #[test]
    fn a_token_is_read_back_as_it_was_signed() {
        let read = ours().verify(&token(&ours()), NOW).unwrap();
        assert_eq!((read.subject.as_str(), read.claims.word.as_str()), ("somebody", "hear"));
        assert_eq!(read.expires, NOW.plus(60));
    }

    #[test]
    fn time_is_kept_to_the_second_with_the_leeway_on_both_sides() {
        let token = token(&ours());
        assert!(ours().verify(&token, UnixTime(NOW.0 - 30)).is_ok());
        assert_eq!(ours().verify(&token, UnixTime(NOW.0 - 31)), Err(JwtError::NotYet));
        assert!(ours().verify(&token, NOW.plus(60 + 29)).is_ok());
        assert_eq!(ours().verify(&token, NOW.plus(60 + 30)), Err(JwtError::Expired));
    }

    #[test]
    fn another_key_audience_or_issuer_is_refused() {
        assert_eq!(ours().verify(&token(&mint(KIND, &[8; 32])), NOW), Err(JwtError::Forged));
        let audience = Kind { audience: "others", ..KIND };
        assert_eq!(ours().verify(&token(&mint(audience, &[7; 32])), NOW), Err(JwtError::Elsewhere));
        let issuer = Kind { issuer: "others", ..KIND };
        assert_eq!(ours().verify(&token(&mint(issuer, &[7; 32])), NOW), Err(JwtError::Elsewhere));
    }

    #[test]
    fn the_algorithm_is_ours_to_choose() {
        let good = token(&ours());
        let (_, payload) = good.split_once('.').unwrap();
        let (payload, signature) = payload.split_once('.').unwrap();
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":"HS512"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"EdDSA"}"#,
        ] {
            let header = BASE64URL_NOPAD.encode(header.as_bytes());
            for forged in [format!("{header}.{payload}."), format!("{header}.{payload}.{signature}")] {
                assert!(ours().verify(&forged, NOW).is_err(), "{forged}");
            }
        }
        let key = EncodingKey::from_secret(&[7; 32]);
        let claims = serde_json::json!({"iss": "antiphon", "aud": "tests", "sub": "x", "iat": 0, "nbf": 0, "exp": u32::MAX, "word": "x"});
        let other = encode(&Header::new(Algorithm::HS384), &claims, &key).unwrap();
        assert_eq!(ours().verify(&other, NOW), Err(JwtError::Forged));
    }

    #[test]
    fn a_token_without_a_required_claim_is_refused() {
        let key = EncodingKey::from_secret(&[7; 32]);
        let whole = serde_json::json!({"iss": "antiphon", "aud": "tests", "sub": "x", "iat": 0, "nbf": 0, "exp": u32::MAX, "word": "x"});
        let sign = |claims: &serde_json::Value| encode(&Header::new(Algorithm::HS256), claims, &key).unwrap();
        assert!(ours().verify(&sign(&whole), NOW).is_ok());
        for claim in ["iss", "aud", "sub", "nbf", "exp", "word"] {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(claim);
            assert!(ours().verify(&sign(&less), NOW).is_err(), "{claim}");
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let good = token(&ours());
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(ours().verify(&changed, NOW).is_err(), "character {at}");
        }
        assert_eq!(ours().verify(&"A".repeat(TOKEN_LEN_MAX + 1), NOW), Err(JwtError::Malformed));
        for odd in ["", ".", "..", "a.b.c", "a.b.c.d", "ä.ö.ü"] {
            assert!(ours().verify(odd, NOW).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_mint_shows_no_key() {
        assert!(!format!("{:?}", ours()).contains('7'));
    }
}
