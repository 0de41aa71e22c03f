//! `antiphon-bench`: asks one server for ranges as fast as it answers, and says what that cost it.

#![expect(clippy::print_stdout, reason = "results are what this program is for")]

use antiphon_bench::cpu;
use antiphon_bench::load::{Load, Plan, Protocol};
use anyhow::{Context, Result};
use clap::Parser;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A closed loop of clients against one server. Status and length of every answer are checked.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// What to speak.
    #[arg(long, value_enum, default_value = "h1")]
    protocol: Protocol,
    /// The server.
    #[arg(long)]
    address: SocketAddr,
    /// Its name in certificate and Host.
    #[arg(long, default_value = "localhost")]
    host: String,
    /// What its certificate is trusted by, PEM.
    #[arg(long)]
    root: PathBuf,
    /// Path and query of an object, signed; may be given several times.
    #[arg(long = "target", required = true)]
    targets: Vec<String>,
    /// Bytes of the objects to ask from.
    #[arg(long)]
    object_len: u64,
    /// Bytes of one range.
    #[arg(long, default_value_t = 65_536)]
    range_len: u64,
    /// Connections.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Requests at a time on each (HTTP/2 and HTTP/3).
    #[arg(long, default_value_t = 4)]
    streams: usize,
    /// Seconds before counting.
    #[arg(long, default_value_t = 1.0)]
    warm_secs: f64,
    /// Seconds of counting.
    #[arg(long, default_value_t = 5.0)]
    secs: f64,
    /// The server's process, to tell its CPU time.
    #[arg(long)]
    pid: Option<u32>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // An error means that one is installed already, which is all we ask.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let args = Args::parse();
    let root =
        CertificateDer::from_pem_file(&args.root).with_context(|| format!("read {}", args.root.display()))?;
    let mut load = Load::start(Plan {
        protocol: args.protocol,
        address: args.address,
        host: args.host,
        root,
        targets: args.targets,
        object_len: args.object_len,
        range_len: args.range_len,
        connections: args.connections,
        streams: args.streams,
        seed: 1,
    })?;
    load.go_on(Duration::from_secs_f64(args.warm_secs)).await?;
    let cpu = || args.pid.map(cpu::time_of_tree).transpose();
    let (before, busy) = (load.count(), cpu()?);
    load.go_on(Duration::from_secs_f64(args.secs)).await?;
    let (after, busier) = (load.count(), cpu()?);
    load.stop().await?;
    let gib = (after.bytes - before.bytes) as f64 / f64::from(1 << 30);
    println!("answers/s {:.0}", (after.answers - before.answers) as f64 / args.secs);
    println!("GiB/s     {:.3}", gib / args.secs);
    if let (Some(busy), Some(busier)) = (busy, busier) {
        println!("CPU s/GiB {:.3}", (busier - busy).as_secs_f64() / gib);
    }
    Ok(())
}
