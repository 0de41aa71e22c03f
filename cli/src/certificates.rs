//! A certificate authority of one's own, for loopback: quickstart's browsers and curl trust its `ca.pem`.
//!
//! Keys are made once and kept, certificates are signed anew at each start, so nothing here ever runs out.

use crate::files::{self, Readers};
use antiphon_core::UnixTime;
use anyhow::{Context, Result};
use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// Where the certificates of one data directory are.
pub struct Certificates {
    /// The authority to trust, PEM.
    pub authority: PathBuf,
    /// The servers' certificate chain, PEM.
    pub chain: PathBuf,
    /// The servers' private key, PEM.
    pub key: PathBuf,
    /// Base64 of the SHA-256 of the servers' public key: what Chromium's `spki-list` flag takes.
    pub key_hash: String,
}

/// Names the servers answer to.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// How long before now a certificate is already valid, for clocks that disagree.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);
/// How long a server's certificate lasts.
const SERVER_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

impl Certificates {
    /// Makes or renews the certificates in `folder`.
    pub fn prepare(folder: &Path, now: UnixTime) -> Result<Self> {
        files::create_folder(folder)?;
        let (authority, chain, key) =
            (folder.join("ca.pem"), folder.join("server.pem"), folder.join("server.key"));
        let authority_key = key_pair(&folder.join("ca.key"))?;
        let server_key = key_pair(&key)?;
        let authority_params = authority_params()?;
        if !authority.exists() {
            let certificate =
                authority_params.self_signed(&authority_key).context("sign the authority's certificate")?;
            files::write(&authority, certificate.pem().as_bytes(), Readers::All)?;
        }
        let issuer = Issuer::new(authority_params, authority_key);
        let certificate =
            server_params(now)?.signed_by(&server_key, &issuer).context("sign the servers' certificate")?;
        files::write(&chain, certificate.pem().as_bytes(), Readers::All)?;
        let key_hash = BASE64.encode(Sha256::digest(server_key.subject_public_key_info()).as_slice());
        Ok(Self { authority, chain, key, key_hash })
    }
}

fn key_pair(file: &Path) -> Result<KeyPair> {
    let text = files::read_or_make(file, || {
        let pair = KeyPair::generate().context("make a key pair")?;
        Ok(Zeroizing::new(pair.serialize_pem()))
    })?;
    KeyPair::from_pem(&text).with_context(|| format!("read the key in {}", file.display()))
}

fn authority_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "Antiphon quickstart authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2045, 1, 1);
    Ok(params)
}

fn server_params(now: UnixTime) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(NAMES.map(String::from).to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let moment = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.0);
    params.not_before = moment - BACKDATED;
    params.not_after = moment + SERVER_LIFE;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_keeps_authority_and_keys() {
        let folder = tempfile::tempdir().unwrap();
        let first = Certificates::prepare(folder.path(), UnixTime(1_800_000_000)).unwrap();
        let authority = std::fs::read(&first.authority).unwrap();
        let second = Certificates::prepare(folder.path(), UnixTime(1_800_500_000)).unwrap();
        assert_eq!(std::fs::read(&second.authority).unwrap(), authority);
        assert_eq!(first.key_hash, second.key_hash);
    }
}
