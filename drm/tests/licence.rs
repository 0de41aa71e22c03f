//! ClearKey licences from outside: what a browser may ask, and the bytes it is told (W3C EME §9.1.4).

#![allow(clippy::unwrap_used, reason = "a test may stop where it is wrong")]

use antiphon_drm::keys::{ContentKey, KeyId};
use antiphon_drm::licence::{ClearKeyAnswer, ClearKeyRequest, KIDS_MAX, LicenceError, REQUEST_LEN_MAX};
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;

/// The request of the W3C's own example (EME §9.1.4, License Request).
const EXAMPLE: &[u8] = br#"{"kids":["LwVHf8JLtPrv2GUXFW2v_A"],"type":"temporary"}"#;

fn kid(n: u8) -> String {
    BASE64URL_NOPAD.encode(&[n; 16])
}

fn request(kids: impl IntoIterator<Item = String>) -> String {
    let kids: Vec<String> = kids.into_iter().map(|kid| format!("\"{kid}\"")).collect();
    format!(r#"{{"kids":[{}],"type":"temporary"}}"#, kids.join(","))
}

fn refusal(body: impl AsRef<[u8]>) -> LicenceError {
    ClearKeyRequest::parse(body.as_ref()).unwrap_err()
}

#[test]
fn the_example_of_the_specification_is_read() {
    let request = ClearKeyRequest::parse(EXAMPLE).unwrap();
    assert_eq!(request.kids().len(), 1);
    assert_eq!(request.kids()[0].to_string(), "2f05477fc24bb4faefd86517156daffc");
}

#[test]
fn a_request_may_leave_the_type_out_and_say_more_than_we_know() {
    for body in [
        format!(r#"{{"kids":["{}"]}}"#, kid(1)),
        format!(r#"{{"kids":["{}"],"type":null}}"#, kid(1)),
        format!(" {{\"nonce\":{{\"a\":[1,2]}},\"type\":\"temporary\",\"kids\":[\"{}\"]}}\n", kid(1)),
        format!(r#"{{"kids":["{}"],"\u0074ype":"temp\u006frary"}}"#, kid(1)),
    ] {
        let request = ClearKeyRequest::parse(body.as_bytes()).unwrap();
        assert_eq!(request.kids(), [KeyId::from_bytes([1; 16])], "{body}");
    }
}

#[test]
fn a_key_id_asked_twice_is_asked_once() {
    let request = ClearKeyRequest::parse(request([kid(1), kid(2), kid(1)]).as_bytes()).unwrap();
    assert_eq!(request.kids(), [KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16])]);
}

#[test]
fn a_licence_to_keep_is_refused_by_name() {
    let body = |kind: &str| format!(r#"{{"kids":["{}"],"type":"{kind}"}}"#, kid(1));
    assert_eq!(refusal(body("persistent-license")), LicenceError::Persistent);
    assert!(refusal(body("persistent-license")).to_string().contains("persistent-license"));
    for kind in ["", "Temporary", "temporary ", "persistent-usage-record"] {
        assert_eq!(refusal(body(kind)), LicenceError::UnknownType, "{kind}");
    }
}

#[test]
fn a_request_is_bounded_in_bytes_and_key_ids() {
    let at_limit = request((0..KIDS_MAX).map(|n| kid(u8::try_from(n).unwrap())));
    assert_eq!(ClearKeyRequest::parse(at_limit.as_bytes()).unwrap().kids().len(), KIDS_MAX);
    let past_limit = request((0..=KIDS_MAX).map(|n| kid(u8::try_from(n).unwrap())));
    assert_eq!(refusal(past_limit), LicenceError::TooManyKids { count: KIDS_MAX + 1 });
    let mut padded = EXAMPLE.to_vec();
    padded.resize(REQUEST_LEN_MAX, b' ');
    assert!(ClearKeyRequest::parse(&padded).is_ok());
    padded.push(b' ');
    assert_eq!(refusal(padded), LicenceError::TooLong { len: REQUEST_LEN_MAX + 1 });
    assert_eq!(refusal(r#"{"kids":[]}"#), LicenceError::NoKids);
}

#[test]
fn a_key_id_has_16_bytes_and_one_spelling() {
    let good = kid(1);
    for bad in [
        String::new(),
        good[1..].to_owned(),
        format!("{good}=="),
        format!("{good}AA"),
        good.replace("AQ", "+/"),
        format!("{}R", &good[..good.len() - 1]),
        "00000000-0000-0000-0000-000000000000".to_owned(),
    ] {
        assert_eq!(refusal(request([kid(0), bad.clone()])), LicenceError::BadKid { index: 1 }, "{bad}");
    }
}

#[test]
fn a_body_that_is_no_request_is_refused_with_its_place() {
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "{\"kids\":\"a\"}",
        "{\"kids\":[1]}",
        "{\"kids\":[null]}",
        "{\"kids\":{}}",
        "{\"kids\":[],\"kids\":[]}",
        "{\"type\":\"temporary\"}",
        "{\"kids\":[]} x",
        "{\"kids\":[],\"type\":1}",
        "{\"kids\":[\"a\\ud800\"]}",
    ] {
        let error = refusal(body);
        assert!(matches!(error, LicenceError::Json(_)), "{body}: {error}");
        assert!(error.to_string().contains("line"), "{body}: {error}");
    }
    assert!(matches!(refusal(b"{\"kids\":[\"\xff\"]}"), LicenceError::Json(_)));
    assert!(matches!(refusal("[".repeat(REQUEST_LEN_MAX)), LicenceError::Json(_)));
    let deep = format!(r#"{{"x":{}"#, "[".repeat(8000));
    assert!(matches!(refusal(deep), LicenceError::Json(_)));
}

#[test]
fn an_answer_is_the_key_set_that_browsers_read() {
    let keys = [1_u8, 2].map(|n| (KeyId::from_bytes([n; 16]), ContentKey::from_bytes([n + 16; 16])));
    assert_eq!(
        *ClearKeyAnswer::new(keys).to_json(),
        concat!(
            r#"{"keys":[{"kty":"oct","kid":"AQEBAQEBAQEBAQEBAQEBAQ","k":"EREREREREREREREREREREQ"},"#,
            r#"{"kty":"oct","kid":"AgICAgICAgICAgICAgICAg","k":"EhISEhISEhISEhISEhISEg"}],"type":"temporary"}"#
        )
    );
    assert_eq!(*ClearKeyAnswer::new([]).to_json(), r#"{"keys":[],"type":"temporary"}"#);
}

#[test]
fn an_answer_does_not_print_its_keys() {
    let answer = ClearKeyAnswer::new([(KeyId::from_bytes([1; 16]), ContentKey::from_bytes([0x5a; 16]))]);
    let printed = format!("{answer:?}");
    assert!(printed.contains("hidden") && !printed.contains("90"), "{printed}");
}

proptest! {
    #[test]
    fn what_a_player_asks_is_understood(kids in proptest::collection::btree_set(any::<[u8; 16]>(), 1..=KIDS_MAX)) {
        let asked: Vec<KeyId> = kids.into_iter().map(KeyId::from_bytes).collect();
        let body = request(asked.iter().map(|kid| BASE64URL_NOPAD.encode(kid.as_bytes())));
        let parsed = ClearKeyRequest::parse(body.as_bytes()).unwrap();
        prop_assert_eq!(parsed.kids(), asked);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = ClearKeyRequest::parse(&body);
    }

    #[test]
    fn no_json_makes_the_parser_panic(body in r#"\{("(kids|type|x)":(\[("[A-Za-z0-9_=-]{0,24}",?){0,3}\]|"temporary"|1),?){0,3}\}"#) {
        let _ = ClearKeyRequest::parse(body.as_bytes());
    }

    #[test]
    fn an_answer_holds_each_key_in_json(keys in proptest::collection::vec(any::<([u8; 16], [u8; 16])>(), 0..20)) {
        let answer = ClearKeyAnswer::new(
            keys.iter().map(|(id, key)| (KeyId::from_bytes(*id), ContentKey::from_bytes(*key))),
        );
        let json: serde_json::Value = serde_json::from_str(&answer.to_json()).unwrap();
        prop_assert_eq!(&json["type"], "temporary");
        let told = json["keys"].as_array().unwrap();
        prop_assert_eq!(told.len(), keys.len());
        for (told, (id, key)) in told.iter().zip(&keys) {
            prop_assert_eq!(&told["kty"], "oct");
            prop_assert_eq!(told["kid"].as_str().unwrap(), BASE64URL_NOPAD.encode(id));
            prop_assert_eq!(told["k"].as_str().unwrap(), BASE64URL_NOPAD.encode(key));
        }
    }
}
