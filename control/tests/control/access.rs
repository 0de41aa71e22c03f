//! Access tokens that are not good: every endpoint of the API refuses them alike.

use crate::world::{Answer, World, refused, song_id};
use data_encoding::BASE64URL_NOPAD;
use http::{Method, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value as Json, json};

const ENDPOINTS: [(Method, &str); 4] = [
    (Method::GET, "/api/v1/songs"),
    (Method::GET, "/api/v1/songs/song_0505050505050505"),
    (Method::POST, "/api/v1/stream/play"),
    (Method::POST, "/api/v1/stream/progress"),
];

/// Asks every endpoint; all must answer the same.
async fn everywhere(world: &World, authorization: Option<&str>) -> (u16, String, String) {
    let mut answers = Vec::new();
    for (method, path) in ENDPOINTS {
        let ask = world.ask(method, path).header(header::CONTENT_TYPE, "application/json").body("{}");
        let ask = match authorization {
            Some(value) => ask.header(header::AUTHORIZATION, value),
            None => ask,
        };
        let answer = Answer::of(ask).await;
        let challenge = answer.headers[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned();
        answers.push((answer.status, answer.code(), challenge));
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
    answers.remove(0)
}

async fn assert_invalid(world: &World, token: &str) {
    let (status, code, challenge) = everywhere(world, Some(&format!("Bearer {token}"))).await;
    assert_eq!((status, code.as_str()), (401, "invalid_token"), "{token}");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

fn claims(world: &World) -> Json {
    let now = world.now().0;
    json!({
        "iss": "antiphon", "aud": "antiphon-api", "sub": "demo-premium", "tier": "premium",
        "iat": now, "nbf": now, "exp": now + 3600,
    })
}

#[tokio::test]
async fn no_token_is_a_challenge() {
    let world = World::new().await;
    let (status, code, challenge) = everywhere(&world, None).await;
    assert_eq!(
        (status, code.as_str(), challenge.as_str()),
        (401, "unauthorized", "Bearer realm=\"antiphon\"")
    );
}

#[tokio::test]
async fn another_scheme_or_half_a_header_is_refused() {
    let world = World::new().await;
    let good = world.log_in("free").await;
    for authorization in ["Basic ZnJlZTpsaXN0ZW4=", "Bearer", "Bearer  ", &good, &format!("Token {good}")] {
        let (status, code, _) = everywhere(&world, Some(authorization)).await;
        assert_eq!((status, code.as_str()), (401, "invalid_token"), "{authorization}");
    }
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let world = World::new().await;
    let good = world.log_in("free").await;
    let parts: Vec<&str> = good.split('.').collect();
    let claims = claims(&world);
    let payload = BASE64URL_NOPAD.encode(claims.to_string().as_bytes());

    // A payload of one's own under the old signature, and under no signature at all.
    assert_invalid(&world, &format!("{}.{payload}.{}", parts[0], parts[2])).await;
    for header in [r#"{"alg":"none","typ":"JWT"}"#, r#"{"alg":"NONE"}"#, r#"{"typ":"JWT"}"#, "{}"] {
        let header = BASE64URL_NOPAD.encode(header.as_bytes());
        assert_invalid(&world, &format!("{header}.{payload}.")).await;
        assert_invalid(&world, &format!("{header}.{payload}.{}", parts[2])).await;
    }
    // Well-known and guessed keys.
    for key in [&b""[..], b"secret", &[0; 32], b"listen"] {
        let forged = encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(key)).unwrap();
        assert_invalid(&world, &forged).await;
    }
    // Other spellings of a good one.
    for odd in [format!("{good}="), format!("{good}."), format!(".{good}"), good.replace('.', "..")] {
        assert_invalid(&world, &odd).await;
    }
    assert_invalid(&world, &"A".repeat(5000)).await;
}

#[tokio::test]
async fn the_algorithm_is_pinned_even_under_the_right_key() {
    let world = World::new().await;
    let text = std::fs::read_to_string(world.folder().join("data/access-token.key")).unwrap();
    let key = EncodingKey::from_secret(&data_encoding::HEXLOWER.decode(text.trim().as_bytes()).unwrap());
    let signed = |algorithm, claims: &Json| encode(&Header::new(algorithm), claims, &key).unwrap();

    let good = signed(Algorithm::HS256, &claims(&world));
    let answer = Answer::of(world.ask(Method::GET, "/api/v1/songs").bearer_auth(&good)).await;
    assert_eq!(answer.status, 200, "the key and the claims are right: {}", answer.text);

    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        assert_invalid(&world, &signed(algorithm, &claims(&world))).await;
    }
    for (claim, value) in [
        ("aud", json!("antiphon-licence")),
        ("aud", json!(["antiphon-api", "elsewhere"])),
        ("iss", json!("https://accounts.example")),
        ("tier", json!("gold")),
        ("sub", json!("a b")),
        ("exp", json!("tomorrow")),
        ("exp", json!(-1)),
        ("nbf", json!(world.now().0 + 31)),
    ] {
        let mut claims = claims(&world);
        claims[claim] = value;
        assert_invalid(&world, &signed(Algorithm::HS256, &claims)).await;
    }
    for claim in ["aud", "iss", "exp", "nbf", "sub", "tier"] {
        let mut claims = claims(&world);
        claims.as_object_mut().unwrap().remove(claim);
        assert_invalid(&world, &signed(Algorithm::HS256, &claims)).await;
    }
}

#[tokio::test]
async fn a_token_ends_with_its_hour_and_the_leeway() {
    let world = World::new().await;
    let token = format!("Bearer {}", world.log_in("free").await);
    let ask = || world.ask(Method::GET, "/api/v1/songs").header(header::AUTHORIZATION, &token);
    world.wind(3600 + 29);
    assert_eq!(Answer::of(ask()).await.status, 200);
    world.wind(1);
    let (status, code, challenge) = everywhere(&world, Some(&token)).await;
    assert_eq!((status, code.as_str()), (401, "token_expired"));
    assert!(challenge.contains("error=\"invalid_token\""));
}

#[tokio::test]
async fn a_clock_that_jumps_back_makes_a_401_and_no_5xx() {
    let world = World::new().await;
    world.add_song().await;
    let token = world.log_in("free").await;
    world.wind_back(86_400);
    let (status, code, _) = everywhere(&world, Some(&format!("Bearer {token}"))).await;
    assert_eq!((status, code.as_str()), (401, "invalid_token"));
}

#[tokio::test]
async fn an_entitlement_opens_no_api() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("premium").await;
    let drm_token = world.play(&access, "high").await["drm_token"].as_str().unwrap().to_owned();
    assert_invalid(&world, &drm_token).await;
}

#[tokio::test]
async fn tokens_outlive_a_restart() {
    let world = World::new().await;
    world.add_song().await;
    let access = world.log_in("free").await;
    let session = world.play(&access, "normal").await["session_id"].clone();

    let world = world.restart().await;

    let report = json!({"session_id": session, "song_id": song_id(), "position": 1, "duration_played": 1});
    assert_eq!(world.progress(&access, &report).await.status, 204);
    let unknown =
        json!({"session_id": "session_x", "song_id": song_id(), "position": 1, "duration_played": 1});
    assert_eq!(world.progress(&access, &unknown).await.refusal(), refused(404, "unknown_session"));
}
