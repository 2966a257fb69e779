//! See `fuzz::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::bounded(input, fuzz::record::check));
