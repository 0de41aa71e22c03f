//! libFuzzer on `antiphon_fuzz::super_block`; see fuzz/README.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    antiphon_fuzz::super_block(data);
});
