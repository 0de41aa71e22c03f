//! What all endpoints share: the parts of a running control plane, put together once.
//!
//! Does not know: sockets, configuration files.

use crate::body::BodyLimits;
use crate::entitlement::Entitlements;
use crate::issuer::{DemoListener, Issuer, Listener};
use crate::keys::SharedKeys;
use crate::layouts::Layouts;
use crate::limits::RateLimiter;
use crate::metrics::Metrics;
use crate::page::Page;
use crate::state::State;
use crate::verdict::Failure;
use antiphon_core::{Clock, Secret, UnixTime};
use http::{HeaderMap, header};
use std::net::IpAddr;
use std::sync::Arc;

/// A running control plane, without its sockets.
pub struct App {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// How players reach us.
    pub public_url: String,
    /// How players reach the edge.
    pub edge_url: String,
    /// Seconds a play lasts.
    pub play_secs: u32,
    /// Who may log in without an account of their own.
    pub demo: Vec<DemoListener>,
    /// Access tokens.
    pub issuer: Issuer,
    /// Entitlements to plays.
    pub entitlements: Entitlements,
    /// Content keys and URL keys.
    pub keys: SharedKeys,
    /// The operator's secret.
    pub operator: Secret,
    /// Songs, sessions, plays.
    pub state: State,
    /// Layouts from the origin.
    pub layouts: Layouts,
    /// The web player.
    pub page: Page,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// How much a request may send.
    pub body: BodyLimits,
    /// How often who may ask.
    pub rates: Rates,
}

/// Rate limits.
pub struct Rates {
    /// Requests of an address.
    pub address: RateLimiter,
    /// Log-ins of an address.
    pub login: RateLimiter,
    /// Requests of a listener.
    pub listener: RateLimiter,
}

/// The address a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl Peer {
    /// What limits per address count: an IPv4 address, or an IPv6 /64, which is what one household gets.
    pub fn network(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::from([a, b, c, d, 0, 0, 0, 0])
            }
            v4 => v4,
        }
    }
}

impl App {
    /// The present moment.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Who sent this request: the proof that the API asks for. Counts the request against the listener's rate.
    pub fn listener(&self, headers: &HeaderMap, now: UnixTime) -> Result<Listener, Failure> {
        let token = bearer(headers)?.ok_or(Failure::NoToken)?;
        let listener = self.issuer.listener(token, now).map_err(Failure::Token)?;
        self.rates.listener.pass(listener.id(), now).map_err(Failure::Held)?;
        Ok(listener)
    }
}

/// The bearer token of a request (RFC 6750 §2.1): `None` if there is no `Authorization`, a refusal if it is
/// anything but one token.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let malformed = || Failure::Token(crate::jwt::JwtError::Malformed);
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| malformed())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(malformed)?;
    let token = token.trim_matches(' ');
    let one = values.next().is_none() && scheme.eq_ignore_ascii_case("bearer") && !token.is_empty();
    one.then_some(Some(token)).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_household_counts_as_one() {
        let network = |text: &str| Peer(text.parse().unwrap()).network().to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn a_bearer_token_is_one_word() {
        let headers = |values: &[&'static str]| {
            values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap())).collect::<HeaderMap>()
        };
        assert_eq!(bearer(&headers(&[])).unwrap(), None);
        assert_eq!(bearer(&headers(&["bearer a.b.c"])).unwrap(), Some("a.b.c"));
        for odd in [&["Basic YTpi"][..], &["Bearer"], &["Bearer "], &["a.b.c"], &["Bearer a", "Bearer b"]] {
            let mut map = HeaderMap::new();
            odd.iter().for_each(|value| {
                map.append(header::AUTHORIZATION, value.parse().unwrap());
            });
            assert!(bearer(&map).is_err(), "{odd:?}");
        }
    }
}
