//! What quickstart says when everything is up: lines to paste, and the same as JSON for programs.

use super::material::Material;
use crate::files::{self, Readers};
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Everything a person or a test needs to listen.
#[derive(Serialize)]
pub struct Announcement {
    pid: u32,
    player_url: String,
    control_url: String,
    control_admin_url: String,
    control_admin_token_file: PathBuf,
    edge_url: String,
    edge_admin_url: String,
    origin_admin_url: String,
    signed_url: String,
    ca: PathBuf,
    /// Base64 of the SHA-256 of the servers' public key.
    key_hash: String,
    #[serde(skip)]
    chromium: String,
}

/// File in the data directory with the facts as JSON; for its owner only, since it has a signed URL.
const FACTS_FILE: &str = "quickstart.json";

impl Announcement {
    /// What to say about a running quickstart.
    pub fn new(material: &Material, signed_url: String) -> Self {
        let control_url = material.control.public_url.clone();
        let edge_url = material.control.edge_url.clone();
        let admin = |address: std::net::SocketAddr| format!("http://{address}");
        Self {
            pid: std::process::id(),
            player_url: format!("{control_url}/"),
            chromium: chromium_line(material, &control_url),
            control_url,
            control_admin_url: material.control_admin_url(),
            control_admin_token_file: material.control.admin.secret_file.clone(),
            edge_url,
            edge_admin_url: admin(material.edge.admin_listen),
            origin_admin_url: admin(material.origin.admin.listen),
            signed_url,
            ca: material.certificates.authority.clone(),
            key_hash: material.certificates.key_hash.clone(),
        }
    }

    /// Prints the lines.
    pub fn print(&self) {
        let Self { player_url, signed_url, chromium, ca, .. } = self;
        let ca = quoted(&ca.to_string_lossy());
        println!(
            "\
Antiphon is up. Log in as the free or the premium listener; a demo password is filled in for you.

  player      {player_url}
              (the certificate is of our own making: accept it once, or trust {ca})

  over HTTP/3 {chromium}

  a signed URL, good for an hour, and a range of it:
              {signed_url}

curl --cacert {ca} --range 0-65535 --output /dev/null --write-out '%{{http_code}} HTTP/%{{http_version}} %{{size_download}} bytes in %{{time_total}} s\\n' '{signed_url}'

Your own music: antiphon ingest FILE..    Stop: Ctrl-C"
        );
    }

    /// Leaves the facts for programs.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("write the facts as JSON")?;
        files::write(&folder.join(FACTS_FILE), text.as_bytes(), Readers::Owner)
    }
}

/// A browser refuses HTTP/3 with a certificate of a private authority unless told the key and the address.
fn chromium_line(material: &Material, player_url: &str) -> String {
    let profile = quoted(&material.folder.join("chromium").to_string_lossy());
    let edge = material.edge_port;
    let key_hash = &material.certificates.key_hash;
    format!(
        "chromium --user-data-dir={profile} --origin-to-force-quic-on=localhost:{edge} \
         --ignore-certificate-errors-spki-list={key_hash} --host-resolver-rules='MAP localhost 127.0.0.1' {player_url}/"
    )
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_is_quoted_for_the_shell() {
        assert_eq!(quoted("/tmp/a/ca.pem"), "/tmp/a/ca.pem");
        assert_eq!(quoted("/tmp/my music"), "'/tmp/my music'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
