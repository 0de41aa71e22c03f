//! `GET /`, `/player/*`.

use crate::world::{Answer, World, refused};
use http::{Method, header};
use serde_json::json;

#[tokio::test]
async fn the_page_and_its_files_come_with_strict_headers() {
    let world = World::new().await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/player/player.js", "text/javascript; charset=utf-8"),
        ("/player/style.css", "text/css; charset=utf-8"),
        ("/player/icon.svg", "image/svg+xml"),
    ] {
        let answer = Answer::of(world.ask(Method::GET, path)).await;
        assert_eq!(
            (answer.status, &answer.headers[header::CONTENT_TYPE]),
            (200, &kind.parse().unwrap()),
            "{path}"
        );
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(answer.headers[header::REFERRER_POLICY], "no-referrer");
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'; ") && !policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test]
async fn a_page_that_is_known_is_not_sent_again() {
    let world = World::new().await;
    let first = Answer::of(world.ask(Method::GET, "/")).await;
    let etag = first.headers[header::ETAG].to_str().unwrap();
    for known in [etag.to_owned(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let again = Answer::of(world.ask(Method::GET, "/").header(header::IF_NONE_MATCH, &known)).await;
        assert_eq!((again.status, again.text.len()), (304, 0), "{known}");
        assert_eq!(again.headers[header::ETAG], etag);
    }
    let other = Answer::of(world.ask(Method::GET, "/").header(header::IF_NONE_MATCH, "\"x\"")).await;
    assert_eq!((other.status, other.text), (200, first.text));
}

#[tokio::test]
async fn the_page_learns_where_the_edge_is_and_who_may_try() {
    let world = World::new().await;
    let config = Answer::of(world.ask(Method::GET, "/player/config.json")).await.json();
    let listeners = json!([{"name": "free", "tier": "free"}, {"name": "premium", "tier": "premium"}]);
    assert_eq!(config, json!({"edge_url": "https://localhost:8443", "demo_listeners": listeners}));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let world = World::new().await;
    for path in ["/x", "/player/", "/player/x.js", "/player/..%2fCargo.toml", "/player/tests/x.js"] {
        assert_eq!(
            Answer::of(world.ask(Method::GET, path)).await.refusal(),
            refused(404, "not_found"),
            "{path}"
        );
    }
    let wrong = Answer::of(world.ask(Method::DELETE, "/api/v1/stream/play")).await;
    assert_eq!(wrong.refusal(), refused(405, "method_not_allowed"));
    assert_eq!(wrong.headers[header::ALLOW], "POST");
    let head = Answer::of(world.ask(Method::HEAD, "/")).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}
