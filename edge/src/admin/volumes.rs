//! `/cache/volumes`: how the volumes are, and orders to them.
//!
//! `GET /cache/volumes` answers a JSON array; `POST /cache/volumes/<name>/<order>` gives an order.
//!
//! Promises
//! - An order is taken from whoever knows the secret of `admin_secret_file`; without such a file, from this host only.
//! - No web page can give one: an order needs a header field that browsers send to other sites only after asking.
//!
//! Does not know: what an order does.

use super::Page;
use crate::serve::Edge;
use antiphon_cache::disk::set::{CommandError, DiskCommand, DiskOrder};
use antiphon_core::Secret;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method};
use std::net::IpAddr;

/// Under this everything is about volumes.
pub(super) const PATH: &str = "/cache/volumes";
/// Must be there in an order, whatever it says (Fetch §4.8: a page elsewhere cannot send it without a preflight,
/// which is refused).
pub const ORDER_HEADER: &str = "antiphon-order";

/// Answers a request about volumes; `rest` is the path behind [`PATH`].
pub(super) async fn answer(
    edge: &Edge,
    (method, rest): (&Method, &str),
    headers: &HeaderMap,
    (peer, secret): (IpAddr, Option<&Secret>),
) -> (Page, String) {
    match (method, rest) {
        (&Method::GET | &Method::HEAD, "") => listed(edge),
        (&Method::POST, rest) if !rest.is_empty() => match may_order(headers, peer, secret) {
            Ok(()) => ordered(edge, rest).await,
            Err(why) => (Page::Forbidden, format!("{why}\n")),
        },
        _ => (Page::Method, format!("GET {PATH}, or POST {PATH}/<name>/<order>\n")),
    }
}

fn listed(edge: &Edge) -> (Page, String) {
    match serde_json::to_string_pretty(&edge.cache().disks().status()) {
        Ok(text) => (Page::Json, text + "\n"),
        Err(error) => (Page::Broken, format!("{error}\n")),
    }
}

/// Whether whoever asks may give orders.
pub(super) fn may_order(
    headers: &HeaderMap,
    peer: IpAddr,
    secret: Option<&Secret>,
) -> Result<(), &'static str> {
    if !headers.contains_key(ORDER_HEADER) {
        return Err("an order needs the header antiphon-order");
    }
    match secret {
        None if peer.to_canonical().is_loopback() && names_this_host(headers) => Ok(()),
        None => Err("orders are taken from this host only; set admin_secret_file to take them from others"),
        Some(secret) => {
            let bearer =
                headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
            let known = bearer.is_some_and(|given| secret.matches(given));
            if known { Ok(()) } else { Err("an order needs the secret of admin_secret_file") }
        }
    }
}

/// Whether `Host` is an address or `localhost`: a page whose name was made to lead here (DNS rebinding) has its own.
fn names_this_host(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.parse::<http::uri::Authority>().is_ok_and(|authority| {
        let name = authority.host().trim_matches(['[', ']']);
        name == "localhost" || name.parse::<IpAddr>().is_ok()
    })
}

/// `rest` is `/<name>/<order>`.
async fn ordered(edge: &Edge, rest: &str) -> (Page, String) {
    let Some((volume, word)) = rest.strip_prefix('/').and_then(|rest| rest.split_once('/')) else {
        return (Page::Unknown, format!("POST {PATH}/<name>/<order>\n"));
    };
    let Some(order) = DiskOrder::parse(word) else {
        let known = DiskOrder::ALL.map(|(name, _)| name).join(", ");
        return (Page::Unknown, format!("a volume knows: {known}\n"));
    };
    let told = edge.cache().disks().command(DiskCommand { volume: volume.to_owned(), order }).await;
    match told {
        Ok(()) => {
            tracing::info!(volume, order = word, "an operator's order");
            (Page::Fine, format!("{volume}: told to {word}\n"))
        }
        Err(error @ CommandError::Unknown { .. }) => (Page::Unknown, format!("{error}\n")),
        Err(error @ CommandError::NotNow { .. }) => (Page::NotNow, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn asking(bearer: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ORDER_HEADER, HeaderValue::from_static("fail"));
        headers.insert(HOST, HeaderValue::from_static("127.0.0.1:9180"));
        if let Some(bearer) = bearer {
            headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {bearer}")).unwrap());
        }
        headers
    }

    #[test]
    fn without_a_secret_orders_come_from_this_host_only() {
        assert!(may_order(&asking(None), HERE, None).is_ok());
        assert!(may_order(&asking(None), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), None).is_ok());
        assert!(may_order(&asking(None), THERE, None).is_err());
    }

    #[test]
    fn with_a_secret_they_come_from_whoever_knows_it() {
        let secret = Secret::from_text("0123456789abcdef0123456789abcdef").unwrap();
        let good = asking(Some("0123456789abcdef0123456789abcdef"));
        assert!(may_order(&good, THERE, Some(&secret)).is_ok());
        assert!(may_order(&asking(Some("0123456789abcdef0123456789abcdee")), HERE, Some(&secret)).is_err());
        assert!(may_order(&asking(None), HERE, Some(&secret)).is_err());
    }

    #[test]
    fn a_page_in_a_browser_cannot_give_orders() {
        let mut headers = asking(None);
        headers.remove(ORDER_HEADER);
        assert!(may_order(&headers, HERE, None).is_err());
        for (host, may) in
            [("evil.example:9180", false), ("localhost:9180", true), ("[::1]:9180", true), ("", false)]
        {
            let mut headers = asking(None);
            headers.insert(HOST, HeaderValue::from_static(host));
            assert_eq!(may_order(&headers, HERE, None).is_ok(), may, "{host}");
        }
    }
}
