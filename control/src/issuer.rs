//! The embedded issuer: who logs in with which password, and the access tokens they get (RFC 6749 §4.3).
//!
//! Promises
//! - A [`Listener`] exists only for a verified access token.
//! - A wrong password and an unknown name are told apart neither by the answer nor by the time it takes.
//!
//! Does not know: HTTP, databases. The accounts are the two demo listeners until a platform's own issuer is
//! connected.

use crate::jwt::{JwtError, Kind, Mint, SignError};
use crate::policy::Tier;
use antiphon_core::ids::ListenerId;
use antiphon_core::{Secret, UnixTime};
use serde::{Deserialize, Serialize};

/// Issues and reads access tokens.
pub struct Issuer {
    mint: Mint<AccessClaims>,
    accounts: Vec<Account>,
    access_secs: u32,
}

/// Somebody with a valid access token. Private fields: only [`Issuer::listener`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    id: ListenerId,
    tier: Tier,
}

/// An account to try the product with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DemoListener {
    /// Name to log in with.
    pub name: &'static str,
    /// What the listener pays for.
    pub tier: Tier,
}

/// A token and how long it lasts.
pub struct Access {
    /// The bearer token.
    pub token: String,
    /// Seconds from now.
    pub expires_in: u32,
}

/// Why nobody was logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No such name, or not its password.
    #[error("the user name or the password is wrong")]
    Unknown,
    /// Our own fault.
    #[error("log in")]
    Sign(#[from] SignError),
}

/// The demo listeners, both with [`DEMO_PASSWORD`].
pub const DEMO_LISTENERS: [DemoListener; 2] =
    [DemoListener { name: "free", tier: Tier::Free }, DemoListener { name: "premium", tier: Tier::Premium }];
/// Not a secret: it is printed by quickstart and refused on public addresses.
pub const DEMO_PASSWORD: &str = "listen";

const KIND: Kind = Kind { issuer: "antiphon", audience: "antiphon-api", media_type: "at+jwt" };

struct Account {
    name: &'static str,
    password: Secret,
    tier: Tier,
}

#[derive(Serialize, Deserialize)]
struct AccessClaims {
    tier: Tier,
}

impl Issuer {
    /// An issuer with `demo` accounts and no others.
    pub fn new(key: &Secret, demo: &[DemoListener], access_secs: u32, leeway_secs: u32) -> Self {
        let account = |demo: &DemoListener| Account {
            name: demo.name,
            password: Secret::from_bytes(DEMO_PASSWORD.as_bytes().to_vec()),
            tier: demo.tier,
        };
        Self {
            mint: Mint::new(KIND, key, leeway_secs),
            accounts: demo.iter().map(account).collect(),
            access_secs,
        }
    }

    /// Exchanges name and password for an access token.
    pub fn log_in(&self, name: &str, password: &str, now: UnixTime) -> Result<Access, LoginError> {
        let mut found = None;
        for account in &self.accounts {
            let fits = account.password.matches(password.as_bytes());
            if account.name == name && fits {
                found = Some(account);
            }
        }
        let account = found.ok_or(LoginError::Unknown)?;
        let subject = format!("demo-{}", account.name);
        let expires = now.plus(self.access_secs.into());
        let token = self.mint.sign(&subject, AccessClaims { tier: account.tier }, now, expires)?;
        Ok(Access { token, expires_in: self.access_secs })
    }

    /// Who holds this access token.
    pub fn listener(&self, token: &str, now: UnixTime) -> Result<Listener, JwtError> {
        let verified = self.mint.verify(token, now)?;
        let id = verified.subject.parse().map_err(|_| JwtError::Malformed)?;
        Ok(Listener { id, tier: verified.claims.tier })
    }
}

impl Listener {
    /// The pseudonym that tokens and logs name.
    pub fn id(&self) -> &ListenerId {
        &self.id
    }

    /// What the listener pays for.
    pub fn tier(&self) -> Tier {
        self.tier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    fn issuer() -> Issuer {
        Issuer::new(&Secret::from_bytes(vec![1; 32]), &DEMO_LISTENERS, 3600, 30)
    }

    #[test]
    fn a_demo_listener_logs_in_and_is_known_by_the_token() {
        let access = issuer().log_in("premium", "listen", NOW).unwrap();
        let listener = issuer().listener(&access.token, NOW).unwrap();
        assert_eq!((listener.id().as_str(), listener.tier()), ("demo-premium", Tier::Premium));
        assert_eq!(access.expires_in, 3600);
    }

    #[test]
    fn a_wrong_name_or_password_logs_nobody_in() {
        for (name, password) in
            [("free", ""), ("free", "Listen"), ("", "listen"), ("admin", "listen"), ("free", "listen\0")]
        {
            assert!(
                matches!(issuer().log_in(name, password, NOW), Err(LoginError::Unknown)),
                "{name} {password}"
            );
        }
    }

    #[test]
    fn without_demo_accounts_nobody_logs_in() {
        let issuer = Issuer::new(&Secret::from_bytes(vec![1; 32]), &[], 3600, 30);
        assert!(matches!(issuer.log_in("free", "listen", NOW), Err(LoginError::Unknown)));
    }
}
