use crate::client::{EVERY, ask, get};
use crate::origin::{LAST_MODIFIED, slice};
use crate::world::{EMPTY, JINGLE, MISSING, TRACK, World, song, track};
use antiphon_core::range::RangeHeader;
use http::Method;

#[tokio::test]
async fn every_kind_of_single_range_is_the_bytes_of_the_object() {
    let world = World::new().await;
    let bytes = track();
    let len = bytes.len();
    for via in EVERY {
        for range in [
            "bytes=0-0".to_owned(),
            "bytes=0-99".to_owned(),
            "bytes=262143-262144".to_owned(),
            "bytes=100000-800000".to_owned(),
            format!("bytes={}-", len - 1),
            "bytes=500000-".to_owned(),
            "bytes=-1".to_owned(),
            "bytes=-300000".to_owned(),
            "bytes=0-99999999999999999999999".to_owned(),
            format!("bytes=-{}", len * 2),
        ] {
            let RangeHeader::One(spec) = RangeHeader::parse(&range) else { panic!("{range}") };
            let got = get(&world, via, &world.signed(TRACK), &[("range", &range)]).await;
            assert_eq!(got.status, 206, "{via:?} {range}");
            assert!(got.whole && got.body == slice(&bytes, spec), "{via:?} {range}");
            let span = spec.resolve(len as u64).unwrap();
            let want = format!("bytes {}-{}/{len}", span.start(), span.end() - 1);
            assert_eq!(got.header("content-range"), Some(want.as_str()), "{via:?} {range}");
            assert_eq!(got.header("content-length"), Some(span.len().to_string().as_str()));
        }
    }
}

#[tokio::test]
async fn without_a_usable_range_the_whole_object_comes() {
    let world = World::new().await;
    for via in EVERY {
        for fields in [
            &[][..],
            &[("range", "bytes=0-1,4-5")],
            &[("range", "items=0-1")],
            &[("range", "bytes=5-1")],
            &[("range", "bytes=0-1"), ("range", "bytes=2-3")],
        ] {
            let got = get(&world, via, &world.signed(TRACK), fields).await;
            assert_eq!(got.status, 200, "{via:?} {fields:?}");
            assert!(got.body == track(), "{via:?} {fields:?}");
        }
    }
}

#[tokio::test]
async fn a_range_past_the_end_is_a_416_that_tells_the_length() {
    let world = World::new().await;
    for via in EVERY {
        for (path, range, total) in [
            (JINGLE, "bytes=1000-", "bytes */1000"),
            (JINGLE, "bytes=5000-6000", "bytes */1000"),
            (JINGLE, "bytes=-0", "bytes */1000"),
            (EMPTY, "bytes=0-", "bytes */0"),
        ] {
            let got = get(&world, via, &world.signed(path), &[("range", range)]).await;
            assert_eq!(got.status, 416, "{via:?} {range}");
            assert_eq!(got.header("content-range"), Some(total));
        }
    }
}

#[tokio::test]
async fn an_answer_carries_what_players_and_caches_need() {
    let world = World::new().await;
    for via in EVERY {
        let got = get(&world, via, &world.signed(JINGLE), &[]).await;
        for (name, value) in [
            ("content-type", "audio/mp4"),
            ("etag", "\"000000000000-64-c692\""),
            ("last-modified", LAST_MODIFIED),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("accept-ranges", "bytes"),
            ("access-control-allow-origin", "*"),
            ("timing-allow-origin", "*"),
            ("content-length", "1000"),
        ] {
            assert_eq!(got.header(name), Some(value), "{via:?} {name}");
        }
        let exposed = got.header("access-control-expose-headers").unwrap();
        for name in
            ["Content-Range", "Content-Length", "ETag", "CMSD-Static", "CMSD-Dynamic", "Edge-Token-Error"]
        {
            assert!(exposed.contains(name), "{name}");
        }
        assert!(got.header("date").is_some() && got.header("vary").is_none());
    }
}

#[tokio::test]
async fn cache_status_says_where_the_first_bytes_came_from() {
    let world = World::new().await;
    for via in EVERY {
        let first = get(&world, via, &world.signed(JINGLE), &[]).await;
        let want = if via == EVERY[0] { "antiphon; fwd=miss; stored" } else { "antiphon; hit; detail=ram" };
        assert_eq!(first.header("cache-status"), Some(want));
    }
}

#[tokio::test]
async fn head_is_a_get_without_its_bytes() {
    let world = World::new().await;
    for via in EVERY {
        let got = ask(&world, via, Method::HEAD, &world.signed(TRACK), &[("range", "bytes=0-9")]).await;
        assert_eq!((got.status.as_u16(), got.body.len()), (200, 0), "{via:?}");
        assert_eq!(got.header("content-length"), Some(track().len().to_string().as_str()));
        assert_eq!(got.header("etag"), Some("\"4f1c0d2e9b7a-256-c692\""));
        let missing = ask(&world, via, Method::HEAD, &world.signed(MISSING), &[]).await;
        assert_eq!((missing.status.as_u16(), missing.body.len()), (404, 0));
    }
}

#[tokio::test]
async fn an_empty_object_is_a_200_without_bytes() {
    let world = World::new().await;
    for via in EVERY {
        let got = get(&world, via, &world.signed(EMPTY), &[]).await;
        assert_eq!((got.status.as_u16(), got.body.len(), got.whole), (200, 0, true), "{via:?}");
        assert_eq!(got.header("content-length"), Some("0"));
    }
}

#[tokio::test]
async fn after_a_restart_the_same_bytes_come() {
    let world = World::new().await;
    let first = get(&world, EVERY[0], &world.signed(JINGLE), &[]).await;
    let world = world.restart().await;
    let second = get(&world, EVERY[1], &world.signed(JINGLE), &[]).await;
    assert_eq!(first.body, song(1000));
    assert_eq!(second.body, first.body);
    assert_eq!(world.origin.reads(), 2);
}
