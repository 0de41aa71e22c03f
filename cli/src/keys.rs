//! `antiphon keys`: the keyring folder of origin, control and edges.
//!
//! `kek` (the key-encryption key) and `keyring.json` (epoch masters, sealed by it) are for origin and control;
//! `url-keys.json` is for control, which signs, and for edges, which verify.

use crate::files::{self, Readers};
use antiphon_core::UnixTime;
use antiphon_drm::keys::{FileKek, Keyring, epochs_needed};
use antiphon_drm::token::UrlKeys;
use anyhow::{Context, Result, bail};
use rand::Rng;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The files of one keyring folder.
pub struct KeyFolder {
    /// The key-encryption key, 64 hexadecimal digits.
    pub kek: PathBuf,
    /// The epoch masters, sealed.
    pub keyring: PathBuf,
    /// The keys of signed URLs.
    pub url_keys: PathBuf,
}

impl KeyFolder {
    /// The files as they are named inside `folder`.
    pub fn at(folder: &Path) -> Self {
        Self {
            kek: folder.join("kek"),
            keyring: folder.join("keyring.json"),
            url_keys: folder.join("url-keys.json"),
        }
    }

    /// Makes what is missing, and masters for every epoch needed until the next month.
    ///
    /// Nothing that exists is replaced: a lost key-encryption key makes every stored rendition unreadable.
    pub fn prepare(&self, now: UnixTime) -> Result<()> {
        let folder = self.kek.parent().unwrap_or(Path::new("."));
        files::create_folder(folder)?;
        if self.keyring.exists() && !self.kek.exists() {
            bail!(
                "{} is there, but not the {} it was sealed with",
                self.keyring.display(),
                self.kek.display()
            );
        }
        files::read_or_make(&self.kek, || Ok(FileKek::file_text(&random())))?;
        files::read_or_make(&self.url_keys, || {
            Ok(UrlKeys::generate("k1", *random(), now).context("make a URL-signing key")?.to_json())
        })?;
        self.extend(now).map(drop)
    }

    /// Adds masters for epochs that will be needed; says whether any were missing.
    pub fn extend(&self, now: UnixTime) -> Result<bool> {
        let kek = self.open_kek()?;
        let mut keyring = match files::read_if_there(&self.keyring)? {
            Some(text) => {
                Keyring::open(&text, &kek).with_context(|| format!("open {}", self.keyring.display()))?
            }
            None => Keyring::new(),
        };
        let before = keyring.epochs().count();
        keyring
            .extend(epochs_needed(now), &mut |bytes| rand::rng().fill_bytes(bytes))
            .context("make epoch masters")?;
        if keyring.epochs().count() == before {
            return Ok(false);
        }
        let sealed =
            keyring.seal(&kek, &mut |bytes| rand::rng().fill_bytes(bytes)).context("seal the keyring")?;
        files::write(&self.keyring, sealed.as_bytes(), Readers::Owner)?;
        Ok(true)
    }

    /// The keyring, opened.
    pub fn open(&self) -> Result<Keyring> {
        let text = files::read_if_there(&self.keyring)?
            .with_context(|| format!("there is no {}", self.keyring.display()))?;
        Keyring::open(&text, &self.open_kek()?).with_context(|| format!("open {}", self.keyring.display()))
    }

    /// The names of the URL-signing keys.
    pub fn url_key_names(&self) -> Result<Vec<String>> {
        let text = files::read_if_there(&self.url_keys)?
            .with_context(|| format!("there is no {}", self.url_keys.display()))?;
        let keys = UrlKeys::from_json(&text).with_context(|| format!("read {}", self.url_keys.display()))?;
        Ok(keys.names().map(str::to_owned).collect())
    }

    fn open_kek(&self) -> Result<FileKek> {
        let text = files::read_if_there(&self.kek)?
            .with_context(|| format!("there is no {}", self.kek.display()))?;
        FileKek::from_text(&text).with_context(|| format!("read {}", self.kek.display()))
    }
}

/// 32 random bytes from the operating system's seeded generator.
pub fn random() -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::rng().fill_bytes(&mut *bytes);
    bytes
}

/// A random secret as text, 43 characters.
pub fn random_text() -> Zeroizing<String> {
    let mut text = Zeroizing::new(data_encoding::BASE64URL_NOPAD.encode(&*random()));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use antiphon_core::{AssetId, Rendition, Scheme};
    use antiphon_drm::keys::epoch_at;

    const NOW: UnixTime = UnixTime(1_800_000_000);

    #[test]
    fn preparing_twice_keeps_every_key() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(&folder.path().join("keyring"));
        keys.prepare(NOW).unwrap();
        let before = std::fs::read(&keys.keyring).unwrap();
        keys.prepare(NOW).unwrap();
        assert_eq!(std::fs::read(&keys.keyring).unwrap(), before);
    }

    #[test]
    fn a_month_later_there_are_new_masters_and_the_old_ones_still_work() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(folder.path());
        keys.prepare(NOW).unwrap();
        let asset = AssetId::from_bytes([7; 16]);
        let key = |at: UnixTime| {
            let epoch = epoch_at(&asset, at, 0);
            keys.open().unwrap().content_key(&asset, Scheme::Cenc, Rendition::Aac128, epoch)
        };
        let now = key(NOW).unwrap();
        let much_later = NOW.plus(90 * 86_400);
        assert!(key(much_later).is_err());
        assert!(keys.extend(much_later).unwrap());
        assert!(key(much_later).is_ok());
        assert!(key(NOW).unwrap() == now);
    }

    #[test]
    fn a_keyring_whose_key_is_gone_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(folder.path());
        keys.prepare(NOW).unwrap();
        std::fs::remove_file(&keys.kek).unwrap();
        let error = keys.prepare(NOW).unwrap_err();
        assert!(format!("{error:#}").contains("sealed with"), "{error:#}");
    }
}
