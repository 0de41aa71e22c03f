//! HTTP/3, by quinn and h3, with the windows of a browser.

use super::{CONNECTION_WINDOW, PATIENCE, Picker, STREAM_WINDOW, Shared};
use anyhow::{Context, Result};
use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use http::Request;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, EndpointConfig, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Socket buffers, as the server has them.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

pub(super) async fn client(shared: Arc<Shared>, number: u64) -> Result<()> {
    let endpoint = endpoint(&shared)?;
    let connecting = endpoint.connect(shared.plan.address, &shared.plan.host)?;
    let connection = tokio::time::timeout(PATIENCE, connecting).await?.context("connect over QUIC")?;
    let (mut driver, sender) = h3::client::builder()
        .send_grease(false)
        .build::<_, _, Bytes>(h3_quinn::Connection::new(connection.clone()))
        .await
        .context("begin HTTP/3")?;
    let driver = tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    let mut tasks = JoinSet::new();
    for stream in 0..shared.plan.streams as u64 {
        tasks.spawn(stream_of(Arc::clone(&shared), sender.clone(), number << 10 | stream));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a stream panicked")??;
    }
    driver.abort();
    connection.close(VarInt::from_u32(0x100), b"");
    endpoint.wait_idle().await;
    Ok(())
}

async fn stream_of(
    shared: Arc<Shared>,
    mut sender: SendRequest<OpenStreams, Bytes>,
    number: u64,
) -> Result<()> {
    let plan = &shared.plan;
    let mut picker = Picker::new(plan, number);
    while !shared.is_over() {
        let ask = picker.next(plan);
        let request = Request::get(format!("https://{}{}", plan.host, ask.target))
            .header("range", format!("bytes={}-{}", ask.first, ask.last))
            .body(())?;
        let answer = async {
            let mut stream = sender.send_request(request).await?;
            stream.finish().await?;
            let response = stream.recv_response().await?;
            let mut bytes = 0;
            while let Some(data) = stream.recv_data().await? {
                shared.came(data.remaining());
                bytes += data.remaining() as u64;
            }
            Ok::<_, h3::error::StreamError>((response.status().as_u16(), bytes))
        };
        let (status, bytes) = tokio::time::timeout(PATIENCE, answer).await?.context("ask over HTTP/3")?;
        shared.whole(&ask, status, bytes)?;
    }
    Ok(())
}

fn endpoint(shared: &Shared) -> Result<Endpoint> {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW));
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(Arc::clone(&shared.tls))?));
    config.transport_config(Arc::new(transport));
    let any = match shared.plan.address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket =
        Socket::new(Domain::for_address(any), Type::DGRAM, Some(Protocol::UDP)).context("open a socket")?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&any.into())?;
    let runtime = Arc::new(quinn::TokioRuntime);
    let mut endpoint = Endpoint::new(EndpointConfig::default(), None, socket.into(), runtime)?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}
