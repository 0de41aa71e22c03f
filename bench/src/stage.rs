//! The servers side by side: the same objects, certificate and core for each.
//!
//! Promises
//! - Everything lies in one directory in memory and is gone afterwards; every process started is stopped by
//!   its own id.
//!
//! Does not know: what is measured.

mod nginx;
mod objects;
mod origin;

pub use objects::{OBJECT_LEN, Objects};
pub use origin::serve as serve_origin;

use anyhow::{Context, Result};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A directory with everything the servers need.
pub struct Stage {
    dir: TempDir,
    /// What they serve.
    pub objects: Objects,
    /// What their certificate is trusted by.
    pub root: rustls_pki_types::CertificateDer<'static>,
    /// The core they run on; `None` leaves it to the kernel.
    pub core: Option<usize>,
}

/// A server under measurement.
pub struct Server {
    /// The name in tables.
    pub name: &'static str,
    /// Where it answers.
    pub address: SocketAddr,
    /// Whether it speaks HTTP/3.
    pub speaks_h3: bool,
    child: Child,
}

/// The name in the certificate.
pub const HOST: &str = "localhost";
/// Directories in memory, if the machine has them here.
const MEMORY_DIR: &str = "/dev/shm";
/// A server answers this long after its start, or has failed.
const START_LIMIT: Duration = Duration::from_secs(20);
const START_STEP: Duration = Duration::from_millis(20);
/// The origin's secret: nothing here is worth more.
const ORIGIN_SECRET: &str = "antiphon-bench-origin-secret";
/// The edge keeps all objects twice over.
const EDGE_MEMORY: &str = "512MiB";

impl Stage {
    /// Makes objects, certificate and keys.
    pub fn set(core: Option<usize>, now: antiphon_core::UnixTime) -> Result<Self> {
        let memory = Path::new(MEMORY_DIR);
        let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let dir = dir.context("make a directory")?;
        let certified =
            rcgen::generate_simple_self_signed([HOST.to_owned()]).context("make a certificate")?;
        let put = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).with_context(|| format!("write {name}"))
        };
        put("cert.pem", &certified.cert.pem())?;
        put("key.pem", &certified.signing_key.serialize_pem())?;
        put("secret", ORIGIN_SECRET)?;
        let objects = Objects::make(dir.path(), now)?;
        put("url-keys.json", &objects.keys.to_json())?;
        Ok(Self { dir, objects, root: certified.cert.der().clone(), core })
    }

    /// Starts our edge in front of `origin`.
    pub fn edge(&self, name: &'static str, binary: &Path, origin: SocketAddr) -> Result<Server> {
        let (address, admin) = (free_address()?, free_address()?);
        let config = format!(
            "listen = [\"{address}\"]\nadmin_listen = \"{admin}\"\nurl_keys_file = \"{keys}\"\n\
             [tls]\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\n\
             [upstream]\nurl = \"http://{origin}\"\nsecret_file = \"{secret}\"\n\
             [cache]\ncapacity_bytes = \"{EDGE_MEMORY}\"\nvolumes = []\n\
             [log]\nfilter = \"warn\"\naccess = false\n",
            keys = self.path("url-keys.json").display(),
            cert = self.path("cert.pem").display(),
            key = self.path("key.pem").display(),
            secret = self.path("secret").display(),
        );
        let file = self.path(&format!("{name}.toml"));
        fs::write(&file, config).context("write the edge's configuration")?;
        let mut command = self.on_core(binary);
        command.arg("--config").arg(file);
        self.start(name, address, true, command)
    }

    /// Starts nginx serving the files themselves: its best, for it checks no token and keeps no cache.
    pub fn nginx_static(&self, name: &'static str) -> Result<Server> {
        let address = free_address()?;
        self.nginx(name, address, &nginx::static_site(self.dir.path(), address))
    }

    /// Starts nginx as a cache of slices in front of `origin`: the same job as ours, without tokens.
    pub fn nginx_cache(&self, name: &'static str, origin: SocketAddr) -> Result<Server> {
        let address = free_address()?;
        self.nginx(name, address, &nginx::cache(self.dir.path(), address, origin))
    }

    fn nginx(&self, name: &'static str, address: SocketAddr, site: &str) -> Result<Server> {
        let home = self.path(name);
        fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
        let file = home.join("nginx.conf");
        fs::write(&file, nginx::config(self.dir.path(), &home, site))
            .context("write nginx's configuration")?;
        let mut command = self.on_core(Path::new("nginx"));
        command.arg("-p").arg(&home).arg("-c").arg(file);
        self.start(name, address, false, command)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command on the servers' core.
    fn on_core(&self, program: &Path) -> Command {
        match self.core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(core.to_string()).arg(program);
                command
            }
            None => Command::new(program),
        }
    }

    fn start(
        &self,
        name: &'static str,
        address: SocketAddr,
        speaks_h3: bool,
        mut command: Command,
    ) -> Result<Server> {
        let log = fs::File::create(self.path(&format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        let mut server = Server { name, address, speaks_h3, child };
        let until = Instant::now() + START_LIMIT;
        while TcpStream::connect(address).is_err() {
            let ended = server.child.try_wait()?.is_some();
            if ended || Instant::now() > until {
                let said = fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();
                anyhow::bail!("{name} did not start: {}", said.trim());
            }
            std::thread::sleep(START_STEP);
        }
        Ok(server)
    }
}

impl Server {
    /// The root of its processes.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that nginx's master takes its workers along. If it cannot be sent, the process is gone.
        let told = Command::new("kill").arg(self.child.id().to_string()).status();
        if told.is_ok_and(|status| status.success()) {
            let _ = self.child.wait();
        }
    }
}

/// An address that is free just now.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}
