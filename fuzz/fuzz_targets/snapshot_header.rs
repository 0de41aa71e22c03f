//! libFuzzer on `antiphon_fuzz::snapshot_header`; see fuzz/README.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    antiphon_fuzz::snapshot_header(data);
});
