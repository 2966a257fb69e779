//! See `engine::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::bounded(input, engine::fuzzing::superblock));
