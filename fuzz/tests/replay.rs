//! Every target on its corpus, then on seeded mutations of it.
//!
//! `ANTIPHON_FUZZ_ROUNDS` (mutations per target) and `ANTIPHON_FUZZ_SEED` make a longer or another run.

#![allow(clippy::unwrap_used, reason = "a test may stop where it is wrong")]

use antiphon_fuzz::mutate::{Dice, mutated};
use antiphon_fuzz::{Outcome, TARGETS, Target};
use data_encoding::BASE64;
use std::collections::BTreeSet;
use std::path::PathBuf;

const ROUNDS: u64 = 10_000;
const SEED: u64 = 20_261_123;

/// Says which input a target fell over, if it does.
struct Told<'a> {
    target: &'static str,
    what: String,
    input: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("fuzz target {} fell over {}; the input in base64:", self.target, self.what);
            eprintln!("{}", BASE64.encode(self.input));
        }
    }
}

fn corpus_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The inputs of one target, by name of the file.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut inputs: Vec<_> = std::fs::read_dir(corpus_dir().join(target))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn run(target: Target, what: String, input: &[u8]) -> Outcome {
    let _told = Told { target: target.name, what, input };
    (target.run)(input)
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let dirs: BTreeSet<String> = std::fs::read_dir(corpus_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, dirs);
    assert!(TARGETS.iter().all(|target| corpus(target.name).len() >= 3));
    assert!(TARGETS.iter().flat_map(|target| corpus(target.name)).all(|(_, input)| input.len() < 32 * 1024));
}

#[test]
fn every_target_has_a_program_for_libfuzzer() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    for Target { name, .. } in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz_targets/{name}.rs"));
        assert!(std::fs::read_to_string(program).unwrap().contains(&format!("antiphon_fuzz::{name}(data)")));
    }
}

#[test]
fn every_corpus_holds_what_its_parser_takes_and_what_it_refuses() {
    for target in TARGETS {
        run(target, "nothing at all".into(), b"");
        let inputs = corpus(target.name);
        let taken = inputs.iter().filter(|(name, input)| run(target, name.clone(), input) == Outcome::Taken);
        let taken = taken.count();
        assert!(taken > 0 && taken < inputs.len(), "{}: {taken} of {} are taken", target.name, inputs.len());
    }
}

/// One test per target, so that they run beside each other and fail by name.
macro_rules! mutations {
    ($($test:ident: $target:ident;)*) => {$(
        #[test]
        fn $test() {
            let target = TARGETS.into_iter().find(|target| target.name == stringify!($target)).unwrap();
            let seed = number("ANTIPHON_FUZZ_SEED", SEED);
            let inputs: Vec<Vec<u8>> = corpus(target.name).into_iter().map(|(_, input)| input).collect();
            let mut dice = Dice::new(seed);
            for round in 0..number("ANTIPHON_FUZZ_ROUNDS", ROUNDS) {
                let input = mutated(&inputs, &mut dice);
                run(target, format!("round {round} of seed {seed}"), &input);
            }
        }

        const _: fn(&[u8]) -> Outcome = antiphon_fuzz::$target;
    )*};
}

mutations! {
    no_damaged_licence_request_breaks_the_parser: clearkey;
    no_damaged_configuration_breaks_the_parser: config;
    no_damaged_footer_names_records_outside_its_segment: footer;
    no_damaged_keyring_opens_wrongly: keyring;
    no_damaged_mezzanine_opens_wrongly: mezzanine_header;
    no_damaged_object_meta_outgrows_its_limits: object_meta;
    no_damaged_path_breaks_the_grammar: path;
    no_damaged_purge_log_revives_anything: purge_log;
    no_damaged_range_grants_too_much: range;
    no_damaged_sample_index_misleads_the_cipher: sample_index;
    no_damaged_record_shows_bytes_unchecked: record;
    no_damaged_recording_breaks_the_packager: source;
    no_damaged_segment_header_is_believed: segment_header;
    no_damaged_snapshot_header_is_believed: snapshot_header;
    no_damaged_super_block_is_believed: super_block;
    no_damaged_token_opens_anything: token;
    no_damaged_url_key_ring_signs_what_it_refuses: url_keys;
}
