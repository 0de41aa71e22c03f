//! Names given from outside: songs, devices, sessions. Short, printable, safe in paths and logs.

use crate::media::serde_as_text;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// Longest id, in bytes.
pub const ID_LEN_MAX: usize = 64;

/// Why a text is no id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be 1 to {ID_LEN_MAX} characters of A-Z a-z 0-9 _ - .")]
pub struct IdError {
    kind: &'static str,
}

/// Declares an id type: the alphabet is part of the token's value alphabet (MEDIA.md §6.1), so an id can be
/// carried in a token, a path and a log line without escaping.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let fits = (1..=ID_LEN_MAX).contains(&text.len());
                let clean = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
                (fits && clean).then(|| Self(text.to_owned())).ok_or(IdError { kind: $kind })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        serde_as_text!($name);
    };
}

id!(
    /// A track as the catalogue names it (the seed's `song_id`).
    SongId,
    "song_id"
);
id!(
    /// A listener's device (the seed's `device_id`).
    DeviceId,
    "device_id"
);
id!(
    /// One play.
    SessionId,
    "session_id"
);
id!(
    /// A listener as tokens and logs name them: a pseudonym, never an address or a name.
    ListenerId,
    "listener_id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_plain() {
        assert!("a".repeat(ID_LEN_MAX).parse::<SongId>().is_ok());
        assert!("a".repeat(ID_LEN_MAX + 1).parse::<SongId>().is_err());
        for text in ["", "a b", "a/b", "a~b", "ä", "a\n", "a'--"] {
            assert!(text.parse::<SongId>().is_err(), "{text:?}");
        }
    }
}
