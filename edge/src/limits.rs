//! How many may be connected at a time, in total and from one address; TCP and QUIC counted together.
//!
//! Promises
//! - Exact counts: a [`Seat`] is taken before a connection costs anything and given back when it is dropped.
//! - The table never has more entries than there are connections.
//!
//! Does not know: what a connection does.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// All open connections.
#[derive(Debug)]
pub struct Connections {
    total_max: usize,
    per_address_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// Invariant: the sum of `by_address`. Both change in `admit` and in `Drop for Seat`, nowhere else.
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Leave to be connected, until dropped.
#[derive(Debug)]
pub struct Seat {
    connections: Arc<Connections>,
    address: IpAddr,
}

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The node has all the connections it wants.
    #[error("the node has all the connections it may have")]
    Node,
    /// This address has.
    #[error("the address has all the connections it may have")]
    Address,
}

impl Full {
    /// The label in metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Address => "address",
        }
    }
}

impl Connections {
    /// Room for `total_max` connections, `per_address_max` of them from one IPv4 address or IPv6 /64.
    pub fn new(total_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self { total_max, per_address_max, open: Mutex::default() })
    }

    /// Takes a seat for `peer`, if there is one.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Seat, Full> {
        let address = network(peer);
        let mut open = self.open.lock();
        if open.total >= self.total_max {
            return Err(Full::Node);
        }
        let mine = open.by_address.get(&address).copied().unwrap_or(0);
        if mine >= self.per_address_max {
            return Err(Full::Address);
        }
        open.by_address.insert(address, mine + 1);
        open.total += 1;
        Ok(Seat { connections: Arc::clone(self), address })
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        self.open.lock().total
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.total -= 1;
        let left = open.by_address.get_mut(&self.address).map(|mine| {
            *mine -= 1;
            *mine
        });
        debug_assert!(left.is_some(), "a seat was counted when it was taken");
        if left == Some(0) {
            open.by_address.remove(&self.address);
        }
    }
}

/// What one listener can hold many of: a single IPv4 address, an IPv6 /64.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn seats_end_at_the_limit_and_come_back() {
        let connections = Connections::new(3, 2);
        let first = connections.admit(ip("192.0.2.1")).unwrap();
        let _second = connections.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(connections.admit(ip("192.0.2.1")).unwrap_err(), Full::Address);
        let _third = connections.admit(ip("192.0.2.2")).unwrap();
        assert_eq!(connections.admit(ip("192.0.2.3")).unwrap_err(), Full::Node);
        drop(first);
        assert!(connections.admit(ip("192.0.2.1")).is_ok());
        assert_eq!(connections.count(), 2);
    }

    #[test]
    fn one_ipv6_subnet_is_one_address_and_a_mapped_ipv4_is_its_ipv4() {
        let connections = Connections::new(9, 1);
        let _v6 = connections.admit(ip("2001:db8::1")).unwrap();
        assert_eq!(connections.admit(ip("2001:db8::ffff")).unwrap_err(), Full::Address);
        let _v4 = connections.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(connections.admit(ip("::ffff:192.0.2.1")).unwrap_err(), Full::Address);
        assert!(connections.admit(ip("2001:db8:0:1::1")).is_ok());
    }
}
