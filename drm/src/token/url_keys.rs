//! The ring of keys that sign stream tokens (MEDIA.md §6.1, "Rotation").
//!
//! Promises
//! - A key verifies inside its window only, and signs only once every verifier has had time to learn it.
//! - Secrets leave by [`UrlKeys::to_json`] alone, and print nowhere, not in errors either.
//!
//! Does not know: where the file lies, who reads it.

use crate::json::json_fault;
use antiphon_core::{Secret, UnixTime};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, de};
use sha2::Sha256;
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Keys of one service, by name.
pub struct UrlKeys {
    /// Invariant: 1 to [`URL_KEYS_MAX`], names distinct; upheld by `from_keys`.
    keys: Vec<UrlKey>,
}

/// One key and the hours it may work.
pub(super) struct UrlKey {
    kid: String,
    secret: Secret,
    /// HMAC with the key already absorbed: cloned per token.
    keyed: Hmac<Sha256>,
    verify_from: UnixTime,
    verify_until: UnixTime,
    sign_from: UnixTime,
}

/// Why a text is no key ring.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlKeysError {
    /// Not the JSON of a key ring.
    #[error("read the URL keys: {0}")]
    Json(String),
    /// None, or more than the limit.
    #[error("a URL key ring has 1 to {URL_KEYS_MAX} keys, this one {0}")]
    Count(usize),
    /// A name outside the grammar of names.
    #[error("key {0} of the URL key ring: a name is 1 to {KEY_NAME_LEN_MAX} of a-z 0-9 -")]
    Name(usize),
    /// Two keys of one name.
    #[error("the URL key ring names {0} twice")]
    Twice(String),
    /// A window that never opens.
    #[error("URL key {0} verifies until a moment before it begins")]
    Window(String),
    /// It would sign what nobody can verify yet.
    #[error("URL key {0} signs before it verifies")]
    SignsEarly(String),
}

/// Most keys of a ring: a month of daily rotations would fit an edge's memory, but not its operator's.
pub const URL_KEYS_MAX: usize = 16;

/// Longest text of a key ring, in bytes.
pub const URL_KEYS_TEXT_MAX: usize = 64 * 1024;

/// How long a key still verifies once its successor signs: the longest token, and five minutes.
pub const KEY_LIFE_AFTER_ROTATION_SECS: u64 = 3600 + 300;

/// Longest name of a key, in bytes.
pub(super) const KEY_NAME_LEN_MAX: usize = 16;

/// Length of a MAC in a token, in characters: 32 bytes in base64url.
pub(super) const MAC_TEXT_LEN: usize = 43;

const KEY_LEN: usize = 32;

/// What is signed begins with this, so that a token's MAC is a MAC of nothing else.
const MAC_PREFIX: &[u8] = b"edge-st/1\n";

/// "Until further notice", in the most digits a moment may have.
const FAR_FUTURE: UnixTime = UnixTime(99_999_999_999);

/// How far the clock of a verifier may lag behind that of whoever made the key.
const CLOCK_LAG_SECS: u64 = 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RingText {
    keys: Vec<KeyText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    kid: String,
    #[serde(deserialize_with = "secret_from_base64url")]
    secret: Secret,
    verify_from: UnixTime,
    verify_until: UnixTime,
    sign_from: UnixTime,
}

impl UrlKeys {
    /// Reads `{"keys":[{"kid","secret","verify_from","verify_until","sign_from"}]}`; a secret is 32 bytes in
    /// unpadded base64url.
    pub fn from_json(text: &str) -> Result<Self, UrlKeysError> {
        if text.len() > URL_KEYS_TEXT_MAX {
            return Err(UrlKeysError::Json(format!("longer than {URL_KEYS_TEXT_MAX} bytes")));
        }
        let ring: RingText = serde_json::from_str(text).map_err(|e| UrlKeysError::Json(json_fault(&e)))?;
        Self::from_keys(ring.keys.into_iter().map(UrlKey::from).collect())
    }

    /// A ring of one new key that signs at once; `secret` is random.
    pub fn generate(kid: &str, secret: [u8; 32], now: UnixTime) -> Result<Self, UrlKeysError> {
        let from = UnixTime(now.0.saturating_sub(CLOCK_LAG_SECS));
        Self::from_keys(vec![UrlKey::new(kid, &secret, from, from)])
    }

    /// The ring as [`UrlKeys::from_json`] reads it, for a file that only its readers may open.
    pub fn to_json(&self) -> Zeroizing<String> {
        // Room for everything at once: growing would leave copies of secrets behind.
        let mut text = Zeroizing::new(String::with_capacity(32 + self.keys.len() * 256));
        text.push_str("{\"keys\":[");
        for (index, key) in self.keys.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str("\n  {\"kid\":\"");
            text.push_str(&key.kid);
            text.push_str("\",\"secret\":\"");
            BASE64URL_NOPAD.encode_append(key.secret.expose(), &mut text);
            let UrlKey { verify_from, verify_until, sign_from, .. } = key;
            text.push_str(&format!(
                "\",\"verify_from\":{verify_from},\"verify_until\":{verify_until},\"sign_from\":{sign_from}}}"
            ));
        }
        text.push_str("\n]}\n");
        text
    }

    /// Names of the keys, in the order of the ring.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.kid.as_str())
    }

    /// Name of the key that signs at `now`.
    pub fn signer_name(&self, now: UnixTime) -> Option<&str> {
        self.signing(now).map(|key| key.kid.as_str())
    }

    /// Adds a key that verifies at once and signs `2 * propagation_secs` later, when every edge knows it. The
    /// keys before it stop verifying [`KEY_LIFE_AFTER_ROTATION_SECS`] after that; those that have stopped
    /// already are dropped.
    pub fn rotate(
        self,
        kid: &str,
        secret: [u8; 32],
        now: UnixTime,
        propagation_secs: u64,
    ) -> Result<Self, UrlKeysError> {
        let sign_from = now.plus(propagation_secs.saturating_mul(2));
        let retire = sign_from.plus(KEY_LIFE_AFTER_ROTATION_SECS);
        let mut keys = self.keys;
        keys.retain(|key| now < key.verify_until);
        for key in &mut keys {
            key.verify_until = key.verify_until.min(retire);
        }
        let verify_from = UnixTime(now.0.saturating_sub(CLOCK_LAG_SECS));
        keys.push(UrlKey::new(kid, &secret, verify_from, sign_from));
        Self::from_keys(keys)
    }

    /// The key called `kid`, if it verifies at `now`.
    pub(super) fn verifying(&self, kid: &str, now: UnixTime) -> Option<&UrlKey> {
        self.keys.iter().find(|key| key.kid == kid && key.verifies(now))
    }

    /// The youngest key that may sign at `now`.
    pub(super) fn signing(&self, now: UnixTime) -> Option<&UrlKey> {
        self.keys
            .iter()
            .filter(|key| key.sign_from <= now && key.verifies(now))
            .max_by_key(|key| key.sign_from)
    }

    fn from_keys(keys: Vec<UrlKey>) -> Result<Self, UrlKeysError> {
        if !(1..=URL_KEYS_MAX).contains(&keys.len()) {
            return Err(UrlKeysError::Count(keys.len()));
        }
        for (index, key) in keys.iter().enumerate() {
            if !is_key_name(&key.kid) {
                return Err(UrlKeysError::Name(index));
            }
            if keys[..index].iter().any(|other| other.kid == key.kid) {
                return Err(UrlKeysError::Twice(key.kid.clone()));
            }
            if key.verify_until <= key.verify_from {
                return Err(UrlKeysError::Window(key.kid.clone()));
            }
            if key.sign_from < key.verify_from {
                return Err(UrlKeysError::SignsEarly(key.kid.clone()));
            }
        }
        Ok(Self { keys })
    }
}

impl UrlKey {
    fn new(kid: &str, secret: &[u8; KEY_LEN], verify_from: UnixTime, sign_from: UnixTime) -> Self {
        Self {
            kid: kid.to_owned(),
            secret: Secret::from_bytes(secret.to_vec()),
            keyed: keyed(secret),
            verify_from,
            verify_until: FAR_FUTURE,
            sign_from,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.kid
    }

    pub(super) fn verify_until(&self) -> UnixTime {
        self.verify_until
    }

    fn verifies(&self, now: UnixTime) -> bool {
        self.verify_from <= now && now < self.verify_until
    }

    /// Whether `mac` is this key's over `head` and `path`, in time that depends on their lengths only.
    pub(super) fn signed(&self, head: &str, path: &str, mac: &[u8; MAC_TEXT_LEN]) -> bool {
        self.sign(head, path).ct_eq(mac).into()
    }

    /// The MAC over `head` and `path`, as it is written in a token.
    pub(super) fn sign(&self, head: &str, path: &str) -> [u8; MAC_TEXT_LEN] {
        let mut mac = self.keyed.clone();
        for part in [MAC_PREFIX, head.as_bytes(), b"\n", path.as_bytes()] {
            mac.update(part);
        }
        let mut text = [0; MAC_TEXT_LEN];
        BASE64URL_NOPAD.encode_mut(&mac.finalize().into_bytes(), &mut text);
        text
    }
}

impl From<KeyText> for UrlKey {
    fn from(text: KeyText) -> Self {
        let KeyText { kid, secret, verify_from, verify_until, sign_from } = text;
        let keyed = keyed(secret.expose());
        Self { kid, secret, keyed, verify_from, verify_until, sign_from }
    }
}

impl fmt::Debug for UrlKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UrlKeys(")?;
        self.names().try_for_each(|name| write!(f, "{name}, "))?;
        f.write_str("secrets hidden)")
    }
}

/// `[a-z0-9-]{1,16}`.
pub(super) fn is_key_name(text: &str) -> bool {
    let clean = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=KEY_NAME_LEN_MAX).contains(&text.len()) && text.bytes().all(clean)
}

fn keyed(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes a key of any length")
}

/// Decodes straight from the text that is being parsed: no `String` holds the secret on the way.
fn secret_from_base64url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = Secret;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("32 bytes in unpadded base64url")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
            let wrong = || E::custom("a secret is 32 bytes in unpadded base64url");
            let bytes =
                BASE64URL_NOPAD.decode(text.as_bytes()).map(Secret::from_bytes).map_err(|_| wrong())?;
            if bytes.expose().len() == KEY_LEN { Ok(bytes) } else { Err(wrong()) }
        }
    }
    deserializer.deserialize_str(Visitor)
}
