//! Secret bytes that cannot be printed, compared in a hurry, or left behind.

use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes: zeroed on drop, hidden from `Debug`, equal only in constant time, never serialised.
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a text holds no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Fewer bytes than this product accepts for a shared secret.
    #[error("a secret has at least {SECRET_LEN_MIN} characters")]
    TooShort,
    /// White space or control characters inside: a wrong file, most likely.
    #[error("a secret is one line of printable characters")]
    NotOneLine,
}

/// Shortest shared secret, in characters.
pub const SECRET_LEN_MIN: usize = 16;

impl Secret {
    /// Keeps these bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads the text of a secret file or environment variable: one line, its end trimmed.
    pub fn from_text(text: &str) -> Result<Self, SecretError> {
        let line = text.trim_end_matches(['\r', '\n']);
        if line.len() < SECRET_LEN_MIN {
            return Err(SecretError::TooShort);
        }
        if !line.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(SecretError::NotOneLine);
        }
        Ok(Self::from_bytes(line.as_bytes().to_vec()))
    }

    /// The bytes, for the one call that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether `other` is this secret, in time that depends on its length only.
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.as_slice().ct_eq(other).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_long_enough_line() {
        assert!(Secret::from_text("0123456789abcdef\n").unwrap().matches(b"0123456789abcdef"));
        assert_eq!(Secret::from_text("0123456789abcde").unwrap_err(), SecretError::TooShort);
        assert_eq!(Secret::from_text("0123456789\n01234567").unwrap_err(), SecretError::NotOneLine);
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::from_bytes(b"hunter2".to_vec())), "Secret(hidden)");
    }
}
