//! `antiphon quickstart`: edge, origin and control in one process on loopback, with two demo tracks.
//!
//! Promises
//! - Everything it makes is inside the data directory; a second start finds it and changes no key.
//! - The roles meet over the wire with the secrets and files they would use on separate hosts, and their
//!   configuration is written out, so `antiphon-edge --config antiphon-data/edge.toml` does the same job.
//! - When it prints its lines, they work.

mod announce;
mod logging;
mod material;

use crate::client::{Listener, Operator};
use crate::ingest;
use announce::Announcement;
use antiphon_core::{Clock, SongId};
use anyhow::{Context, Result};
use clap::Args;
use material::Material;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Where quickstart keeps its things and listens. Every address is loopback.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Folder for keys, objects, database and log; made if it is not there.
    #[arg(long, default_value = "antiphon-data")]
    pub data_dir: PathBuf,
    /// Port of the edge, TCP and UDP.
    #[arg(long, default_value_t = 8443)]
    pub edge_port: u16,
    /// Port of the control plane and the player page.
    #[arg(long, default_value_t = 8480)]
    pub control_port: u16,
    /// Port of the origin.
    #[arg(long, default_value_t = 8280)]
    pub origin_port: u16,
    /// Port of the edge's admin listener.
    #[arg(long, default_value_t = 9180)]
    pub edge_admin_port: u16,
    /// Port of the origin's admin listener.
    #[arg(long, default_value_t = 9280)]
    pub origin_admin_port: u16,
    /// Port of the control plane's admin listener.
    #[arg(long, default_value_t = 9380)]
    pub control_admin_port: u16,
}

/// How often new epoch masters are looked after: far more often than the week they are made ahead.
const KEYRING_EVERY: Duration = Duration::from_secs(12 * 3600);

/// Starts everything, says where it is, and runs until it is asked to stop.
pub async fn run(options: Options, clock: Arc<dyn Clock>) -> Result<ExitCode> {
    let material = Material::prepare(&options, clock.now())?;
    logging::start(&material.log)?;
    let origin =
        antiphon_origin::start(material.origin.clone(), clock.clone()).await.context("start the origin")?;
    let control = antiphon_control::start(material.control.clone(), clock.clone())
        .await
        .context("start the control plane")?;
    let edge = antiphon_edge::start(material.edge.clone(), clock.clone()).await.context("start the edge")?;
    let songs = publish_demo_tracks(&material, clock.clone()).await?;
    let demo = songs.first().context("there is no demo track in this binary")?;
    let premium =
        Listener::log_in(&material.control.public_url, &material.certificates.authority, "premium", "listen")
            .await?;
    let announcement = Announcement::new(&material, premium.stream_url(demo).await?);
    announcement.print();
    announcement.save(&material.folder)?;
    let keyring = tokio::spawn(look_after_keyring(material.keys_folder(), clock));
    stop_asked().await?;
    println!("stopping");
    keyring.abort();
    edge.stop().await;
    control.stop().await;
    origin.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Stores the demo tracks, if they are not stored yet, and tells the control plane about them.
async fn publish_demo_tracks(material: &Material, clock: Arc<dyn Clock>) -> Result<Vec<SongId>> {
    let operator = Operator::new(&material.control_admin_url(), &material.control.admin.secret_file)?;
    let ingest = ingest::open(&material.origin, clock).await?;
    let mut songs = Vec::new();
    for track in antiphon_origin::demo::tracks() {
        let ingested = ingest.demo(track).await.context("store a demo track")?;
        operator.put_song(&ingested.record.song_id, &ingested.record).await?;
        songs.push(ingested.record.song_id);
    }
    Ok(songs)
}

/// A process that runs for months must not run out of epochs.
async fn look_after_keyring(keys: crate::keys::KeyFolder, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(KEYRING_EVERY).await;
        if let Err(error) = keys.extend(clock.now()) {
            tracing::error!("extend the keyring: {error:#}");
        }
    }
}

/// Waits for SIGINT or SIGTERM.
pub async fn stop_asked() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listen for SIGINT"),
        _ = terminate.recv() => Ok(()),
    }
}

/// Loopback addresses with this port: IPv6 too where the machine has it, since browsers try it first.
fn loopback(port: u16) -> Vec<SocketAddr> {
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let mut addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    if TcpListener::bind(v6).is_ok() {
        addresses.push(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    }
    addresses
}
