//! Making tokens: what the control plane grants, turned into the value of `st`.
//!
//! Promises
//! - What [`Grant::sign`] gives out, [`super::Token`] accepts: same grammar, and a key that outlives the token.

use super::TOKEN_LEN_MAX;
use super::bounds::{Cidr, Countries, Methods, Watermark, covers, is_scope};
use super::claims::{TIME_DIGITS_MAX, is_value};
use super::url_keys::UrlKeys;
use antiphon_core::UnixTime;
use antiphon_core::ids::{DeviceId, ListenerId, SessionId};
use antiphon_core::path::check_grammar;
use data_encoding::BASE64URL_NOPAD;

/// What a token shall grant. Start from [`Grant::until`] and bind it further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// When it runs out.
    pub expires: UnixTime,
    /// When it begins; `None` is at once.
    pub not_before: Option<UnixTime>,
    /// One path, or a prefix that ends in `/*`; `None` binds the token to the path it is signed for.
    pub path_scope: Option<String>,
    /// Pseudonym of the listener.
    pub listener: Option<ListenerId>,
    /// The play it belongs to.
    pub session: Option<SessionId>,
    /// The device it is for.
    pub device: Option<DeviceId>,
    /// The most kbit/s it opens; `None` is no bound.
    pub max_kbps: Option<u32>,
    /// Where it opens; `None` is everywhere.
    pub countries: Option<Countries>,
    /// The network it opens from; `None` is any. Mobile listeners change theirs: leave it out for them.
    pub address: Option<Cidr>,
    /// Who is to be found in the sound.
    pub watermark: Option<Watermark>,
    /// The methods it opens for; `None` is any.
    pub methods: Option<Methods>,
}

/// Why a grant cannot become a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// No key of the ring signs at this hour.
    #[error("no URL key signs at {now}")]
    NoKey {
        /// The present moment.
        now: UnixTime,
    },
    /// The path is outside the grammar of paths.
    #[error("sign for a path that has a character or segment that no path here has")]
    Path,
    /// The scope is no path and no prefix ending in `/*`, or is wider than all that is served.
    #[error("the scope {scope:?} is neither a path nor a prefix that ends in /*")]
    Scope {
        /// The scope asked for.
        scope: String,
    },
    /// The token would not open the path it is made for.
    #[error("the scope {scope:?} does not hold the path it is signed for")]
    ScopeMisses {
        /// The scope asked for.
        scope: String,
    },
    /// The token would be dead before it is used.
    #[error("a token that runs out at {expires} opens nothing: it is {now}, and it begins at {begins}")]
    Dead {
        /// When it would run out.
        expires: UnixTime,
        /// When it would begin.
        begins: UnixTime,
        /// The present moment.
        now: UnixTime,
    },
    /// A moment or bit rate that no token can carry.
    #[error("{what} has more digits than a token may carry")]
    Digits {
        /// Which of them.
        what: &'static str,
    },
    /// The key stops verifying before the token runs out.
    #[error("the token runs out at {expires}, after its key {kid}, which verifies until {verify_until}")]
    OutlivesKey {
        /// When the token would run out.
        expires: UnixTime,
        /// Name of the key.
        kid: String,
        /// When the key stops verifying.
        verify_until: UnixTime,
    },
    /// All bounds together make a token that no edge looks at.
    #[error("the token would be {len} bytes long, {TOKEN_LEN_MAX} are the limit")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// A value outside the alphabet or length of values.
    #[error("the value of {field:?} has a character or length that no value has")]
    Value {
        /// Letter of the field.
        field: char,
    },
}

/// The largest bit rate a token carries: six digits.
const KBPS_MAX: u32 = 999_999;

impl Grant {
    /// A grant that runs out at `expires` and is bound to nothing else but its path.
    pub fn until(expires: UnixTime) -> Self {
        Self {
            expires,
            not_before: None,
            path_scope: None,
            listener: None,
            session: None,
            device: None,
            max_kbps: None,
            countries: None,
            address: None,
            watermark: None,
            methods: None,
        }
    }

    /// The value of `st` that opens `path`, signed by the key that signs at `now`.
    pub fn sign(&self, keys: &UrlKeys, path: &str, now: UnixTime) -> Result<String, SignError> {
        check_grammar(path).map_err(|_| SignError::Path)?;
        self.check_scope(path)?;
        self.check_times(now)?;
        let key = keys.signing(now).ok_or(SignError::NoKey { now })?;
        if key.verify_until() <= self.expires {
            let (kid, verify_until) = (key.name().to_owned(), key.verify_until());
            return Err(SignError::OutlivesKey { expires: self.expires, kid, verify_until });
        }
        let mut token = format!("1.{}.{}", key.name(), BASE64URL_NOPAD.encode(self.payload()?.as_bytes()));
        let mac = key.sign(&token, if self.path_scope.is_some() { "" } else { path });
        token.push('.');
        token.extend(mac.map(char::from));
        if token.len() > TOKEN_LEN_MAX {
            return Err(SignError::TooLong { len: token.len() });
        }
        Ok(token)
    }

    fn check_scope(&self, path: &str) -> Result<(), SignError> {
        let Some(scope) = &self.path_scope else {
            return Ok(());
        };
        if !is_scope(scope) || check_grammar(scope.strip_suffix('*').unwrap_or(scope)).is_err() {
            return Err(SignError::Scope { scope: scope.clone() });
        }
        if !covers(scope, path) {
            return Err(SignError::ScopeMisses { scope: scope.clone() });
        }
        Ok(())
    }

    fn check_times(&self, now: UnixTime) -> Result<(), SignError> {
        let begins = self.not_before.unwrap_or(now);
        if self.expires <= now || self.expires <= begins {
            return Err(SignError::Dead { expires: self.expires, begins, now });
        }
        if self.expires.0 >= 10_u64.pow(TIME_DIGITS_MAX as u32) {
            return Err(SignError::Digits { what: "the expiry" });
        }
        if self.max_kbps.is_some_and(|kbps| kbps > KBPS_MAX) {
            return Err(SignError::Digits { what: "the bit rate" });
        }
        Ok(())
    }

    /// `c=value` joined by `~`, in the order of [`super::claims::FIELDS`].
    fn payload(&self) -> Result<String, SignError> {
        let fields = [
            ('x', Some(self.expires.to_string())),
            ('n', self.not_before.map(|from| from.to_string())),
            ('p', self.path_scope.clone()),
            ('u', self.listener.as_ref().map(ToString::to_string)),
            ('s', self.session.as_ref().map(ToString::to_string)),
            ('d', self.device.as_ref().map(ToString::to_string)),
            ('q', self.max_kbps.map(|kbps| kbps.to_string())),
            ('g', self.countries.as_ref().map(ToString::to_string)),
            ('i', self.address.map(|network| network.to_string())),
            ('w', self.watermark.map(|id| id.to_string())),
            ('m', self.methods.as_ref().map(ToString::to_string)),
        ];
        let mut payload = String::new();
        for (field, value) in fields.iter().filter_map(|(field, value)| Some((field, value.as_ref()?))) {
            if !is_value(value) {
                return Err(SignError::Value { field: *field });
            }
            if !payload.is_empty() {
                payload.push('~');
            }
            payload.push(*field);
            payload.push('=');
            payload.push_str(value);
        }
        Ok(payload)
    }
}
