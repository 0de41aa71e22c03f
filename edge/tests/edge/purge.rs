//! Purges and explanations through the admin listener of a running edge.

use crate::admin::{page, page_with};
use crate::client::{Via, get};
use crate::world::{JINGLE, World};

const ORDER: (&str, &str) = ("antiphon-order", "purge");

#[tokio::test]
async fn a_purged_object_is_asked_for_again() {
    let world = World::new().await;
    let hear = || async { get(&world, Via::H1, &world.signed(JINGLE), &[]).await.status.as_u16() };
    for (reads, purge) in
        [(1, format!("/cache/purge/hard/object{JINGLE}")), (2, "/cache/purge/hard/everything".to_owned())]
    {
        assert_eq!((hear().await, hear().await, world.origin.reads()), (200, 200, reads));
        let (status, said) = page_with(&world, "POST", &purge, &[ORDER]).await;
        assert!(status == 200 && said.starts_with("purged: "), "{status} {said}");
    }
    assert_eq!((hear().await, world.origin.reads()), (200, 3));
}

#[tokio::test]
async fn purges_are_orders_and_what_names_nothing_is_refused() {
    let world = World::new().await;
    let everything = "/cache/purge/hard/everything";
    assert_eq!(page(&world, "POST", everything).await.0, 403);
    assert_eq!(page_with(&world, "GET", everything, &[ORDER]).await.0, 405);
    for purge in ["/cache/purge", "/cache/purge/hard/object/a", "/cache/purge/hard/tag/"] {
        assert_eq!(page_with(&world, "POST", purge, &[ORDER]).await.0, 404, "{purge}");
    }
}

#[tokio::test]
async fn an_object_is_explained_to_whoever_asks_why() {
    let world = World::new().await;
    let explain = format!("/cache/objects{JINGLE}");
    assert!(page(&world, "GET", &explain).await.1.contains("\"verdict\": \"unknown\""));
    get(&world, Via::H1, &world.signed(JINGLE), &[]).await;
    let (status, said) = page(&world, "GET", &explain).await;
    assert!(
        status == 200 && said.contains("\"verdict\": \"fresh\"") && said.contains("\"place\": \"ram\""),
        "{said}"
    );
    assert_eq!(page(&world, "GET", "/cache/objects/a/b").await.0, 404);
    assert_eq!(page(&world, "POST", &explain).await.0, 405);
}
