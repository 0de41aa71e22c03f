//! Who may hear what: tokens, key rings, licences.

use crate::Outcome;
use antiphon_core::UnixTime;
use antiphon_drm::keys::{FileKek, Keyring};
use antiphon_drm::licence::{ClearKeyRequest, KIDS_MAX, REQUEST_LEN_MAX};
use antiphon_drm::token::{
    Cidr, Countries, Grant, Methods, SKEW_SECS, Token, TokenError, TokenRequest, UrlKeys, Watermark,
};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::LazyLock;

const NOW: UnixTime = UnixTime(1_800_000_000);
const PATH: &str = "/a/c/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/128.mp4";
const SECRET: [u8; 32] = *b"a key that only signs fuzz input";

/// The key-encryption key of the corpus' keyrings, as bytes.
pub const KEK: [u8; 32] = *b"a key that only wraps fuzz input";

static KEYS: LazyLock<UrlKeys> = LazyLock::new(|| match UrlKeys::generate("k1", SECRET, NOW) {
    Ok(keys) => keys,
    Err(error) => panic!("a ring of one key: {error}"),
});

static FILE_KEK: LazyLock<FileKek> = LazyLock::new(|| FileKek::from_bytes(&KEK));

fn request() -> TokenRequest<'static> {
    let address = Some([192, 0, 2, 7].into());
    TokenRequest { path: PATH, kbps: Some(128), country: Some("DE"), address, method: "GET" }
}

/// A token as it comes, unsigned and so never believed; then the same bytes as a payload signed by a signer
/// without manners, to get past the MAC; then as each of the bounds a token may have.
pub fn token(data: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(data);
    let forged = Token::check(&text, &KEYS, &request(), NOW);
    assert!(forged.is_err(), "a token that nobody signed opens {PATH}");

    let payload: String = text.chars().take(700).collect();
    let scoped = payload.split('~').any(|field| field.starts_with("p="));
    reads_back::<Cidr>(&text);
    reads_back::<Countries>(&text);
    reads_back::<Methods>(&text);
    reads_back::<Watermark>(&text);
    match Token::check(&signed(&payload, if scoped { "" } else { PATH }), &KEYS, &request(), NOW) {
        Ok(token) => {
            assert!(
                token.expires().plus(SKEW_SECS) >= NOW && token.max_kbps().is_none_or(|kbps| kbps >= 128)
            );
            assert!(token.path_scope().is_none_or(|scope| PATH.starts_with(scope.trim_end_matches('*'))));
            assert_eq!(token.key_name(), "k1");
            assert!(payload.starts_with("x=") && payload.is_ascii());
            Outcome::Taken
        }
        Err(error) => {
            let unsigned = matches!(error, TokenError::BadPath | TokenError::UnknownKey | TokenError::BadMac);
            assert!(!unsigned, "properly signed: {error}");
            Outcome::Refused
        }
    }
}

fn signed(payload: &str, path_under_mac: &str) -> String {
    let head = format!("1.k1.{}", BASE64URL_NOPAD.encode(payload.as_bytes()));
    let mut mac = match Hmac::<sha2::Sha256>::new_from_slice(&SECRET) {
        Ok(mac) => mac,
        Err(error) => panic!("a key of 32 bytes: {error}"),
    };
    mac.update(format!("edge-st/1\n{head}\n{path_under_mac}").as_bytes());
    format!("{head}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}

fn reads_back<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert!(value.to_string().parse::<T>().is_ok_and(|again| again == value), "{text}");
    }
}

/// A ring of URL keys: what is read is written and read again, and what it signs it verifies.
pub fn url_keys(data: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(data);
    let Ok(keys) = UrlKeys::from_json(&text) else {
        return Outcome::Refused;
    };
    let written = keys.to_json();
    let again =
        UrlKeys::from_json(&written).unwrap_or_else(|error| panic!("what was written is read: {error}"));
    assert_eq!(*again.to_json(), *written);
    if let Ok(token) = Grant::until(NOW.plus(60)).sign(&keys, PATH, NOW) {
        let opened = Token::check(&token, &again, &request(), NOW);
        assert!(opened.is_ok_and(|token| Some(token.key_name()) == keys.signer_name(NOW)));
    }
    Outcome::Taken
}

/// A sealed ring of masters: whatever opens was sealed by the key in hand, and seals and opens again.
pub fn keyring(data: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(data);
    match Keyring::open(&text, &*FILE_KEK) {
        Ok(ring) => {
            let mut nonce = 0_u8;
            let sealed = ring.seal(&*FILE_KEK, &mut |bytes| {
                nonce = nonce.wrapping_add(1);
                bytes.fill(nonce);
            });
            let again = sealed.and_then(|sealed| Keyring::open(&sealed, &*FILE_KEK));
            assert!(again.is_ok_and(|again| again.epochs().eq(ring.epochs())));
            Outcome::Taken
        }
        Err(error) => {
            let told = error.to_string().len() + error.source().map_or(0, |cause| cause.to_string().len());
            assert!(told < 400, "an error of {told} bytes quotes the file: {error}");
            Outcome::Refused
        }
    }
}

/// A licence request: bounded, and no key id twice.
pub fn clearkey(data: &[u8]) -> Outcome {
    let Ok(request) = ClearKeyRequest::parse(data) else {
        return Outcome::Refused;
    };
    let kids = request.kids();
    assert!((1..=KIDS_MAX).contains(&kids.len()) && data.len() <= REQUEST_LEN_MAX);
    assert!(kids.iter().enumerate().all(|(at, kid)| !kids[..at].contains(kid)), "a key id twice");
    Outcome::Taken
}
