use crate::client::{Via, get};
use crate::world::{JINGLE, World};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub async fn page(world: &World, method: &str, path: &str) -> (u16, String) {
    page_with(world, method, path, &[]).await
}

pub async fn page_with(world: &World, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let tcp = TcpStream::connect(world.edge.admin_address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path);
    let given_host = headers.iter().any(|(name, _)| *name == "host");
    let request = if given_host { request } else { request.header("host", "127.0.0.1") };
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn health_readiness_and_metrics_are_there_and_nothing_else() {
    let world = World::new().await;
    assert_eq!(page(&world, "GET", "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(page(&world, "GET", "/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(page(&world, "GET", "/a").await.0, 404);
    assert_eq!(page(&world, "POST", "/healthz").await.0, 405);
}

#[tokio::test]
async fn metrics_count_requests_bytes_and_refusals_and_name_no_listener() {
    let world = World::new().await;
    get(&world, Via::H1, &world.signed(JINGLE), &[]).await;
    get(&world, Via::H2, &world.signed(JINGLE), &[("range", "bytes=0-9")]).await;
    get(&world, Via::H2, &format!("{JINGLE}?st=x"), &[]).await;
    let (status, text) = page(&world, "GET", "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "edge_requests_total{class=\"2xx\",proto=\"h1\"} 1",
        "edge_requests_total{class=\"2xx\",proto=\"h2\"} 1",
        "edge_requests_total{class=\"4xx\",proto=\"h2\"} 1",
        "edge_refusals_total{reason=\"malformed\"} 1",
        "edge_upstream_fetches_total{outcome=\"ok\"} 1",
        "edge_cache_answers_total{how=\"miss\"} 1",
        "edge_cache_answers_total{how=\"hit\"} 1",
        "edge_bytes_total{source=\"ram\"} 10",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    for secret in ["usr-9f2c", "sess-01HZX", "4f1c0d2e", &world.token(JINGLE)[..30]] {
        assert!(!text.contains(secret), "{secret}");
    }
}
