use crate::client::{EVERY, ask, get};
use crate::world::{JINGLE, MISSING, NOW, TRACK, World};
use antiphon_drm::token::{Grant, UrlKeys};
use http::Method;

#[tokio::test]
async fn a_token_that_does_not_open_the_path_is_refused_by_reason_and_costs_no_io() {
    let world = World::new().await;
    let token = world.token(JINGLE);
    let grant = |change: fn(&mut Grant)| {
        let mut grant = Grant::until(NOW.plus(3600));
        change(&mut grant);
        grant.sign(&world.keys, JINGLE, NOW).unwrap()
    };
    let elsewhere = {
        let mut grant = Grant::until(NOW.plus(3600));
        grant.path_scope = Some("/a/c/692/other/*".into());
        grant.sign(&world.keys, "/a/c/692/other/64.mp4", NOW).unwrap()
    };
    let stranger = UrlKeys::generate("k9", [9; 32], NOW).unwrap();
    let impostor = UrlKeys::generate("k1", [9; 32], NOW).unwrap();
    let by = |keys: &UrlKeys| Grant::until(NOW.plus(3600)).sign(keys, JINGLE, NOW).unwrap();
    let cases = [
        (String::new(), "malformed"),
        ("?st=".to_owned(), "malformed"),
        ("?st=garbage".to_owned(), "malformed"),
        (format!("?st={token}&st={token}"), "malformed"),
        (format!("?st={token}&%73t={token}"), "malformed"),
        (format!("?%73t={token}"), "malformed"),
        (format!("?ST={token}"), "malformed"),
        (format!("?st={token}%zz"), "bad_mac"),
        (format!("?st={token}%ff"), "malformed"),
        (format!("?st={}", token.replace('.', "%252e")), "malformed"),
        (format!("?st={}", "1".repeat(1025)), "malformed"),
        (format!("?st={}", by(&stranger)), "unknown_key"),
        (format!("?st={}", by(&impostor)), "bad_mac"),
        (format!("?st={}", world.token(TRACK)), "bad_mac"),
        (format!("?st={}", grant(|grant| grant.not_before = Some(NOW.plus(600)))), "not_yet"),
        (format!("?st={elsewhere}"), "path"),
        (format!("?st={}", grant(|grant| grant.max_kbps = Some(63))), "rendition"),
        (format!("?st={}", grant(|grant| grant.address = Some("192.0.2.0/24".parse().unwrap()))), "ip"),
        (format!("?st={}", grant(|grant| grant.countries = Some("DE".parse().unwrap()))), "geo"),
        (format!("?st={}", grant(|grant| grant.methods = Some("HEAD".parse().unwrap()))), "method"),
    ];
    for via in EVERY {
        for (query, reason) in &cases {
            let got = get(&world, via, &format!("{JINGLE}{query}"), &[]).await;
            assert_eq!(got.status, 403, "{via:?} {reason}");
            assert_eq!(got.header("edge-token-error"), Some(*reason), "{via:?}");
            assert_eq!(got.header("cache-control"), Some("no-store"));
            assert_eq!(got.header("access-control-allow-origin"), Some("*"));
            assert!(got.header("access-control-expose-headers").unwrap().contains("Edge-Token-Error"));
            assert!(got.body.len() < 100 && !String::from_utf8_lossy(&got.body).contains(&token[..20]));
        }
    }
    assert_eq!(world.origin.reads(), 0);
}

#[tokio::test]
async fn a_token_opens_its_path_however_the_player_spells_the_query() {
    let world = World::new().await;
    let token = world.token(JINGLE);
    for via in EVERY {
        for query in [
            format!("st={token}"),
            format!("st={}", token.replace('.', "%2E")),
            format!("CMCD=bl%3D4000%2Csid%3D%22a%22&st={token}"),
            format!("st={token}&CMCD=bl%3D4000"),
            format!("&&x&st={token}&"),
        ] {
            let got = get(&world, via, &format!("{JINGLE}?{query}"), &[]).await;
            assert_eq!(got.status, 200, "{via:?} {query}");
        }
    }
    assert_eq!(world.origin.reads(), 1, "listeners with different queries share one object");
}

#[tokio::test]
async fn paths_outside_the_grammar_are_400_and_paths_of_nothing_404() {
    let world = World::new().await;
    let token = world.token(JINGLE);
    for via in EVERY {
        for (path, status) in [
            ("/a/c/../c/1/64.mp4", 400),
            ("/a/c//64.mp4", 400),
            ("/a/c/%36%34.mp4", 400),
            ("/a/c/64.mp4;x", 400),
            ("/", 400),
            ("/favicon.ico", 404),
            ("/a/x/692/00000000000000000000000000000001/64.mp4", 404),
            ("/a/c/0692/00000000000000000000000000000001/64.mp4", 404),
            ("/a/c/692/00000000000000000000000000000001/65.mp4", 404),
        ] {
            let got = get(&world, via, &format!("{path}?st={token}"), &[]).await;
            assert_eq!(got.status.as_u16(), status, "{via:?} {path}");
            assert_eq!(got.header("edge-token-error"), None);
        }
        let got = get(&world, via, &world.signed(MISSING), &[]).await;
        assert_eq!(got.status, 404, "{via:?}");
    }
    assert_eq!(
        world.origin.reads(),
        1,
        "only the well-formed path was asked for, and its absence remembered"
    );
}

#[tokio::test]
async fn other_methods_are_405_and_say_what_is_allowed() {
    let world = World::new().await;
    for via in EVERY {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::TRACE] {
            let got = ask(&world, via, method.clone(), &world.signed(JINGLE), &[]).await;
            assert_eq!(got.status, 405, "{via:?} {method}");
            assert_eq!(got.header("allow"), Some("GET, HEAD, OPTIONS"));
        }
    }
    assert_eq!(world.origin.reads(), 0);
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_token() {
    let world = World::new().await;
    for via in EVERY {
        let fields = [
            ("origin", "https://player.example"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "range"),
        ];
        let got = ask(&world, via, Method::OPTIONS, JINGLE, &fields).await;
        assert_eq!((got.status.as_u16(), got.body.len()), (204, 0), "{via:?}");
        assert_eq!(got.header("access-control-allow-origin"), Some("*"));
        assert!(got.header("access-control-allow-headers").unwrap().contains("Range"));
        assert!(got.header("access-control-allow-methods").unwrap().contains("GET"));
    }
}

#[tokio::test]
async fn sizes_are_refused_one_past_their_limit() {
    let world = World::with(|config| {
        config.limits.url_bytes_max = 600;
        config.limits.header_field_bytes_max = 600;
    })
    .await;
    for via in EVERY {
        let target = world.signed(JINGLE);
        let padded = |len: usize| format!("{target}&x={}", "a".repeat(len - target.len() - 3));
        assert_eq!(get(&world, via, &padded(600), &[]).await.status, 200, "{via:?}");
        assert_eq!(get(&world, via, &padded(601), &[]).await.status, 414, "{via:?}");
        assert_eq!(get(&world, via, &target, &[("cookie", &"c".repeat(600))]).await.status, 200, "{via:?}");
        assert_eq!(get(&world, via, &target, &[("cookie", &"c".repeat(601))]).await.status, 431, "{via:?}");
    }
}
