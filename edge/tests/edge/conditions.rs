use crate::client::{EVERY, ask, get};
use crate::origin::LAST_MODIFIED;
use crate::world::{JINGLE, World, song};
use http::Method;

const TAG: &str = "\"000000000000-64-c692\"";

#[tokio::test]
async fn conditions_decide_between_bytes_304_and_412() {
    let world = World::new().await;
    for via in EVERY {
        for (fields, status) in [
            (&[("if-none-match", TAG)][..], 304),
            (&[("if-none-match", "W/\"000000000000-64-c692\"")], 304),
            (&[("if-none-match", "*")], 304),
            (&[("if-none-match", "\"other\"")], 200),
            (&[("if-match", TAG)], 200),
            (&[("if-match", "\"other\"")], 412),
            (&[("if-modified-since", LAST_MODIFIED)], 304),
            (&[("if-modified-since", "not a date")], 200),
            (&[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT")], 412),
            (&[("if-none-match", TAG), ("range", "bytes=0-9")], 304),
            (&[("if-match", TAG), ("range", "bytes=0-9")], 206),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let want = if method == Method::HEAD && status == 206 { 200 } else { status };
                let got = ask(&world, via, method.clone(), &world.signed(JINGLE), fields).await;
                assert_eq!(got.status.as_u16(), want, "{via:?} {method} {fields:?}");
                if status == 304 {
                    assert_eq!(got.header("etag"), Some(TAG));
                    assert_eq!(got.header("content-length"), None);
                    assert_eq!(got.body.len(), 0);
                }
            }
        }
    }
}

#[tokio::test]
async fn if_range_gives_the_part_of_the_same_version_and_the_whole_of_another() {
    let world = World::new().await;
    for via in EVERY {
        for (validator, status) in [
            (TAG, 206),
            (LAST_MODIFIED, 206),
            ("\"other\"", 200),
            ("W/\"000000000000-64-c692\"", 200),
            ("Sun, 06 Nov 1994 08:49:38 GMT", 200),
        ] {
            let fields = [("range", "bytes=10-19"), ("if-range", validator)];
            let got = get(&world, via, &world.signed(JINGLE), &fields).await;
            assert_eq!(got.status.as_u16(), status, "{via:?} {validator}");
            let bytes = song(1000);
            assert_eq!(got.body, if status == 206 { &bytes[10..20] } else { &bytes[..] });
        }
    }
}
