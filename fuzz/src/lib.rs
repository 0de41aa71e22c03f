//! Every parser that outsiders or a rotten disk reach, fed with what no well-meaning client sends.
//!
//! A target takes any bytes, hands them to one parser and asserts what must hold of whatever comes out:
//! written again it reads the same, it stays inside its limits, and forged things stay unbelieved. The same
//! functions are run by `cargo test` (corpus, then seeded mutations of it) and by libFuzzer.
//!
//! Promises
//! - A target returns for every input; a panic is a finding.
//! - [`mutate::mutated`] gives the same bytes for the same seed, so a finding in CI is found again at home.
//!
//! Does not know: sockets, files, clocks.

pub mod mutate;
mod targets;

pub use targets::disk::{
    footer, object_meta, purge_log, record, segment_header, snapshot_header, super_block,
};
pub use targets::media::{DATA_KEY, mezzanine_header, sample_index, source};
pub use targets::rights::{KEK, clearkey, keyring, token, url_keys};
pub use targets::words::{config, path, range};

/// A parser and what must hold of it.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Feeds it; panics where something that must hold does not.
    pub run: fn(&[u8]) -> Outcome,
}

/// What a parser said. Targets do not judge it; a corpus that is never taken tests little, and tests see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The input is well-formed, as it came or as the target dressed it up.
    Taken,
    /// It is not.
    Refused,
}

/// All targets.
pub const TARGETS: [Target; 17] = [
    Target { name: "clearkey", run: clearkey },
    Target { name: "config", run: config },
    Target { name: "footer", run: footer },
    Target { name: "keyring", run: keyring },
    Target { name: "mezzanine_header", run: mezzanine_header },
    Target { name: "object_meta", run: object_meta },
    Target { name: "path", run: path },
    Target { name: "purge_log", run: purge_log },
    Target { name: "range", run: range },
    Target { name: "record", run: record },
    Target { name: "sample_index", run: sample_index },
    Target { name: "segment_header", run: segment_header },
    Target { name: "snapshot_header", run: snapshot_header },
    Target { name: "source", run: source },
    Target { name: "super_block", run: super_block },
    Target { name: "token", run: token },
    Target { name: "url_keys", run: url_keys },
];
