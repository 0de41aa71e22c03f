//! What is particular to HTTP/3: its limits, its end, its address checks. Everything else is tested on all
//! three protocols alike.

use crate::client::{Got, Via, get};
use crate::world::{JINGLE, TRACK, World, song, track};
use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3::error::Code;
use h3_quinn::{BidiStream, OpenStreams};
use http::{Request, Response};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connecting, Connection, ConnectionError, Endpoint, TransportConfig, VarInt, WriteError,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;

/// One HTTP/3 connection of a client.
pub struct Listener {
    pub connection: Connection,
    sender: SendRequest<OpenStreams, Bytes>,
    _endpoint: Endpoint,
}

type Stream = RequestStream<BidiStream<Bytes>, Bytes>;

impl Listener {
    pub async fn connect(world: &World) -> Self {
        let endpoint = endpoint(world);
        let connection = connect(&endpoint, world.address()).await.unwrap();
        Self::over(endpoint, connection).await
    }

    pub async fn over(endpoint: Endpoint, connection: Connection) -> Self {
        let (mut driver, sender) = h3::client::builder()
            .send_grease(false)
            .build::<_, _, Bytes>(h3_quinn::Connection::new(connection.clone()))
            .await
            .unwrap();
        tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
        Self { connection, sender, _endpoint: endpoint }
    }

    /// Sends a request without a body and collects the answer.
    pub async fn ask(&mut self, request: Request<()>) -> Got {
        let mut stream = self.sender.send_request(request).await.unwrap();
        stream.finish().await.unwrap();
        let head = stream.recv_response().await.unwrap();
        collect(head, &mut stream).await
    }

    pub async fn get(&mut self, target: &str) -> Got {
        self.ask(request(target)).await
    }
}

async fn collect(head: Response<()>, stream: &mut Stream) -> Got {
    let (head, ()) = head.into_parts();
    let mut body = Vec::new();
    let whole = loop {
        match stream.recv_data().await {
            Ok(Some(mut bytes)) => body.extend_from_slice(&bytes.copy_to_bytes(bytes.remaining())),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    Got { status: head.status, headers: head.headers, body, whole }
}

fn request(target: &str) -> Request<()> {
    Request::get(format!("https://localhost{target}")).body(()).unwrap()
}

fn client_config(world: &World) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.certificate.clone()).unwrap();
    let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls.enable_early_data = true;
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

fn endpoint(world: &World) -> Endpoint {
    let any = match world.address() {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    };
    let mut endpoint = Endpoint::client(any).unwrap();
    endpoint.set_default_client_config(client_config(world));
    endpoint
}

fn connect(endpoint: &Endpoint, to: SocketAddr) -> Connecting {
    endpoint.connect(to, "localhost").unwrap()
}

fn code(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).unwrap()
}

#[tokio::test]
async fn one_connection_answers_many_requests_at_a_time() {
    let world = World::new().await;
    let listener = Listener::connect(&world).await;
    let answers = (0..50).map(|_| {
        let mut sender = listener.sender.clone();
        let target = world.signed(TRACK);
        async move {
            let mut stream = sender.send_request(request(&target)).await.unwrap();
            stream.finish().await.unwrap();
            let head = stream.recv_response().await.unwrap();
            collect(head, &mut stream).await
        }
    });
    for got in futures_util::future::join_all(answers).await {
        assert_eq!(got.status, 200);
        assert!(got.whole && got.body == track());
        assert!(got.header("date").is_some());
    }
}

#[tokio::test]
async fn every_listen_address_speaks_http3_and_the_others_tell_where() {
    let world = World::with(|config| {
        config.listen =
            vec![SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    })
    .await;
    for &address in world.edge.addresses() {
        let local =
            if address.is_ipv6() { (Ipv6Addr::LOCALHOST, 0).into() } else { (Ipv4Addr::LOCALHOST, 0).into() };
        let mut endpoint = Endpoint::client(local).unwrap();
        endpoint.set_default_client_config(client_config(&world));
        let connection = connect(&endpoint, address).await.unwrap();
        let got = Listener::over(endpoint, connection).await.get(&world.signed(JINGLE)).await;
        assert_eq!((got.status.as_u16(), got.body), (200, song(1000)));
    }
    let got = get(&world, Via::H2, &world.signed(JINGLE), &[]).await;
    let port = world.address().port();
    assert_eq!(got.header("alt-svc"), Some(format!("h3=\":{port}\"; ma=86400").as_str()));
}

#[tokio::test]
async fn where_http3_is_off_nothing_says_it_is_on() {
    let world = World::with(|config| config.http3.enabled = false).await;
    assert_eq!(get(&world, Via::H1, &world.signed(JINGLE), &[]).await.header("alt-svc"), None);
}

#[tokio::test]
async fn a_header_section_over_the_limit_is_a_431_and_the_connection_lives_on() {
    let world = World::new().await;
    let mut listener = Listener::connect(&world).await;
    // The client's side of `h3` keeps to the limit that the edge announces; this one has not read it yet, or the
    // request fails on our side. Both are a refusal.
    let mut big = request(&world.signed(JINGLE));
    big.headers_mut().insert("x", "y".repeat(20_000).parse().unwrap());
    if let Ok(mut stream) = listener.sender.send_request(big).await {
        assert_eq!(stream.recv_response().await.unwrap().status(), 431);
    }
    assert_eq!(listener.get(&world.signed(JINGLE)).await.status, 200);
}

#[tokio::test]
async fn a_request_body_over_the_limit_is_a_413_and_told_to_stop_without_an_error() {
    let world = World::new().await;
    let mut listener = Listener::connect(&world).await;
    let stream = listener.sender.send_request(request(&world.signed(JINGLE))).await.unwrap();
    let (mut send, mut recv) = stream.split();
    send.send_data(Bytes::from(vec![0; 20_000])).await.unwrap();
    assert_eq!(recv.recv_response().await.unwrap().status(), 413);
    let stopped = loop {
        if let Err(error) = send.send_data(Bytes::from(vec![0; 1000])).await {
            break error;
        }
    };
    let wanted = matches!(&stopped, h3::error::StreamError::RemoteTerminate { code, .. } if *code == Code::H3_NO_ERROR);
    assert!(wanted, "{stopped:?}");
}

#[tokio::test]
async fn a_header_frame_without_end_is_cut_off() {
    let world = World::new().await;
    let endpoint = endpoint(&world);
    let connection = connect(&endpoint, world.address()).await.unwrap();
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    // HEADERS, 1 GiB of it (RFC 9114 §7.2.2).
    send.write_all(&[0x01, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]).await.unwrap();
    let error = loop {
        if let Err(error) = send.write_all(&[0; 4096]).await {
            break error;
        }
    };
    assert_eq!(error, WriteError::Stopped(code(Code::H3_EXCESSIVE_LOAD)));
    assert_eq!(get(&world, Via::H3, &world.signed(JINGLE), &[]).await.status, 200);
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_however_often_it_pings() {
    let world = World::with(|config| config.limits.idle_secs = 1).await;
    let endpoint = endpoint(&world);
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_millis(100)));
    let mut config = client_config(&world);
    config.transport_config(Arc::new(transport));
    let connection = endpoint.connect_with(config, world.address(), "localhost").unwrap().await.unwrap();
    let mut listener = Listener::over(endpoint, connection).await;
    assert_eq!(listener.get(&world.signed(JINGLE)).await.status, 200);
    let ConnectionError::ApplicationClosed(close) = listener.connection.closed().await else {
        panic!("closed by the edge")
    };
    assert_eq!(close.error_code, code(Code::H3_NO_ERROR));
}

#[tokio::test]
async fn at_a_stop_newcomers_are_refused_answers_under_way_finished_and_connections_closed_in_peace() {
    let world = World::new().await;
    // A client that takes no more than it reads, so that the answer is under way until we let it end.
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(64 * 1024));
    let mut config = client_config(&world);
    config.transport_config(Arc::new(transport));
    let endpoint = endpoint(&world);
    let connecting = endpoint.connect_with(config, world.address(), "localhost").unwrap();
    let mut listener = Listener::over(endpoint.clone(), connecting.await.unwrap()).await;
    let mut stream = listener.sender.send_request(request(&world.signed(TRACK))).await.unwrap();
    stream.finish().await.unwrap();
    let head = stream.recv_response().await.unwrap();
    world.edge.begin_stop();
    let late = loop {
        // The stop may need a moment to get around.
        if let Err(error) = connect(&endpoint, world.address()).await {
            break error;
        }
    };
    assert!(matches!(late, ConnectionError::ConnectionClosed(_)), "{late:?}");
    let got = collect(head, &mut stream).await;
    assert!(got.whole && got.body == track());
    let ConnectionError::ApplicationClosed(close) = listener.connection.closed().await else {
        panic!("closed by the edge")
    };
    assert_eq!(close.error_code, code(Code::H3_NO_ERROR));
    world.edge.stop().await;
}

#[tokio::test]
async fn an_address_gets_as_many_connections_as_configured() {
    let world = World::with(|config| config.limits.connections_per_address_max = 2).await;
    let first = Listener::connect(&world).await;
    let mut second = Listener::connect(&world).await;
    let third = endpoint(&world);
    let reason = match connect(&third, world.address()).await {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    let ConnectionError::ApplicationClosed(close) = reason else { panic!("{reason:?}") };
    assert_eq!(close.error_code, code(Code::H3_EXCESSIVE_LOAD));
    assert_eq!(second.get(&world.signed(JINGLE)).await.status, 200);
    drop(first);
}

#[tokio::test]
async fn a_returning_client_is_answered_with_the_first_flight() {
    let world = World::new().await;
    let endpoint = endpoint(&world);
    let connection = connect(&endpoint, world.address()).await.unwrap();
    let mut first = Listener::over(endpoint.clone(), connection).await;
    assert_eq!(first.get(&world.signed(JINGLE)).await.status, 200);
    first.connection.close(code(Code::H3_NO_ERROR), b"");
    let (connection, accepted) = connect(&endpoint, world.address()).into_0rtt().ok().unwrap();
    let mut second = Listener::over(endpoint, connection).await;
    assert_eq!(second.get(&world.signed(JINGLE)).await.body, song(1000));
    assert!(accepted.await, "the early data counted");
}

/// A road between client and edge on which the test can watch, and drop what comes back.
struct Road {
    socket: UdpSocket,
    edge: SocketAddr,
}

impl Road {
    async fn to(edge: SocketAddr) -> Self {
        Self { socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(), edge }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Carries one datagram of a client to the edge and tells whose it was.
    async fn forth(&self, back: &UdpSocket) -> SocketAddr {
        let mut datagram = [0; 2048];
        let (len, client) = self.socket.recv_from(&mut datagram).await.unwrap();
        back.send_to(&datagram[..len], self.edge).await.unwrap();
        client
    }
}

#[tokio::test]
async fn while_handshakes_pile_up_clients_must_prove_their_address() {
    let world = World::with(|config| config.http3.handshakes_max = 2).await;
    // One handshake that never gets on: its answers end at a socket that nobody reads.
    let stuck = (Road::to(world.address()).await, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let stuck_client = endpoint(&world);
    let _never = connect(&stuck_client, stuck.0.address());
    stuck.0.forth(&stuck.1).await;
    let mut answer = [0; 2048];
    stuck.1.recv_from(&mut answer).await.unwrap();
    assert_eq!(packet_type(answer[0]), INITIAL);

    let next = (Road::to(world.address()).await, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let next_client = endpoint(&world);
    let _waiting = connect(&next_client, next.0.address());
    next.0.forth(&next.1).await;
    next.1.recv_from(&mut answer).await.unwrap();
    assert_eq!(packet_type(answer[0]), RETRY);

    assert_eq!(get(&world, Via::H3, &world.signed(JINGLE), &[]).await.status, 200, "who answers is let in");
}

const INITIAL: u8 = 0;
const RETRY: u8 = 3;

/// Of a long header (RFC 9000 §17.2).
fn packet_type(first: u8) -> u8 {
    (first >> 4) & 3
}
