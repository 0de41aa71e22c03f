//! The web player, embedded in the binary: its files, their types and entity tags.
//!
//! Promises
//! - Every file of `player/` that a browser needs is here; a test compares with the folder.
//!
//! Does not know: HTTP beyond types and tags, what the files do.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// All files of the page, by path.
pub struct Page {
    files: HashMap<&'static str, PageFile>,
}

/// One file of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageFile {
    /// Its bytes.
    pub bytes: &'static [u8],
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its strong entity tag, quotes included.
    pub etag: String,
}

/// Lists files of `player/` with their bytes.
macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../player/", $name)).as_slice())),*]
    };
}

/// What the page consists of. Tests and type-check settings of `player/` stay outside.
const FILES: [(&str, &[u8]); 17] = embedded![
    "api.js",
    "engine.js",
    "failure.js",
    "format.js",
    "icon.svg",
    "index.html",
    "licence.js",
    "loudness.js",
    "manifest.js",
    "mp4.js",
    "plan.js",
    "player.js",
    "progress.js",
    "protocol.js",
    "ranges.js",
    "style.css",
    "view.js",
];

/// The file that `/` answers with.
pub const INDEX: &str = "index.html";

impl Page {
    /// Reads what was embedded.
    pub fn embedded() -> Self {
        let file = |(name, bytes): (&'static str, &'static [u8])| {
            let digest = Sha256::digest(bytes);
            let etag = format!("\"{}\"", HEXLOWER.encode(&digest[..16]));
            (name, PageFile { bytes, content_type: content_type(name), etag })
        };
        Self { files: FILES.into_iter().map(file).collect() }
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> Option<&PageFile> {
        self.files.get(name)
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn the_page_is_whole() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../player");
        let names = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let served = |name: &String| content_type(name) != "application/octet-stream";
        let there: BTreeSet<String> = names.filter(served).collect();
        let embedded: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(there, embedded, "name it in FILES");
    }

    #[test]
    fn each_file_has_a_tag_of_its_own() {
        let page = Page::embedded();
        let tags: BTreeSet<&str> = page.files.values().map(|file| file.etag.as_str()).collect();
        assert_eq!(tags.len(), FILES.len());
        assert_eq!(page.file(INDEX).unwrap().content_type, "text/html; charset=utf-8");
    }
}
