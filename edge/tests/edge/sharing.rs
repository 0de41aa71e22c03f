use crate::client::{Via, get};
use crate::world::{JINGLE, TRACK, World, song};
use futures_util::future::join_all;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_listeners_of_one_cold_chunk_cost_the_origin_one_request() {
    let world = World::new().await;
    world.origin.hold();
    let target = world.signed(JINGLE);
    let asking = join_all((0..100).map(|n| {
        let via = if n % 2 == 0 { Via::H1 } else { Via::H2 };
        get(&world, via, &target, &[])
    }));
    let release = async {
        while world.origin.reads() == 0 || world.edge.edge().cache().stats().hits > 0 {
            tokio::task::yield_now().await;
        }
        world.origin.release();
    };
    let (replies, ()) = tokio::join!(asking, release);
    assert!(replies.iter().all(|got| got.status == 200 && got.whole && got.body == song(1000)));
    assert_eq!(world.origin.reads(), 1);
}

#[tokio::test]
async fn nothing_of_a_listener_reaches_the_origin() {
    let world = World::new().await;
    let target = format!("{}&CMCD=sid%3D%22x%22", world.signed(TRACK));
    let fields =
        [("cookie", "id=7"), ("referer", "https://a.example/?st=1.k1.a.b"), ("user-agent", "player")];
    assert_eq!(get(&world, Via::H1, &target, &fields).await.status, 200);
    for seen in world.origin.seen() {
        assert_eq!(seen.line.split(' ').nth(1), Some(TRACK));
        let fields = seen.fields.join("\n").to_lowercase();
        assert!(fields.contains("authorization: bearer "), "{fields}");
        for secret in ["st=", "cmcd", "cookie", "referer", "player", "127.0.0.1:0", "usr-9f2c", "forwarded"] {
            assert!(!fields.contains(secret), "{secret} in {fields}");
        }
    }
}
