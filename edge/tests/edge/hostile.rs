use crate::client::{Via, collect, get, raw, tls};
use crate::world::{JINGLE, TRACK, World, song};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Longer than any limit that these tests set; shorter than any default.
const SOON: Duration = Duration::from_secs(5);

fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ").or(answer.strip_prefix("HTTP/1.0 "))?.get(..3)?.parse().ok()
}

#[tokio::test]
async fn what_is_no_clean_request_is_refused_in_bounded_time() {
    let world = World::with(|config| config.limits.header_ms = 300).await;
    let get = format!("GET {} HTTP/1.1\r\n", world.signed(JINGLE));
    let host = "Host: localhost\r\nConnection: close\r\n";
    let big = "x".repeat(9000);
    let huge = "x".repeat(17_000);
    let cases = [
        (format!("{get}Connection: close\r\n\r\n"), 400, "no Host"),
        (format!("{get}{host}Host: localhost\r\n\r\n"), 400, "two Hosts"),
        (format!("{get}Host: a b\r\nConnection: close\r\n\r\n"), 400, "space in Host"),
        (format!("{get}Host: a/b\r\nConnection: close\r\n\r\n"), 400, "slash in Host"),
        (format!("{get}Host: \r\nConnection: close\r\n\r\n"), 400, "empty Host"),
        (format!("{get}Host: a:99999\r\nConnection: close\r\n\r\n"), 400, "no such port"),
        (format!("{get}Host: u@a\r\nConnection: close\r\n\r\n"), 400, "user in Host"),
        (format!("{get}Host: {}\r\nConnection: close\r\n\r\n", "a".repeat(261)), 400, "long Host"),
        (format!("GET http://other{JINGLE} HTTP/1.1\r\n{host}\r\n"), 400, "two authorities"),
        (format!("{get}{host}X: {big}\r\n\r\n"), 431, "long field"),
        (format!("{get}{host}X: {huge}\r\n\r\n"), 431, "long head"),
        (format!("{get}{host}{}\r\n", "a: b\r\n".repeat(300)), 400, "many fields"),
        (format!("GET /{big} HTTP/1.1\r\n{host}\r\n"), 414, "long path"),
        (format!("GET /{huge}"), 414, "endless path"),
        (format!("GET {JINGLE}\rx HTTP/1.1\r\n{host}\r\n"), 400, "CR in the target"),
        (format!("GET {JINGLE} HTTP/1.1\n{host}\r\n"), 400, "LF ends a line"),
        (format!("{get}{host}X: a\rb\r\n\r\n"), 400, "CR in a field"),
        (format!("{get}{host}X: a\nY: b\r\n\r\n"), 400, "LF in a field"),
        (format!("{get}{host}X: a\0b\r\n\r\n"), 400, "NUL in a field"),
        ("\n\n\n\n".to_owned(), 400, "only LFs"),
        ("\r\n\r\n\r\n".to_owned(), 400, "only empty lines"),
        (format!("{get}{host} folded: b\r\n\r\n"), 400, "folded field"),
        (format!("{get}{host}No colon\r\n\r\n"), 400, "no colon"),
        (format!("{get}{host}Na me: x\r\n\r\n"), 400, "space in a name"),
        (format!("GET {JINGLE} HTTP/1.1 x\r\n{host}\r\n"), 400, "four words"),
        (
            format!("{}&x=a b HTTP/1.1\r\n{host}\r\n", get.trim_end_matches(" HTTP/1.1\r\n")),
            400,
            "space in the query",
        ),
        (format!("GET {JINGLE}\r\n\r\n"), 400, "HTTP/0.9"),
        (format!("GET {JINGLE} HTTP/3.0\r\n{host}\r\n"), 400, "wrong version"),
        (format!("G@T {JINGLE} HTTP/1.1\r\n{host}\r\n"), 400, "odd method"),
        ("\x16\x03\x01 hello".to_owned(), 400, "a TLS hello"),
        ("GET".to_owned(), 408, "stops in its first word"),
        (format!("{get}Host: loc"), 408, "stops in its head"),
        (format!("{get}{host}Content-Length: 5\r\n\r\nab"), 408, "stops in its body"),
        (format!("{get}{host}Content-Length: 17000\r\n\r\n{huge}"), 413, "long body"),
        (format!("{get}{host}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"), 400, "two lengths"),
        (format!("{get}{host}Content-Length: -5\r\n\r\n"), 400, "negative length"),
        (format!("{get}{host}Transfer-Encoding: chunked\r\n\r\nzz\r\n"), 400, "bad chunk"),
        (format!("{get}{host}Transfer-Encoding: gzip\r\n\r\n"), 400, "unknown coding"),
        (format!("CONNECT localhost:443 HTTP/1.1\r\n{host}\r\n"), 400, "CONNECT"),
        (format!("OPTIONS * HTTP/1.1\r\n{host}\r\n"), 400, "asterisk"),
    ];
    for (bytes, want, what) in cases {
        let answer = timeout(SOON, raw(&world, bytes.as_bytes())).await;
        let answer = answer.unwrap_or_else(|_| panic!("{what}: no answer in time"));
        assert_eq!(status(&answer), Some(want), "{what}: {answer}");
    }
    assert_eq!(world.origin.reads(), 0);
}

#[tokio::test]
async fn unusual_but_clean_requests_are_answered() {
    let world = World::new().await;
    let target = world.signed(JINGLE);
    let close = "Connection: close\r\n\r\n";
    for (bytes, what) in [
        (format!("\r\nGET {target} HTTP/1.1\r\nHost: localhost\r\n{close}"), "one empty line first"),
        (format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n"), "HTTP/1.0"),
        (format!("GET https://localhost{target} HTTP/1.1\r\nHost: localhost\r\n{close}"), "absolute form"),
        (format!("GET {target} HTTP/1.1\r\nhOsT:localhost:8443\r\n{close}"), "no space, a port"),
        (format!("GET {target} HTTP/1.1\r\nHost: [::1]:8443\r\n{close}"), "IPv6 host"),
        (
            format!("GET {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"),
            "a body",
        ),
        (
            format!(
                "GET {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            ),
            "a chunked body",
        ),
    ] {
        let answer = timeout(SOON, raw(&world, bytes.as_bytes())).await.unwrap();
        assert_eq!(status(&answer), Some(200), "{what}: {answer}");
    }
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte_and_a_connection_serves_many() {
    let world = World::new().await;
    let mut stream = tls(&world, &[b"http/1.1"]).await;
    let request =
        format!("GET {} HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-4\r\n\r\n", world.signed(JINGLE));
    for _ in 0..3 {
        for byte in request.as_bytes() {
            stream.write_all(&[*byte]).await.unwrap();
            stream.flush().await.unwrap();
        }
        let mut answer = Vec::new();
        while !answer.ends_with(&song(1000)[..5]) {
            assert_ne!(timeout(SOON, stream.read_buf(&mut answer)).await.unwrap().unwrap(), 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 206 "));
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let world = World::with(|config| {
        config.limits.idle_secs = 1;
        config.limits.header_ms = 1_000;
    })
    .await;
    for request in [String::new(), format!("HEAD {} HTTP/1.1\r\nHost: a\r\n\r\n", world.signed(JINGLE))] {
        let answer = timeout(SOON, raw(&world, request.as_bytes())).await.unwrap();
        assert_eq!(answer.matches("HTTP/1.1").count(), usize::from(!request.is_empty()), "{answer}");
    }
    let mut silent = tls(&world, &[b"h2"]).await;
    let mut rest = Vec::new();
    // The HTTP/2 library hangs up without a farewell of TLS: an error here, and closed all the same.
    let _ = timeout(SOON, silent.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn an_http2_stream_whose_client_opens_no_window_is_reset() {
    let world = World::with(|config| {
        config.limits.write_stall_secs = 1;
        config.limits.write_bytes_per_sec_min = 0;
    })
    .await;
    let io = TokioIo::new(tls(&world, &[b"h2"]).await);
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(65_535).initial_connection_window_size(1 << 20);
    let (mut sender, connection) = client.handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = |target| http::Request::get(format!("https://localhost{target}"));
    let play = request(world.signed(TRACK)).body(Empty::<Bytes>::new()).unwrap();
    let stuck = sender.send_request(play).await.unwrap();
    // Not a byte of it is read, so no window opens.
    let cut = || {
        let metrics = world.edge.edge().metrics().render(&world.edge.edge().cache().stats(), &[]).unwrap();
        metrics.contains("edge_answers_cut_total{by=\"client\"} 1")
    };
    let gone = async {
        while !cut() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, gone).await.unwrap();
    let got = collect(stuck).await;
    assert!(!got.whole && got.body.len() == 65_535);
    let short = request(world.signed(JINGLE)).body(Empty::new()).unwrap();
    assert_eq!(collect(sender.send_request(short).await.unwrap()).await.body, song(1000), "others go on");
}

#[tokio::test]
async fn an_http2_header_over_the_limit_is_a_431_and_the_connection_lives_on() {
    let world = World::new().await;
    let io = TokioIo::new(tls(&world, &[b"h2"]).await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for (cookie, status) in [("c".repeat(20_000), 431), ("c".to_owned(), 200)] {
        let uri = format!("https://localhost{}", world.signed(JINGLE));
        let request = http::Request::get(uri).header("cookie", cookie).body(Empty::<Bytes>::new()).unwrap();
        let got = collect(sender.send_request(request).await.unwrap()).await;
        assert_eq!(got.status.as_u16(), status);
    }
}

#[tokio::test]
async fn requests_sent_before_their_turn_cost_the_connection_not_the_answer() {
    let world = World::new().await;
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", world.signed(JINGLE));
    let answer = timeout(SOON, raw(&world, request.repeat(3).as_bytes())).await.unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_the_rest_go_on() {
    let world = World::with(|config| config.limits.connections_per_address_max = 2).await;
    let first = tls(&world, &[b"http/1.1"]).await;
    let second = tls(&world, &[b"http/1.1"]).await;
    let mut third = tokio::net::TcpStream::connect(world.address()).await.unwrap();
    let mut rest = Vec::new();
    // Closed or reset: either way there is no handshake.
    let _ = timeout(SOON, third.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    drop((first, second));
    while world.edge.edge().connections().count() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(&world, Via::H1, &world.signed(JINGLE), &[]).await.status, 200);
}

#[tokio::test]
async fn a_client_without_tls_or_with_an_old_one_costs_a_limited_time() {
    let world = World::with(|config| config.limits.handshake_ms = 300).await;
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut tcp = tokio::net::TcpStream::connect(world.address()).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(SOON, tcp.read_to_end(&mut rest)).await.unwrap();
        assert!(!rest.starts_with(b"HTTP"));
    }
}

#[tokio::test]
async fn a_stop_lets_the_answer_under_way_finish_and_closes_idle_connections() {
    let world = World::new().await;
    let mut idle = tls(&world, &[b"http/1.1"]).await;
    world.origin.hold();
    let target = world.signed(TRACK);
    let playing = get(&world, Via::H2, &target, &[]);
    let stop = async {
        while world.origin.reads() == 0 {
            tokio::task::yield_now().await;
        }
        let mut rest = Vec::new();
        world.edge.begin_stop();
        timeout(SOON, idle.read_to_end(&mut rest)).await.unwrap().unwrap();
        world.origin.release();
    };
    let (got, ()) = tokio::join!(playing, stop);
    assert!(got.whole && got.body == crate::world::track());
    timeout(SOON, world.edge.stop()).await.unwrap();
}
