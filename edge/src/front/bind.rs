//! Sockets for one address: TCP, and UDP on the same port.
//!
//! Does not know: what is spoken on them.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use tokio::net::TcpListener;

/// The sockets of one listen address.
#[derive(Debug)]
pub struct Sockets {
    /// For HTTP/1.1 and HTTP/2.
    pub tcp: TcpListener,
    /// For HTTP/3, if asked for. Non-blocking.
    pub udp: Option<UdpSocket>,
    /// Where both are bound.
    pub address: SocketAddr,
}

/// Buffers of a UDP socket.
#[derive(Clone, Copy, Debug)]
pub struct UdpBuffers {
    /// For each direction; the kernel may grant less.
    pub bytes: usize,
}

/// Connections that wait for `accept`.
const BACKLOG: i32 = 4096;
/// With port 0, ports tried until one is free for TCP and UDP alike.
const PORTS_TRIED: usize = 16;

impl Sockets {
    /// Binds `address`. Port 0 takes any port that is free for all that is asked for.
    pub fn bind(address: SocketAddr, udp: Option<UdpBuffers>) -> io::Result<Self> {
        let mut tries = if address.port() == 0 { PORTS_TRIED } else { 1 };
        loop {
            tries -= 1;
            match Self::bind_once(address, udp) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
                result => return result,
            }
        }
    }

    fn bind_once(address: SocketAddr, udp: Option<UdpBuffers>) -> io::Result<Self> {
        let tcp = socket(address, Type::STREAM, Protocol::TCP)?;
        // A restart need not wait for old connections to fade away. Not SO_REUSEPORT: it would hide that
        // another process has the port.
        tcp.set_reuse_address(true)?;
        tcp.bind(&address.into())?;
        tcp.listen(BACKLOG)?;
        let tcp = TcpListener::from_std(tcp.into())?;
        let address = tcp.local_addr()?;
        let udp = udp.map(|buffers| bind_udp(address, buffers)).transpose()?;
        Ok(Self { tcp, udp, address })
    }
}

fn bind_udp(address: SocketAddr, buffers: UdpBuffers) -> io::Result<UdpSocket> {
    let udp = socket(address, Type::DGRAM, Protocol::UDP)?;
    udp.set_recv_buffer_size(buffers.bytes)?;
    udp.set_send_buffer_size(buffers.bytes)?;
    udp.bind(&address.into())?;
    Ok(udp.into())
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses, each listed if wanted.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tcp_and_udp_share_a_port_and_a_taken_port_is_an_error() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = Sockets::bind(any, Some(UdpBuffers { bytes: 64 * 1024 })).unwrap();
        assert_eq!(sockets.udp.unwrap().local_addr().unwrap(), sockets.address);
        let error = Sockets::bind(sockets.address, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
