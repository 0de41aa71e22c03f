//! Stream tokens from outside: what opens, what is refused, and by which word (MEDIA.md §6.1).

#![allow(clippy::unwrap_used, reason = "a test may stop where it is wrong")]

use antiphon_core::UnixTime;
use antiphon_drm::token::{
    Grant, KEY_LIFE_AFTER_ROTATION_SECS, SKEW_SECS, SignError, TOKEN_LEN_MAX, Token, TokenError,
    TokenRequest, URL_KEYS_MAX, UrlKeys, UrlKeysError, Verified,
};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use std::net::IpAddr;

const NOW: UnixTime = UnixTime(1_800_000_000);
const PATH: &str = "/a/c/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/128.mp4";
const SCOPE: &str = "/a/c/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/*";

/// The key of all tokens here: bytes 64 to 95.
fn secret() -> [u8; 32] {
    std::array::from_fn(|i| 64 + u8::try_from(i).unwrap())
}

fn keys() -> UrlKeys {
    UrlKeys::generate("spring", secret(), UnixTime(1_000_000)).unwrap()
}

fn request(path: &str) -> TokenRequest<'_> {
    TokenRequest { path, kbps: Some(128), country: None, address: None, method: "GET" }
}

/// Signs any payload, well-formed or not, as a signer with the right key and no manners would.
fn signed(payload: &str, path_under_mac: &str) -> String {
    let head = format!("1.spring.{}", BASE64URL_NOPAD.encode(payload.as_bytes()));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&secret()).unwrap();
    mac.update(format!("edge-st/1\n{head}\n{path_under_mac}").as_bytes());
    format!("{head}.{}", BASE64URL_NOPAD.encode(&mac.finalize().into_bytes()))
}

/// The word for `payload`, properly signed and held against `request` at `now`.
fn word_at(payload: &str, request: &TokenRequest<'_>, now: UnixTime) -> &'static str {
    let scoped = payload.split('~').any(|field| field.starts_with("p="));
    let token = signed(payload, if scoped { "" } else { request.path });
    word(Token::check(&token, &keys(), request, now))
}

fn word(verdict: Result<Token<Verified>, TokenError>) -> &'static str {
    verdict.map_or_else(|error| error.reason(), |_| "ok")
}

fn word_of(payload: &str) -> &'static str {
    word_at(payload, &request(PATH), NOW)
}

#[test]
fn tokens_of_the_reference_signer_open_and_tell_their_claims() {
    let plain = "1.spring.eD0xOTAwMDAwMDAw.DPYfj0sU78aXje9-W1R7vLNxVpkERYdWoQxLOSBAm_8";
    let token = Token::parse(plain).unwrap().verify(&keys(), &request(PATH), NOW).unwrap();
    assert_eq!((token.expires(), token.listener(), token.max_kbps()), (UnixTime(1_900_000_000), None, None));

    let full = "1.spring.eD0xOTAwMDAwMDAwfm49MTg5OTk5MDAwMH5wPS9hL2MvNjkyLzRmMWMwZDJlOWI3YTRjNTU0ZjFjMGQyZTli\
                N2E0YzU1Lyp-dT11c3ItMX5zPXNlcy4yfmQ9ZGV2XzN-cT0xMjh-Zz1ERSxBVH5pPTE5Mi4wLjIuMC8yNH53PTAwMTEy\
                MjMzNDQ1NTY2Nzc4ODk5YWFiYmNjZGRlZWZmfm09R0VULEhFQUQ.NFynuXWWJdKkEou_PvWqbc5Ya0t2qN6FJD9qmtjaFkA";
    let address: IpAddr = "192.0.2.77".parse().unwrap();
    let request =
        TokenRequest { country: Some("AT"), address: Some(address), method: "HEAD", ..request(PATH) };
    let token = Token::parse(full).unwrap().verify(&keys(), &request, UnixTime(1_899_990_000)).unwrap();
    assert_eq!(token.listener(), Some("usr-1"));
    assert_eq!(token.session(), Some("ses.2"));
    assert_eq!(token.device(), Some("dev_3"));
    assert_eq!(token.max_kbps(), Some(128));
    assert_eq!(token.path_scope(), Some(SCOPE));
    assert_eq!(token.watermark().unwrap().to_string(), "00112233445566778899aabbccddeeff");
    assert_eq!(token.key_name(), "spring");
}

#[test]
fn our_signer_writes_what_the_reference_signer_writes() {
    let grant = Grant {
        not_before: Some(UnixTime(1_899_990_000)),
        path_scope: Some(SCOPE.into()),
        listener: Some("usr-1".parse().unwrap()),
        session: Some("ses.2".parse().unwrap()),
        device: Some("dev_3".parse().unwrap()),
        max_kbps: Some(128),
        countries: Some("DE,AT".parse().unwrap()),
        address: Some("192.0.2.0/24".parse().unwrap()),
        watermark: Some("00112233445566778899aabbccddeeff".parse().unwrap()),
        methods: Some("GET,HEAD".parse().unwrap()),
        ..Grant::until(UnixTime(1_900_000_000))
    };
    let text = grant.sign(&keys(), PATH, NOW).unwrap();
    assert!(
        text.ends_with(".NFynuXWWJdKkEou_PvWqbc5Ya0t2qN6FJD9qmtjaFkA"),
        "the MAC covers the rest: {text}"
    );
    let plain = Grant::until(UnixTime(1_900_000_000)).sign(&keys(), PATH, NOW).unwrap();
    assert_eq!(plain, "1.spring.eD0xOTAwMDAwMDAw.DPYfj0sU78aXje9-W1R7vLNxVpkERYdWoQxLOSBAm_8");
}

#[test]
fn a_token_lives_from_its_beginning_to_its_end_give_or_take_the_skew() {
    let at = |now| word_at("x=1800003600~n=1800000000", &request(PATH), UnixTime(now));
    assert_eq!(at(1_800_000_000 - SKEW_SECS - 1), "not_yet");
    assert_eq!(at(1_800_000_000 - SKEW_SECS), "ok");
    assert_eq!(at(1_800_003_600 + SKEW_SECS), "ok");
    assert_eq!(at(1_800_003_600 + SKEW_SECS + 1), "expired");
    assert_eq!(word_of("x=99999999999"), "ok");
    assert_eq!(word_of("x=99999999999~n=0"), "ok");
}

#[test]
fn a_payload_has_one_spelling() {
    for payload in [
        "",
        "x",
        "x=",
        "=1",
        "x=1800003600~",
        "~x=1800003600",
        "x=1800003600~~u=a",
        "X=1800003600",
        "xx=1",
        "x=1800003600~x=1800003600",
        "u=a~x=1800003600",
        "x=1800003600~z=1",
        "u=a",
        "n=1",
        "x=-1",
        "x=+1800003600",
        "x= 1800003600",
        "x=180000360000",
        "x=0x10",
        "x=1e9",
        "x=1800003600~n=",
        "x=1800003600~n=a",
        "x=1800003600~u=a b",
        "x=1800003600~u=a=b",
        "x=1800003600~u=ä",
        "x=1800003600~u=a\n",
        "x=1800003600~u=a\0",
    ] {
        assert_eq!(word_of(payload), "malformed", "{payload:?}");
    }
    assert_eq!(word_of(&format!("x=1800003600~u={}", "u".repeat(200))), "ok");
    assert_eq!(word_of(&format!("x=1800003600~u={}", "u".repeat(201))), "malformed");
}

#[test]
fn a_token_has_four_parts_of_a_bounded_length_and_canonical_base64() {
    let good = signed("x=1800003600", PATH);
    let parts: Vec<&str> = good.split('.').collect();
    let check = |text: &str| word(Token::check(text, &keys(), &request(PATH), NOW));
    assert_eq!(check(&good), "ok");
    for text in [
        String::new(),
        ".".repeat(3),
        parts[..3].join("."),
        format!("{good}."),
        format!(".{good}"),
        good.replacen('1', "2", 1),
        good.replacen("1.", "01.", 1),
        good.replace("spring", ""),
        good.replace("spring", "Spring"),
        good.replace("spring", "seventeen-letters"),
        format!("1.spring.{}=.{}", parts[2], parts[3]),
        format!("1.spring.{}A.{}", parts[2], parts[3]),
        format!("1.spring..{}", parts[3]),
        "a".repeat(TOKEN_LEN_MAX + 1),
    ] {
        assert_eq!(check(&text), "malformed", "{text:?}");
    }
    let last = parts[3].len() - 1;
    for mac in ["", "A", &parts[3][..last], &format!("{}A", parts[3]), &parts[3].to_ascii_lowercase(), "ä"] {
        assert_eq!(check(&format!("1.spring.{}.{mac}", parts[2])), "bad_mac", "{mac:?}");
    }
}

#[test]
fn a_token_of_the_longest_length_opens_and_one_byte_more_does_not() {
    let long = "u".repeat(200);
    let payload =
        |expiry: &str| format!("x={expiry}~u={long}~s={long}~d={long}~g={}", vec!["DE"; 35].join(","));
    let german = TokenRequest { country: Some("DE"), ..request(PATH) };
    let open = |token: &str| word(Token::check(token, &keys(), &german, NOW));
    let at_limit = signed(&payload("1800003600"), PATH);
    assert_eq!((at_limit.len(), open(&at_limit)), (TOKEN_LEN_MAX, "ok"));
    let past_limit = signed(&payload("18000036000"), PATH);
    assert_eq!((past_limit.len(), open(&past_limit)), (TOKEN_LEN_MAX + 1, "malformed"));
}

#[test]
fn a_grant_too_long_for_any_edge_is_not_signed() {
    let id = "i".repeat(64);
    let folder = format!("/{}/", "f".repeat(197));
    let grant = Grant {
        path_scope: Some(format!("{folder}*")),
        listener: Some(id.parse().unwrap()),
        session: Some(id.parse().unwrap()),
        device: Some(id.parse().unwrap()),
        countries: Some(vec!["DE"; 60].join(",").parse().unwrap()),
        ..Grant::until(NOW.plus(60))
    };
    let path = format!("{folder}64.mp4");
    assert!(grant.sign(&keys(), &path, NOW).is_ok());
    let methods = Some(vec!["GET"; 50].join(",").parse().unwrap());
    let refused = Grant { methods, ..grant }.sign(&keys(), &path, NOW).unwrap_err();
    assert!(matches!(refused, SignError::TooLong { len } if len > TOKEN_LEN_MAX), "{refused}");
}

#[test]
fn slack_bits_of_base64_are_no_second_spelling() {
    let next = |text: &str| {
        let last = text.as_bytes()[text.len() - 1];
        format!("{}{}", &text[..text.len() - 1], char::from(last + 1))
    };
    let check = |text: &str| word(Token::check(text, &keys(), &request(PATH), NOW));
    // 32 bytes leave two slack bits in the last character of a MAC, 16 leave four in that of this payload.
    let token = signed("x=1800003600~u=a", PATH);
    let (head, mac) = token.rsplit_once('.').unwrap();
    assert_eq!(check(&token), "ok");
    assert_eq!(check(&format!("{head}.{}", next(mac))), "bad_mac");
    assert_eq!(check(&format!("{}.{mac}", next(head))), "malformed");
}

#[test]
fn every_changed_character_spoils_a_token() {
    let good = Grant { max_kbps: Some(128), ..Grant::until(NOW.plus(60)) }.sign(&keys(), PATH, NOW).unwrap();
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let text = String::from_utf8(bytes).unwrap();
        let verdict = word(Token::check(&text, &keys(), &request(PATH), NOW));
        assert!(matches!(verdict, "malformed" | "bad_mac" | "unknown_key"), "byte {at}: {verdict}");
    }
}

#[test]
fn a_scope_opens_what_it_covers_and_no_more() {
    let open = |scope: &str, path: &str| word_at(&format!("x=1800003600~p={scope}"), &request(path), NOW);
    assert_eq!(open(SCOPE, PATH), "ok");
    assert_eq!(open(PATH, PATH), "ok");
    assert_eq!(open(PATH, &format!("{PATH}x")), "path");
    assert_eq!(open("/a/c/692/4f*", PATH), "malformed");
    assert_eq!(open("/a/c/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c5/*", PATH), "path");
    assert_eq!(open("/*", PATH), "ok");
    for scope in ["*", "a/*", "/a*", "/a/*/", "/a/**", "/*/*", "//*a"] {
        assert_eq!(open(scope, PATH), "malformed", "{scope}");
    }
    // A signature without a scope is a signature for one path.
    let token = signed("x=1800003600", PATH);
    assert_eq!(word(Token::check(&token, &keys(), &request("/a/c/1"), NOW)), "bad_mac");
    // A scope inside the payload takes the path out of the signature, so a path signed along is one too many.
    let token = signed(&format!("x=1800003600~p={SCOPE}"), PATH);
    assert_eq!(word(Token::check(&token, &keys(), &request(PATH), NOW)), "bad_mac");
}

#[test]
fn a_bad_path_is_told_before_a_bad_token() {
    for path in ["", "a/c", "/a//c", "/a/../c", "/a/.", "/a%2fc", "/a\\c", "/a\0"] {
        assert_eq!(word(Token::check("nonsense", &keys(), &request(path), NOW)), "bad_path", "{path:?}");
        let token = signed("x=1800003600", path);
        let verdict = Token::parse(&token).unwrap().verify(&keys(), &request(path), NOW);
        assert_eq!(word(verdict), "bad_path", "{path:?}");
    }
}

#[test]
fn a_rendition_is_held_against_the_bit_rate() {
    let open =
        |kbps, q: &str| word_at(&format!("x=1800003600~q={q}"), &TokenRequest { kbps, ..request(PATH) }, NOW);
    assert_eq!(open(Some(128), "128"), "ok");
    assert_eq!(open(Some(129), "128"), "rendition");
    assert_eq!(open(None, "128"), "ok");
    for q in ["-1", "1.5", "128k", "1234567"] {
        assert_eq!(open(Some(64), q), "malformed", "{q}");
    }
}

#[test]
fn an_unknown_country_fails_closed() {
    let open = |country, g: &str| {
        word_at(&format!("x=1800003600~g={g}"), &TokenRequest { country, ..request(PATH) }, NOW)
    };
    assert_eq!(open(Some("DE"), "DE,AT"), "ok");
    assert_eq!(open(Some("at"), "DE,AT"), "ok");
    assert_eq!(open(Some("FR"), "DE,AT"), "geo");
    assert_eq!(open(Some("FR"), "-US,CA"), "ok");
    assert_eq!(open(Some("ca"), "-US,CA"), "geo");
    for unknown in [None, Some(""), Some("-"), Some("DEU"), Some("D"), Some("T1"), Some("U,"), Some("ä")] {
        assert_eq!(open(unknown, "DE,AT"), "geo", "{unknown:?}");
        assert_eq!(open(unknown, "-US"), "geo", "{unknown:?}");
    }
    for g in ["-", "--US", "DE,", ",DE", "DEU", "de", "DE,-AT", "DE AT", "D1"] {
        assert_eq!(open(Some("DE"), g), "malformed", "{g}");
    }
}

#[test]
fn an_address_is_held_against_the_network() {
    let open = |address: &str, i: &str| {
        let address = address.parse().ok();
        word_at(&format!("x=1800003600~i={i}"), &TokenRequest { address, ..request(PATH) }, NOW)
    };
    assert_eq!(open("203.0.113.77", "203.0.113.0/24"), "ok");
    assert_eq!(open("203.0.113.77", "203.0.113.200/24"), "ok");
    assert_eq!(open("::ffff:203.0.113.77", "203.0.113.0/24"), "ok");
    assert_eq!(open("203.0.114.77", "203.0.113.0/24"), "ip");
    assert_eq!(open("203.0.113.78", "203.0.113.77"), "ip");
    assert_eq!(open("203.0.113.77", "203.0.113.77"), "ok");
    assert_eq!(open("198.51.100.1", "0.0.0.0/0"), "ok");
    assert_eq!(open("2001:db8::1", "0.0.0.0/0"), "ip");
    assert_eq!(open("2001:db8::1", "::/0"), "ok");
    assert_eq!(open("2001:db8:1:2::5", "2001:db8:1::/48"), "ok");
    assert_eq!(open("2001:db8:2:2::5", "2001:db8:1::/48"), "ip");
    assert_eq!(open("2001:db8::1", "2001:db8::1/128"), "ok");
    assert_eq!(open("2001:db8::2", "2001:db8::1/128"), "ip");
    assert_eq!(open("", "0.0.0.0/0"), "ip");
    for i in [
        "203.0.113.0/33",
        "203.0.113.0/",
        "203.0.113.0/024",
        "203.0.113.0/-1",
        "203.0.113.0/255.255.255.0",
        "203.0.113/24",
        "203.0.113.256",
        "010.0.0.1/8",
        "::/129",
        ":::/1",
        "2001:db8::/4/8",
        "host/24",
        "/24",
    ] {
        assert_eq!(open("203.0.113.77", i), "malformed", "{i}");
    }
}

#[test]
fn a_method_is_one_of_those_named() {
    let open = |method, m: &str| {
        word_at(&format!("x=1800003600~m={m}"), &TokenRequest { method, ..request(PATH) }, NOW)
    };
    assert_eq!(open("GET", "GET"), "ok");
    assert_eq!(open("HEAD", "GET"), "method");
    assert_eq!(open("HEAD", "GET,HEAD"), "ok");
    assert_eq!(open("get", "GET"), "method");
    for m in ["get", "GET,", ",", "G*", "GET,,HEAD"] {
        assert_eq!(open("GET", m), "malformed", "{m}");
    }
}

#[test]
fn checks_come_in_the_order_of_the_specification() {
    let elsewhere =
        TokenRequest { path: "/b", kbps: Some(999), country: Some("US"), address: None, method: "PUT" };
    let fields = ["x=5", "n=9999999999", "p=/a", "q=1", "g=DE", "i=192.0.2.0/24", "m=GET"];
    let words = ["expired", "not_yet", "path", "rendition", "geo", "ip", "method"];
    for first in 0..fields.len() {
        let rest = fields[first.max(1)..].join("~");
        let expiry = if first == 0 { "x=5" } else { "x=9999999999" };
        // Without p the path would be signed along: b is the path of both.
        let payload = format!("{expiry}~{rest}");
        assert_eq!(word_at(&payload, &elsewhere, NOW), words[first], "{payload}");
    }
    // The signature is looked at before anything a token claims.
    assert_eq!(word(Token::check(&signed("x=5", "/c"), &keys(), &elsewhere, NOW)), "bad_mac");
}

#[test]
fn what_is_signed_opens_what_it_was_signed_for() {
    let grant = Grant { path_scope: Some(SCOPE.into()), ..Grant::until(NOW.plus(3600)) };
    let token = grant.sign(&keys(), PATH, NOW).unwrap();
    assert!(token.len() <= 160, "a typical token is short: {}", token.len());
    assert!(Token::check(&token, &keys(), &request(PATH), NOW).is_ok());
}

#[test]
fn a_grant_that_no_edge_would_honour_is_not_signed() {
    let grant = Grant::until(NOW.plus(3600));
    let sign = |grant: Grant| grant.sign(&keys(), PATH, NOW).unwrap_err();
    assert_eq!(grant.sign(&keys(), "/a//b", NOW), Err(SignError::Path));
    for scope in ["", "/a*", "*", "/*", "/a/../*", "/a//*", "/a/*/b"] {
        let refused = sign(Grant { path_scope: Some(scope.into()), ..grant.clone() });
        assert_eq!(refused, SignError::Scope { scope: scope.into() });
    }
    // `~` joins fields: a path may have one, a scope may not.
    let scope = "/a/c/692/4f1c0d2e9b7a4c554f1c0d2e9b7a4c55/~/*".to_owned();
    assert_eq!(
        Grant { path_scope: Some(scope.clone()), ..grant.clone() }.sign(
            &keys(),
            &scope.replace('*', "x"),
            NOW
        ),
        Err(SignError::Value { field: 'p' })
    );
    assert!(matches!(
        sign(Grant { path_scope: Some("/b/*".into()), ..grant.clone() }),
        SignError::ScopeMisses { .. }
    ));
    assert!(matches!(sign(Grant::until(NOW)), SignError::Dead { .. }));
    let never = Grant { not_before: Some(NOW.plus(3600)), ..grant.clone() };
    assert!(matches!(sign(never), SignError::Dead { .. }));
    assert!(matches!(sign(Grant::until(UnixTime(100_000_000_000))), SignError::Digits { .. }));
    assert!(matches!(sign(Grant { max_kbps: Some(1_000_000), ..grant.clone() }), SignError::Digits { .. }));
    let countries = vec!["DE"; 100].join(",").parse().unwrap();
    assert_eq!(sign(Grant { countries: Some(countries), ..grant.clone() }), SignError::Value { field: 'g' });
    assert!(grant.sign(&keys(), PATH, UnixTime(0)).is_err(), "no key signs before it was made");
}

#[test]
fn keys_are_read_back_as_they_are_written() {
    let ring = keys().rotate("summer", [7; 32], NOW, 60).unwrap();
    let text = ring.to_json();
    let again = UrlKeys::from_json(&text).unwrap();
    assert_eq!(*again.to_json(), *text);
    assert_eq!(again.names().collect::<Vec<_>>(), ["spring", "summer"]);
}

#[test]
fn a_key_file_is_refused_with_its_fault_and_without_its_secrets() {
    let secret = BASE64URL_NOPAD.encode(&[9; 32]);
    let key = |kid: &str| {
        format!(r#"{{"kid":"{kid}","secret":"{secret}","verify_from":1,"verify_until":9,"sign_from":2}}"#)
    };
    let ring = |keys: &[String]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    let fault = |text: &str| UrlKeys::from_json(text).map(|_| ()).unwrap_err();
    assert!(UrlKeys::from_json(&ring(&[key("a")])).is_ok());
    assert_eq!(fault(&ring(&[])), UrlKeysError::Count(0));
    let many: Vec<String> = (0..=URL_KEYS_MAX).map(|n| key(&format!("k{n}"))).collect();
    assert!(UrlKeys::from_json(&ring(&many[1..])).is_ok());
    assert_eq!(fault(&ring(&many)), UrlKeysError::Count(URL_KEYS_MAX + 1));
    assert_eq!(fault(&ring(&[key("a"), key("K")])), UrlKeysError::Name(1));
    assert_eq!(fault(&ring(&[key("a"), key("a")])), UrlKeysError::Twice("a".into()));
    assert_eq!(fault(&ring(&[key("a").replace(":9,", ":1,")])), UrlKeysError::Window("a".into()));
    assert_eq!(fault(&ring(&[key("a").replace(":2}", ":0}")])), UrlKeysError::SignsEarly("a".into()));
    for text in [
        String::new(),
        "[]".into(),
        ring(&[key("a").replace("sign_from", "sing_from")]),
        ring(&[key("a").replace(":9,", &format!(":\"{secret}\","))]),
        ring(&[key("a").replace(&secret, &secret[1..])]),
        ring(&[key("a").replace(&secret, &format!("{secret}="))]),
        ring(&[key("a").replace("\"kid\":\"a\"", &format!("\"kid\":\"{secret}\""))]),
        ring(&[key("a")]) + " x",
        " ".repeat(64 * 1024 + 1),
    ] {
        let error = fault(&text).to_string();
        assert!(!error.contains(&secret[1..]), "{error}");
        assert!(error.contains("URL key"), "{error}");
    }
    assert!(fault(&ring(&[key("a").replace("sign_from", "sing_from")])).to_string().contains("`sing_from`"));
    assert!(!format!("{:?}", keys()).contains(&BASE64URL_NOPAD.encode(&self::secret())));
}

#[test]
fn a_key_verifies_inside_its_window_and_signs_from_its_hour() {
    let secret = BASE64URL_NOPAD.encode(&secret());
    let ring = UrlKeys::from_json(&format!(
        r#"{{"keys":[{{"kid":"spring","secret":"{secret}","verify_from":100,"verify_until":900,"sign_from":200}}]}}"#
    ))
    .unwrap();
    let token = signed("x=99999999999", PATH);
    let at = |now| word(Token::check(&token, &ring, &request(PATH), UnixTime(now)));
    assert_eq!([at(99), at(100), at(899), at(900)], ["unknown_key", "ok", "ok", "unknown_key"]);
    let sign = |now, expires| Grant::until(UnixTime(expires)).sign(&ring, PATH, UnixTime(now));
    assert_eq!(sign(199, 300), Err(SignError::NoKey { now: UnixTime(199) }));
    assert!(sign(200, 899).is_ok());
    assert!(matches!(sign(200, 900), Err(SignError::OutlivesKey { .. })));
}

#[test]
fn a_rotation_refuses_no_listener_although_edges_learn_it_late() {
    const PROPAGATION: u64 = 120;
    const LIFE: u64 = 3600;
    let before = keys();
    let after =
        UrlKeys::from_json(&before.to_json()).unwrap().rotate("summer", [7; 32], NOW, PROPAGATION).unwrap();
    // The signer has the new ring at once; the slowest edge has it one propagation later.
    for minutes in 0..180 {
        let signed_at = NOW.plus(minutes * 60);
        let token = Grant::until(signed_at.plus(LIFE)).sign(&after, PATH, signed_at).unwrap();
        for age in [0, 1, LIFE / 2, LIFE] {
            let now = signed_at.plus(age);
            let ring = if now.since(NOW) < PROPAGATION { &before } else { &after };
            assert_eq!(
                word(Token::check(&token, ring, &request(PATH), now)),
                "ok",
                "signed {minutes}, age {age}"
            );
        }
    }
    let switch = NOW.plus(2 * PROPAGATION);
    assert_eq!(after.signer_name(UnixTime(switch.0 - 1)), Some("spring"));
    assert_eq!(after.signer_name(switch), Some("summer"));
    // The old key is dead for good afterwards, and gone with the next rotation.
    let later = switch.plus(KEY_LIFE_AFTER_ROTATION_SECS);
    let old = signed("x=99999999999", PATH);
    assert_eq!(word(Token::check(&old, &after, &request(PATH), later)), "unknown_key");
    let next = after.rotate("autumn", [8; 32], later, PROPAGATION).unwrap();
    assert_eq!(next.names().collect::<Vec<_>>(), ["summer", "autumn"]);
}

#[test]
fn tokens_print_neither_claims_nor_mac() {
    let token = signed("x=1800003600~u=alice", PATH);
    let parsed = Token::parse(&token).unwrap();
    assert_eq!(format!("{parsed:?}"), "Token(kid spring, hidden)");
}

#[test]
fn every_refusal_has_a_word_of_its_own() {
    let errors = [
        TokenError::BadPath,
        TokenError::Malformed { what: "" },
        TokenError::UnknownKey,
        TokenError::BadMac,
        TokenError::Expired { at: NOW, now: NOW },
        TokenError::NotYet { from: NOW, now: NOW },
        TokenError::Path,
        TokenError::Rendition { max_kbps: 1 },
        TokenError::Geo,
        TokenError::Ip,
        TokenError::Method,
    ];
    assert_eq!(errors.map(|error| error.reason()), TokenError::REASONS);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,1100}") {
        let _ = Token::check(&text, &keys(), &request(PATH), NOW);
    }

    #[test]
    fn no_payload_makes_the_parser_panic(
        fields in proptest::collection::vec(("[xnpusdqgiwmz]?", "[=~]?", "[A-Za-z0-9._:/*,-]{0,12}"), 0..14),
    ) {
        let fields: Vec<String> = fields.into_iter().map(|(name, eq, value)| format!("{name}{eq}{value}")).collect();
        let token = signed(&fields.join("~"), "");
        let _ = Token::check(&token, &keys(), &request(PATH), NOW);
    }

    #[test]
    fn whatever_is_granted_is_told_back(
        life in 1_u64..1_000_000, scoped in any::<bool>(), user in "[A-Za-z0-9._-]{1,64}", kbps in 0_u32..=999_999,
        v4 in any::<[u8; 4]>(), prefix in 0_u8..=32, watermark in any::<[u8; 16]>(),
    ) {
        let address = IpAddr::from(v4);
        let grant = Grant {
            path_scope: scoped.then(|| SCOPE.to_owned()),
            listener: Some(user.parse().unwrap()),
            max_kbps: Some(kbps),
            address: Some(format!("{address}/{prefix}").parse().unwrap()),
            watermark: Some(antiphon_drm::token::Watermark::from_bytes(watermark)),
            ..Grant::until(NOW.plus(life))
        };
        let text = grant.sign(&keys(), PATH, NOW).unwrap();
        prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
        let request = TokenRequest { kbps: Some(kbps), address: Some(address), ..request(PATH) };
        let token = Token::parse(&text).unwrap().verify(&keys(), &request, NOW).unwrap();
        prop_assert_eq!(token.expires(), NOW.plus(life));
        prop_assert_eq!(token.listener(), Some(user.as_str()));
        prop_assert_eq!(token.max_kbps(), Some(kbps));
        prop_assert_eq!(token.watermark().map(|w| *w.as_bytes()), Some(watermark));
        prop_assert_eq!(token.path_scope().is_some(), scoped);
    }

    #[test]
    fn a_network_holds_exactly_the_addresses_of_its_prefix(
        network in any::<u128>(), address in any::<u128>(), prefix in 0_u32..=128, flip in 0_u32..128,
    ) {
        let of = |bits: u128| IpAddr::from(std::net::Ipv6Addr::from_bits(bits));
        let cidr: antiphon_drm::token::Cidr = format!("{}/{prefix}", of(network)).parse().unwrap();
        // The same prefix with any host bits is inside, one flipped prefix bit is outside.
        let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
        let inside = network & mask | address & !mask;
        let mapped = |bits: u128| bits >> 32 == 0xffff;
        prop_assume!(!mapped(inside) && !mapped(network));
        prop_assert!(cidr.holds(of(inside)));
        let outside = inside ^ (1 << flip);
        prop_assume!(!mapped(outside));
        prop_assert_eq!(cidr.holds(of(outside)), flip < 128 - prefix);
    }
}
