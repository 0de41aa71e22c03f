//! What quickstart keeps in its folder: certificates, keys, secrets, and each role's configuration.

use super::{Options, loopback};
use crate::certificates::Certificates;
use crate::files::{self, Readers};
use crate::keys::{KeyFolder, random_text};
use crate::roles;
use antiphon_cache::VolumeConfig;
use antiphon_core::{ByteSize, UnixTime};
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Everything the three roles need to start.
pub struct Material {
    /// The data directory, absolute.
    pub folder: PathBuf,
    /// Where log lines go.
    pub log: PathBuf,
    /// Certificates of the edge and the control plane.
    pub certificates: Certificates,
    /// Port of the edge.
    pub edge_port: u16,
    /// The edge's configuration.
    pub edge: antiphon_edge::config::Config,
    /// The origin's configuration.
    pub origin: antiphon_origin::Config,
    /// The control plane's configuration.
    pub control: antiphon_control::Config,
}

impl Material {
    /// Makes what is missing and writes out the configurations.
    pub fn prepare(options: &Options, now: UnixTime) -> Result<Self> {
        files::create_folder(&options.data_dir)?;
        let folder = options.data_dir.canonicalize();
        let folder = folder.with_context(|| format!("find {}", options.data_dir.display()))?;
        let certificates = Certificates::prepare(&folder.join("tls"), now)?;
        KeyFolder::at(&folder.join("keyring")).prepare(now)?;
        files::create_folder(&folder.join("secrets"))?;
        for secret in ["origin", "control-admin"] {
            files::read_or_make(&folder.join("secrets").join(secret), || Ok(random_text()))?;
        }
        let material = Self {
            log: folder.join("quickstart.log"),
            edge_port: options.edge_port,
            edge: edge(&folder, &certificates, options),
            origin: origin(&folder, options),
            control: control(&folder, &certificates, options),
            certificates,
            folder,
        };
        material.save()?;
        Ok(material)
    }

    /// The keyring's files.
    pub fn keys_folder(&self) -> KeyFolder {
        KeyFolder::at(&self.folder.join("keyring"))
    }

    /// Where operators reach the control plane.
    pub fn control_admin_url(&self) -> String {
        format!("http://{}", self.control.admin.listen)
    }

    fn save(&self) -> Result<()> {
        for (name, text) in [
            ("edge.toml", roles::text(&self.edge)?),
            ("origin.toml", roles::text(&self.origin)?),
            ("control.toml", roles::text(&self.control)?),
        ] {
            files::write(&self.folder.join(name), text.as_bytes(), Readers::All)?;
        }
        Ok(())
    }
}

fn edge(folder: &Path, certificates: &Certificates, options: &Options) -> antiphon_edge::config::Config {
    let mut config = antiphon_edge::config::Config {
        listen: loopback(options.edge_port),
        admin_listen: local(options.edge_admin_port),
        url_keys_file: KeyFolder::at(&folder.join("keyring")).url_keys,
        ..Default::default()
    };
    config.tls.cert_file = certificates.chain.clone();
    config.tls.key_file = certificates.key.clone();
    config.upstream.url = format!("http://{}", local(options.origin_port));
    config.upstream.secret_file = folder.join("secrets/origin");
    config.cache.volumes = vec![VolumeConfig {
        segment_bytes: ByteSize::mib(8),
        // A day's evenings may write it many times: nobody runs a quickstart for years.
        dwpd: 0.0,
        ..VolumeConfig::at(folder.join("cache"), ByteSize::mib(256))
    }];
    config
}

fn origin(folder: &Path, options: &Options) -> antiphon_origin::Config {
    let mut config = antiphon_origin::Config {
        listen: local(options.origin_port),
        origin_secret_file: folder.join("secrets/origin"),
        keyring_dir: folder.join("keyring"),
        ..Default::default()
    };
    config.admin.listen = local(options.origin_admin_port);
    config.store.dir = folder.join("store");
    config
}

fn control(folder: &Path, certificates: &Certificates, options: &Options) -> antiphon_control::Config {
    let mut config = antiphon_control::Config {
        listen: loopback(options.control_port),
        public_url: format!("https://localhost:{}", options.control_port),
        edge_url: format!("https://localhost:{}", options.edge_port),
        data_dir: folder.join("control"),
        keyring_dir: folder.join("keyring"),
        ..Default::default()
    };
    config.tls.cert_file = certificates.chain.clone();
    config.tls.key_file = certificates.key.clone();
    config.admin.listen = local(options.control_admin_port);
    config.admin.secret_file = folder.join("secrets/control-admin");
    config.origin.url = format!("http://{}", local(options.origin_port));
    config.origin.secret_file = folder.join("secrets/origin");
    config.demo.listeners = true;
    config
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
