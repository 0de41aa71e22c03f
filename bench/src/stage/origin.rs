//! The origin of the caches: answers ranges while they fill, and is idle while they are measured.

use antiphon_core::range::RangeHeader;
use antiphon_core::{ObjectPath, Span};
use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

type All = HashMap<String, (ObjectPath, Bytes)>;

/// Serves `objects` on loopback until the returned tasks are dropped.
pub async fn serve(objects: All) -> Result<(SocketAddr, JoinSet<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("bind the origin")?;
    let address = listener.local_addr()?;
    let objects = Arc::new(objects);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let objects = Arc::clone(&objects);
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&objects, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            connections.spawn(async move {
                // A client that breaks off will say so itself.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tcp), service)
                    .await;
            });
        }
    });
    Ok((address, tasks))
}

fn answer(objects: &All, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let Some((path, bytes)) = objects.get(request.uri().path()) else {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let len = bytes.len() as u64;
    let range = request.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
    let span = match range.map(RangeHeader::parse) {
        Some(RangeHeader::One(spec)) => spec.resolve(len),
        _ => None,
    };
    let builder =
        Response::builder().header(header::ETAG, path.etag()).header(header::CONTENT_TYPE, "audio/mp4");
    let (builder, span) = match span {
        Some(span) => {
            let range = format!("bytes {}-{}/{len}", span.start(), span.end() - 1);
            (builder.status(206).header(header::CONTENT_RANGE, range), Some(span))
        }
        None => (builder, Span::whole(len)),
    };
    let body = span.map_or(Bytes::new(), |span| bytes.slice(span.start() as usize..span.end() as usize));
    builder.body(Full::new(body)).unwrap_or(response)
}
