//! How often, how much and how slowly a client may ask.

use crate::world::{Answer, World, body_that_never_comes, refused};
use http::{Method, header};

async fn log_in_badly(world: &World) -> Answer {
    let form = [("grant_type", "password"), ("username", "free"), ("password", "guess")];
    Answer::of(world.ask(Method::POST, "/oauth/token").form(&form)).await
}

#[tokio::test]
async fn passwords_are_not_guessed_quickly() {
    let world = World::with(|config| (config.limits.login_per_sec, config.limits.login_burst) = (1, 3)).await;
    for _ in 0..3 {
        assert_eq!(log_in_badly(&world).await.status, 400);
    }
    let held = log_in_badly(&world).await;
    assert_eq!(held.refusal(), refused(429, "rate_limited"));
    assert_eq!(held.headers[header::RETRY_AFTER], "1");
    world.wind(1);
    assert_eq!(log_in_badly(&world).await.status, 400);
}

#[tokio::test]
async fn an_address_is_held_to_its_rate_whatever_it_asks() {
    let world =
        World::with(|config| (config.limits.address_per_sec, config.limits.address_burst) = (1, 5)).await;
    for path in ["/", "/x", "/api/v1/songs", "/player/config.json", "/"] {
        assert_ne!(Answer::of(world.ask(Method::GET, path)).await.status, 429);
    }
    assert_eq!(Answer::of(world.ask(Method::GET, "/")).await.refusal(), refused(429, "rate_limited"));
    world.wind(5);
    assert_eq!(Answer::of(world.ask(Method::GET, "/")).await.status, 200);
}

#[tokio::test]
async fn a_listener_is_held_to_a_rate_and_others_are_not() {
    let world =
        World::with(|config| (config.limits.listener_per_sec, config.limits.listener_burst) = (1, 2)).await;
    let (free, premium) = (world.log_in("free").await, world.log_in("premium").await);
    let ask = |access: &str| Answer::of(world.ask(Method::GET, "/api/v1/songs").bearer_auth(access));
    assert_eq!((ask(&free).await.status, ask(&free).await.status), (200, 200));
    assert_eq!(ask(&free).await.refusal(), refused(429, "rate_limited"));
    assert_eq!(ask(&premium).await.status, 200);
}

#[tokio::test]
async fn a_body_may_have_16_kib_and_not_a_byte_more() {
    let world = World::new().await;
    let access = world.log_in("free").await;
    let ask = |len: usize| {
        let body = format!("{:len$}", "{}");
        let ask = world.ask(Method::POST, "/api/v1/stream/play").bearer_auth(&access);
        Answer::of(ask.header(header::CONTENT_TYPE, "application/json").body(body))
    };
    assert_eq!(ask(16 * 1024).await.refusal(), refused(400, "invalid_body"));
    assert_eq!(ask(16 * 1024 + 1).await.refusal(), refused(413, "body_too_large"));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let world = World::with(|config| config.limits.body_ms = 20).await;
    let access = world.log_in("free").await;
    let never = body_that_never_comes();
    let ask = world.ask(Method::POST, "/api/v1/stream/play").bearer_auth(&access);
    let answer = Answer::of(ask.header(header::CONTENT_TYPE, "application/json").body(never)).await;
    assert_eq!(answer.refusal(), refused(408, "body_too_slow"));
}
