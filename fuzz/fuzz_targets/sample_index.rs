//! libFuzzer on `antiphon_fuzz::sample_index`; see fuzz/README.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    antiphon_fuzz::sample_index(data);
});
