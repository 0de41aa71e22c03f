use crate::client::{EVERY, Via, get};
use crate::origin::Manner;
use crate::world::{JINGLE, TRACK, World, song, track};

#[tokio::test]
async fn an_origin_that_lies_is_a_502_and_never_bytes() {
    // The last bytes of the second chunk.
    let range = [("range", "bytes=524188-524287")];
    let right = &track()[524_188..=524_287];
    for manner in [
        Manner::ShiftedRange,
        Manner::WrongTag,
        Manner::NoTag,
        Manner::NotHttp,
        Manner::ShortBody,
        Manner::WrongBytes,
        Manner::Status(500),
        Manner::Status(401),
        Manner::Status(302),
        Manner::Status(204),
    ] {
        let world = World::new().await;
        world.origin.behaves(manner);
        for via in EVERY {
            let got = get(&world, via, &world.signed(TRACK), &range).await;
            if got.status == 206 {
                // What had come in time was right, and the client can tell that it is not all.
                assert!(
                    !got.whole && got.body.len() < 100 && right.starts_with(&got.body),
                    "{via:?} {manner:?}"
                );
                continue;
            }
            assert_eq!(got.status, 502, "{via:?} {manner:?}");
            assert_eq!(got.header("cache-control"), Some("no-store"));
        }
        world.origin.behaves(Manner::Honest);
        let got = get(&world, Via::H1, &world.signed(TRACK), &range).await;
        assert_eq!((got.status.as_u16(), &got.body[..]), (206, right), "nothing of {manner:?} stays");
    }
}

#[tokio::test]
async fn the_range_is_cut_out_of_a_whole_object_if_the_origin_knows_no_ranges() {
    let world = World::new().await;
    world.origin.behaves(Manner::WholeAlways);
    let got = get(&world, Via::H1, &world.signed(TRACK), &[("range", "bytes=300000-300099")]).await;
    assert_eq!((got.status.as_u16(), &got.body[..]), (206, &track()[300_000..=300_099]));
    let got = get(&world, Via::H1, &world.signed(JINGLE), &[("range", "bytes=0-99")]).await;
    assert_eq!((got.status.as_u16(), got.body == song(1000)[..100]), (206, true));
}

#[tokio::test]
async fn an_origin_that_is_busy_away_or_silent_is_a_503_or_504_with_a_time_to_come_back() {
    let world = World::with(|config| config.upstream.first_byte_ms = 200).await;
    for via in EVERY {
        for (manner, status) in [(Manner::Status(503), 503), (Manner::Closes(9), 503), (Manner::Silent, 504)]
        {
            world.origin.behaves(manner);
            let got = get(&world, via, &world.signed(JINGLE), &[]).await;
            assert_eq!(got.status.as_u16(), status, "{via:?} {manner:?}");
            assert_eq!(got.header("retry-after"), Some("1"), "{via:?} {manner:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_closed_under_a_request_is_tried_once_more() {
    let world = World::new().await;
    world.origin.behaves(Manner::Closes(1));
    let got = get(&world, Via::H1, &world.signed(JINGLE), &[]).await;
    assert_eq!((got.status.as_u16(), got.body), (200, song(1000)));
    assert_eq!(world.origin.reads(), 2);
}

#[tokio::test]
async fn no_origin_at_all_is_a_503() {
    let world = World::with(|config| config.upstream.url = "http://127.0.0.1:1".to_owned()).await;
    for via in EVERY {
        let got = get(&world, via, &world.signed(JINGLE), &[]).await;
        assert_eq!(got.status, 503, "{via:?}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_finished_is_broken_off_not_ended() {
    let world = World::with(|config| {
        config.upstream.stall_ms = 200;
        config.cache.stall_ms = 200;
        config.cache.fetch_max_bytes = antiphon_core::ByteSize::kib(256);
    })
    .await;
    for via in EVERY {
        let got = get(&world, via, &world.signed(TRACK), &[("range", "bytes=0-99")]).await;
        assert_eq!(got.status, 206);
        world.origin.behaves(Manner::StallsHalfWay);
        let got = get(&world, via, &world.signed(TRACK), &[]).await;
        assert_eq!(got.status, 200, "{via:?}: the first chunk is in memory");
        assert!(!got.whole && got.body.len() < track().len(), "{via:?}");
        assert!(track().starts_with(&got.body), "{via:?}: what came is right");
        world.origin.behaves(Manner::Honest);
    }
}

#[tokio::test]
async fn an_https_origin_is_asked_if_its_certificate_is_trusted() {
    let world = World::over_tls(|_| {}).await;
    let got = get(&world, Via::H1, &world.signed(JINGLE), &[]).await;
    assert_eq!((got.status.as_u16(), got.body), (200, song(1000)));

    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let world = World::over_tls(|config| {
        config.upstream.ca_file = config.tls.cert_file.with_file_name("other.pem");
        std::fs::write(&config.upstream.ca_file, stranger.cert.pem()).unwrap();
    })
    .await;
    let got = get(&world, Via::H1, &world.signed(JINGLE), &[]).await;
    assert_eq!(got.status, 503);
    assert_eq!(world.origin.reads(), 0, "not even a path is told to a stranger");
}
