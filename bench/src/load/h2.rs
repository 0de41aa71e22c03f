//! HTTP/2, by hyper, with the windows of a browser.

use super::{CONNECTION_WINDOW, PATIENCE, Picker, STREAM_WINDOW, Shared};
use anyhow::{Context, Result};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use tokio::task::JoinSet;

pub(super) async fn client(shared: Arc<Shared>, number: u64) -> Result<()> {
    let io = TokioIo::new(shared.connect().await?);
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(io)
        .await
        .context("begin HTTP/2")?;
    let mut tasks = JoinSet::new();
    for stream in 0..shared.plan.streams as u64 {
        tasks.spawn(stream_of(Arc::clone(&shared), sender.clone(), number << 10 | stream));
    }
    drop(sender);
    let connection = tokio::spawn(connection);
    while let Some(ended) = tasks.join_next().await {
        ended.context("a stream panicked")??;
    }
    connection.abort();
    Ok(())
}

async fn stream_of(shared: Arc<Shared>, mut sender: SendRequest<Empty<Bytes>>, number: u64) -> Result<()> {
    let plan = &shared.plan;
    let mut picker = Picker::new(plan, number);
    while !shared.is_over() {
        let ask = picker.next(plan);
        let request = Request::get(format!("https://{}{}", plan.host, ask.target))
            .header("range", format!("bytes={}-{}", ask.first, ask.last))
            .body(Empty::new())?;
        let answer = async {
            sender.ready().await?;
            let mut response = sender.send_request(request).await?;
            let mut bytes = 0;
            while let Some(frame) = response.frame().await {
                let len = frame?.data_ref().map_or(0, Bytes::len);
                shared.came(len);
                bytes += len as u64;
            }
            Ok::<_, hyper::Error>((response.status().as_u16(), bytes))
        };
        let (status, bytes) = tokio::time::timeout(PATIENCE, answer).await?.context("ask over HTTP/2")?;
        shared.whole(&ask, status, bytes)?;
    }
    Ok(())
}
