//! A closed loop of clients: each asks for the next range when it has the last one whole.
//!
//! Promises
//! - Bytes and answers are counted as they arrive, so that a window cut out of the run counts exactly its own.
//! - Bodies are thrown away, but status and length are checked.
//!
//! Does not know: what the bytes are, how the URLs were signed.

mod h1;
mod h2;
mod h3;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

/// What is spoken, always over TLS 1.3 with AES-128-GCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
    /// HTTP/3.
    H3,
}

/// What is asked, of whom, by how many.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The protocol.
    pub protocol: Protocol,
    /// The server.
    pub address: SocketAddr,
    /// Its name in certificate and `Host`.
    pub host: String,
    /// What its certificate is trusted by.
    pub root: CertificateDer<'static>,
    /// Paths with queries, each of an object of at least `object_len` bytes.
    pub targets: Vec<String>,
    /// Bytes of every object that are asked from.
    pub object_len: u64,
    /// Bytes of one range; ranges begin at multiples of it.
    pub range_len: u64,
    /// Connections.
    pub connections: usize,
    /// Requests at a time on each; HTTP/1.1 has one.
    pub streams: usize,
    /// Other ranges with another seed.
    pub seed: u64,
}

/// What has come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Answers that came whole.
    pub answers: u64,
    /// Bytes of bodies.
    pub bytes: u64,
}

/// A load under way.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<Result<()>>,
}

/// Asks for every range of every object once, in order, so that a cache has them all.
pub async fn fill(plan: &Plan) -> Result<()> {
    let shared = Shared::new(plan.clone())?;
    h1::every_range(&shared).await
}

/// What all clients of a load see.
struct Shared {
    plan: Plan,
    tls: Arc<rustls::ClientConfig>,
    answers: AtomicU64,
    bytes: AtomicU64,
    over: AtomicBool,
}

/// One request of a client.
struct Ask<'a> {
    target: &'a str,
    first: u64,
    last: u64,
}

/// Which ranges one client asks for, in an order that a seed fixes.
struct Picker {
    state: u64,
}

/// A connection or an answer that does not come within this time has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// HTTP/2 and HTTP/3 windows of a browser: per request, per connection.
const STREAM_WINDOW: u32 = 6 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 15 * 1024 * 1024;

impl Load {
    /// Starts all clients of a plan on the current runtime.
    pub fn start(plan: Plan) -> Result<Self> {
        let shared = Arc::new(Shared::new(plan)?);
        let mut clients = JoinSet::new();
        for number in 0..shared.plan.connections as u64 {
            let shared = Arc::clone(&shared);
            match shared.plan.protocol {
                Protocol::H1 => clients.spawn(h1::client(shared, number)),
                Protocol::H2 => clients.spawn(h2::client(shared, number)),
                Protocol::H3 => clients.spawn(h3::client(shared, number)),
            };
        }
        Ok(Self { shared, clients })
    }

    /// What has come until now.
    pub fn count(&self) -> Count {
        Count {
            answers: self.shared.answers.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
        }
    }

    /// Waits; a client that fails meanwhile fails the load.
    pub async fn go_on(&mut self, time: Duration) -> Result<()> {
        tokio::select! {
            ended = self.clients.join_next() => match ended {
                Some(ended) => ended.context("a client panicked")?.and(Err(anyhow!("a client has ended"))),
                None => bail!("all clients have ended"),
            },
            () = tokio::time::sleep(time) => Ok(()),
        }
    }

    /// Lets every client finish the answer it is at, and tells what came in all.
    pub async fn stop(mut self) -> Result<Count> {
        self.shared.over.store(true, Ordering::Relaxed);
        while let Some(ended) = tokio::time::timeout(PATIENCE, self.clients.join_next()).await? {
            ended.context("a client panicked")??;
        }
        Ok(self.count())
    }
}

impl Shared {
    fn new(plan: Plan) -> Result<Self> {
        anyhow::ensure!(!plan.targets.is_empty(), "there is nothing to ask for");
        anyhow::ensure!(
            (1..=plan.object_len).contains(&plan.range_len),
            "a range has at least one byte and at most {}",
            plan.object_len
        );
        let tls = Arc::new(tls(&plan)?);
        Ok(Self {
            plan,
            tls,
            answers: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            over: AtomicBool::new(false),
        })
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn came(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a whole answer, if it is what was asked for.
    fn whole(&self, ask: &Ask<'_>, status: u16, bytes: u64) -> Result<()> {
        let wanted = ask.last - ask.first + 1;
        anyhow::ensure!(
            status == 206 && bytes == wanted,
            "got status {status} with {bytes} bytes for {wanted} bytes of an object"
        );
        self.answers.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A TLS connection.
    async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let plan = &self.plan;
        let connecting = async {
            let tcp = TcpStream::connect(plan.address).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from(plan.host.clone()).map_err(std::io::Error::other)?;
            tokio_rustls::TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await
        };
        let connected = tokio::time::timeout(PATIENCE, connecting).await?;
        connected.with_context(|| format!("connect to {}", plan.address))
    }
}

impl Picker {
    fn new(plan: &Plan, client: u64) -> Self {
        let mixed = (plan.seed << 20 | client).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { state: mixed | 1 }
    }

    fn next<'a>(&mut self, plan: &'a Plan) -> Ask<'a> {
        let target = &plan.targets[self.below(plan.targets.len() as u64) as usize];
        let first = self.below(plan.object_len / plan.range_len) * plan.range_len;
        Ask { target, first, last: first + plan.range_len - 1 }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) % bound.max(1)
    }
}

impl Protocol {
    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H1 => "H1",
            Self::H2 => "H2",
            Self::H3 => "H3",
        }
    }

    const fn alpn(self) -> &'static [u8] {
        match self {
            Self::H1 => b"http/1.1",
            Self::H2 => b"h2",
            Self::H3 => b"h3",
        }
    }
}

/// TLS 1.3, AES-128-GCM only, no resumption: the same work for every server.
fn tls(plan: &Plan) -> Result<rustls::ClientConfig> {
    use rustls::crypto::{CryptoProvider, aws_lc_rs};
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..aws_lc_rs::default_provider()
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(plan.root.clone()).context("trust the server's certificate")?;
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![plan.protocol.alpn().to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_lie_inside_the_object_and_differ_between_clients() {
        let plan = Plan {
            protocol: Protocol::H1,
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            host: "localhost".into(),
            root: CertificateDer::from(Vec::new()),
            targets: vec!["/a".into(), "/b".into()],
            object_len: 1_000_000,
            range_len: 65_536,
            connections: 1,
            streams: 1,
            seed: 1,
        };
        let picks = |client| {
            let mut picker = Picker::new(&plan, client);
            (0..1000)
                .map(|_| picker.next(&plan))
                .map(|ask| (ask.target, ask.first, ask.last))
                .collect::<Vec<_>>()
        };
        for (_, first, last) in picks(0) {
            assert!(last < 1_000_000 && last - first == 65_535 && first.is_multiple_of(65_536));
        }
        assert_ne!(picks(0), picks(1));
        assert!(picks(0).iter().any(|pick| pick.0 == "/a") && picks(0).iter().any(|pick| pick.0 == "/b"));
    }
}
