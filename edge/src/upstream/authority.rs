//! Where the origin is: scheme, host and port of its URL.

use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Scheme, host and port.
#[derive(Debug)]
pub struct Authority {
    tls: bool,
    host: String,
    port: u16,
    /// As it is written in `Host`.
    text: String,
    resolved: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

/// How long the address of a name is kept.
const NAME_TTL: Duration = Duration::from_secs(10);
/// Addresses of a name that are looked at.
const ADDRESSES_MAX: usize = 8;

impl Authority {
    /// Reads `http://host[:port]` or `https://host[:port]`, an optional slash at its end.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("{url:?} {what}; write http://host:port or https://host:port"));
        let (tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return wrong("has another scheme than http or https"),
        };
        let text = rest.strip_suffix('/').unwrap_or(rest);
        let Ok(parsed) = text.parse::<http::uri::Authority>() else { return wrong("has no host") };
        if text.contains(['@', '/', '?', '#']) || parsed.host().is_empty() {
            return wrong("is more than scheme, host and port");
        }
        let port = match text[parsed.host().len()..].strip_prefix(':') {
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return wrong("has no such port"),
            },
        };
        let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { tls, host, port, text: text.to_owned(), resolved: Mutex::new(None) })
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Host and port as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address to connect to at attempt `attempt`: names may have several, and the first may be dead. A name
    /// is looked up again after ten seconds.
    pub async fn resolve(&self, attempt: usize) -> io::Result<SocketAddr> {
        if let Ok(address) = self.host.parse() {
            return Ok(SocketAddr::new(address, self.port));
        }
        if let Some(address) = self.remembered(attempt) {
            return Ok(address);
        }
        let found: Vec<_> =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await?.take(ADDRESSES_MAX).collect();
        *self.resolved.lock() = Some((Instant::now(), found));
        self.remembered(attempt).ok_or_else(|| io::Error::other("the origin's name has no address"))
    }

    fn remembered(&self, attempt: usize) -> Option<SocketAddr> {
        let resolved = self.resolved.lock();
        let (at, addresses) = resolved.as_ref().filter(|(_, addresses)| !addresses.is_empty())?;
        (at.elapsed() < NAME_TTL).then(|| addresses[attempt % addresses.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_host_and_port_are_read_and_nothing_else() {
        let read = |url: &str| Authority::parse(url).map(|a| (a.tls, a.host, a.port, a.text)).ok();
        let some = |tls, host: &str, port, text: &str| Some((tls, host.to_owned(), port, text.to_owned()));
        assert_eq!(read("http://127.0.0.1:8280"), some(false, "127.0.0.1", 8280, "127.0.0.1:8280"));
        assert_eq!(read("https://origin.example/"), some(true, "origin.example", 443, "origin.example"));
        assert_eq!(read("http://[::1]:80"), some(false, "::1", 80, "[::1]:80"));
        for url in [
            "",
            "origin",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://u@a",
            "http://a:0",
            "http://a:x",
            "http://a:99999",
        ] {
            assert_eq!(read(url), None, "{url}");
        }
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up_and_a_name_is_remembered() {
        let address = Authority::parse("http://[::1]:81").unwrap().resolve(0).await.unwrap();
        assert_eq!(address, "[::1]:81".parse().unwrap());
        let named = Authority::parse("http://localhost:82").unwrap();
        let address = named.resolve(0).await.unwrap();
        assert!(address.ip().is_loopback());
        assert_eq!(named.remembered(0), Some(address));
        let count = named.resolved.lock().as_ref().unwrap().1.len();
        assert_eq!(named.remembered(count), Some(address), "past the last comes the first again");
    }
}
