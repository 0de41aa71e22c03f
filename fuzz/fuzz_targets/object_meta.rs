//! libFuzzer on `antiphon_fuzz::object_meta`; see fuzz/README.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    antiphon_fuzz::object_meta(data);
});
