//! libFuzzer on `antiphon_fuzz::purge_log`; see fuzz/README.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    antiphon_fuzz::purge_log(data);
});
