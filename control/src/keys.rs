//! Keys and secrets from files: the key ring that origin and edges share, and the keys of our own tokens.
//!
//! Promises
//! - A key file that strangers may read, or anybody but its owner may change, is refused.
//! - A key that is made here is on disk, whole and for its owner only, before it is used; of two processes that
//!   start at once both end up with the same one.
//! - Errors name the file and never what is in it.
//!
//! Does not know: what the keys are for.

use antiphon_core::Secret;
use antiphon_core::secret::SecretError;
use antiphon_drm::keys::{FileKek, KekError, Keyring, KeyringError};
use antiphon_drm::token::{UrlKeys, UrlKeysError};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use rand::Rng;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use zeroize::Zeroizing;

/// What licences and stream URLs are made with, as the files of one folder say.
pub struct SharedKeys {
    folder: PathBuf,
    ring: RwLock<Arc<Ring>>,
}

/// The keys of one reading.
pub struct Ring {
    /// Masters of content keys.
    pub keyring: Keyring,
    /// Keys of stream tokens.
    pub url_keys: UrlKeys,
}

/// Why a key is not there.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system said no.
    #[error("{doing} {file}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        file: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// Others may read or change it.
    #[error("{file} has mode {mode:03o}: a key is for its owner, run chmod 600 on it")]
    Open {
        /// Which file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Too long to be a key.
    #[error("{file} is longer than {FILE_LEN_MAX} bytes")]
    TooLong {
        /// Which file.
        file: PathBuf,
    },
    /// Not one line with a secret.
    #[error("read the secret in {file}")]
    Secret {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: SecretError,
    },
    /// Not a token key of ours.
    #[error("{file} is no token key: 64 hexadecimal digits on one line")]
    TokenKey {
        /// Which file.
        file: PathBuf,
    },
    /// Not a key-encryption key.
    #[error("read the key in {file}")]
    Kek {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: KekError,
    },
    /// Not a ring of masters that this key opens.
    #[error("open the masters in {file}")]
    Keyring {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: KeyringError,
    },
    /// Not a ring of URL keys.
    #[error("read the URL keys in {file}")]
    UrlKeys {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: UrlKeysError,
    },
}

/// Longest key file, in bytes: a sealed ring of many epochs.
pub const FILE_LEN_MAX: u64 = antiphon_drm::keys::KEYRING_TEXT_MAX as u64;

const TOKEN_KEY_LEN: usize = 32;
/// Bits of a session's name: not to be guessed, not to come twice.
const SESSION_LEN: usize = 16;

impl SharedKeys {
    /// Reads the key ring in `folder`.
    pub fn open(folder: &Path) -> Result<Self, KeyFileError> {
        let ring = RwLock::new(Arc::new(Ring::read(folder)?));
        Ok(Self { folder: folder.to_owned(), ring })
    }

    /// The keys as last read.
    pub fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files anew: masters are made ahead and URL keys are rotated while we run. When that fails the
    /// keys stay as they were.
    pub fn reload(&self) -> Result<(), KeyFileError> {
        let ring = Arc::new(Ring::read(&self.folder)?);
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
        Ok(())
    }
}

impl Ring {
    fn read(folder: &Path) -> Result<Self, KeyFileError> {
        let kek_file = folder.join("kek");
        let masters_file = folder.join("keyring.json");
        let url_keys_file = folder.join("url-keys.json");
        let kek = FileKek::from_text(&read(&kek_file)?)
            .map_err(|cause| KeyFileError::Kek { file: kek_file, cause })?;
        let keyring = Keyring::open(&read(&masters_file)?, &kek)
            .map_err(|cause| KeyFileError::Keyring { file: masters_file, cause })?;
        let url_keys = UrlKeys::from_json(&read(&url_keys_file)?)
            .map_err(|cause| KeyFileError::UrlKeys { file: url_keys_file, cause })?;
        Ok(Self { keyring, url_keys })
    }
}

/// Reads a shared secret: one line of printable characters.
pub fn secret(file: &Path) -> Result<Secret, KeyFileError> {
    Secret::from_text(&read(file)?).map_err(|cause| KeyFileError::Secret { file: file.to_owned(), cause })
}

/// Reads the key of a kind of token, made first if there is none.
pub fn token_key(file: &Path) -> Result<Secret, KeyFileError> {
    if !file.exists() {
        make_token_key(file)?;
    }
    let text = read(file)?;
    let line = text.trim_end_matches(['\r', '\n']);
    match HEXLOWER.decode(line.as_bytes()) {
        Ok(key) if key.len() == TOKEN_KEY_LEN => Ok(Secret::from_bytes(key)),
        _ => Err(KeyFileError::TokenKey { file: file.to_owned() }),
    }
}

/// Makes a folder, and those above it, for its owner only.
pub fn private_folder(folder: &Path) -> Result<(), KeyFileError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|cause| KeyFileError::Io { doing: "make the folder", file: folder.to_owned(), cause })
}

/// The name of a new session: 128 random bits.
pub fn session_name() -> String {
    let mut bytes = [0; SESSION_LEN];
    rand::rng().fill_bytes(&mut bytes);
    format!("session_{}", BASE64URL_NOPAD.encode(&bytes))
}

/// Writes a key beside its place and links it there, so that it is never seen half-written and never replaces
/// one that another process made meanwhile.
fn make_token_key(file: &Path) -> Result<(), KeyFileError> {
    let fault = |cause| KeyFileError::Io { doing: "make the key", file: file.to_owned(), cause };
    let mut key = Zeroizing::new([0; TOKEN_KEY_LEN]);
    rand::rng().fill_bytes(&mut *key);
    let text = Zeroizing::new(format!("{}\n", HEXLOWER.encode(&*key)));
    let beside = file.with_extension(format!("{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        match fs::hard_link(&beside, file) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    };
    let written = write();
    let removed = fs::remove_file(&beside);
    written.and(removed).map_err(fault)
}

fn read(file: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let fault = |cause| KeyFileError::Io { doing: "read", file: file.to_owned(), cause };
    let source = File::open(file).map_err(fault)?;
    let facts = source.metadata().map_err(fault)?;
    let mode = facts.permissions().mode() & 0o777;
    // The group may read: that is how systemd hands credentials over (an ACL shows as group bits).
    if mode & 0o037 != 0 {
        return Err(KeyFileError::Open { file: file.to_owned(), mode });
    }
    if facts.len() > FILE_LEN_MAX {
        return Err(KeyFileError::TooLong { file: file.to_owned() });
    }
    // Room for everything at once: growing would leave copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(facts.len()).unwrap_or(0) + 1));
    source.take(FILE_LEN_MAX).read_to_string(&mut text).map_err(fault)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use antiphon_core::{Epoch, UnixTime};
    use std::collections::HashSet;

    #[test]
    fn a_token_key_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.key");
        let first = token_key(&file).unwrap();
        assert!(token_key(&file).unwrap().matches(first.expose()));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_key_that_strangers_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.key");
        token_key(&file).unwrap();
        let with_mode = |mode| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            token_key(&file)
        };
        for open in [0o644, 0o604, 0o601, 0o660, 0o666] {
            let error = with_mode(open).unwrap_err();
            assert!(matches!(error, KeyFileError::Open { mode, .. } if mode == open), "{error}");
        }
        for closed in [0o400, 0o440, 0o600] {
            assert!(with_mode(closed).is_ok(), "{closed:o}");
        }
    }

    #[test]
    fn a_damaged_token_key_is_named_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.key");
        token_key(&file).unwrap();
        fs::write(&file, "half").unwrap();
        let error = token_key(&file).unwrap_err().to_string();
        assert!(error.contains("access.key") && !error.contains("half"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"half");
    }

    fn put(folder: &Path, name: &str, text: &str) {
        let mut file = OpenOptions::new();
        let file = file.write(true).create(true).truncate(true).mode(0o600).open(folder.join(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn write_ring(folder: &Path, kid: &str, epochs: u32) {
        let kek = FileKek::from_bytes(&[9; 32]);
        let mut keyring = Keyring::new();
        keyring.extend(Epoch(1)..=Epoch(epochs), &mut |bytes| bytes.fill(1)).unwrap();
        put(folder, "kek", &FileKek::file_text(&[9; 32]));
        put(folder, "keyring.json", &keyring.seal(&kek, &mut |nonce| nonce.fill(2)).unwrap());
        put(
            folder,
            "url-keys.json",
            &UrlKeys::generate(kid, [3; 32], UnixTime(1_800_000_000)).unwrap().to_json(),
        );
    }

    #[test]
    fn a_ring_that_grew_is_read_again_and_a_damaged_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        write_ring(folder.path(), "k1", 2);
        let keys = SharedKeys::open(folder.path()).unwrap();
        let seen = |keys: &SharedKeys| {
            let ring = keys.ring();
            (ring.keyring.epochs().count(), ring.url_keys.names().map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(seen(&keys), (2, vec!["k1".to_owned()]));

        write_ring(folder.path(), "k2", 3);
        keys.reload().unwrap();
        assert_eq!(seen(&keys), (3, vec!["k2".to_owned()]));

        put(folder.path(), "url-keys.json", "{");
        let error = keys.reload().unwrap_err();
        assert!(error.to_string().ends_with("url-keys.json"), "{error}");
        assert_eq!(seen(&keys), (3, vec!["k2".to_owned()]));
    }

    #[test]
    fn session_names_are_ids_and_do_not_come_twice() {
        let names: HashSet<String> = (0..1000).map(|_| session_name()).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.parse::<antiphon_core::SessionId>().is_ok()));
    }
}
