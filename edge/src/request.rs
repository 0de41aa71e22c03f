//! One request, whatever protocol it came by.
//!
//! Promises
//! - A front fills in a [`Req`] and decides nothing: every rule about methods, hosts, targets and headers is
//!   in [`crate::decide`], so it holds on HTTP/1.1, 2 and 3 alike.
//!
//! Does not know: sockets, Pingora, QUIC.

use http::{HeaderMap, Method};
use std::fmt;
use std::net::IpAddr;

/// A request as a front read it: borrowed, unjudged.
#[derive(Clone, Copy, Debug)]
pub struct Req<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, undecoded: the request line's target (H1) or `:path` (H2, H3).
    pub target: &'a str,
    /// `:authority`, or the authority of an absolute-form target; `Host` stays in `headers`.
    pub authority: Option<&'a str>,
    /// All header fields.
    pub headers: &'a HeaderMap,
    /// Who asks.
    pub peer: IpAddr,
    /// How the request came.
    pub proto: Proto,
}

/// The protocol of a request; a label of metrics and of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    /// HTTP/1.0 or 1.1.
    H1,
    /// HTTP/2.
    H2,
    /// HTTP/3.
    H3,
}

impl Proto {
    /// All protocols, in the order of [`Proto::index`].
    pub const ALL: [Self; 3] = [Self::H1, Self::H2, Self::H3];

    /// The label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H2 => "h2",
            Self::H3 => "h3",
        }
    }

    /// Position in [`Proto::ALL`], for tables of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
