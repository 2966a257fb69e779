//! See `fuzz::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::bounded(input, fuzz::frame::check));
