//! The bodies of the fuzz targets: what must hold of every input. Those of the engine's layouts are private like the
//! layouts, and stand in `engine::fuzzing`. The ordinary tests run them on the corpus (`tests/tests/all/fuzz.rs`).

pub mod frame;
pub mod record;

/// Memory that a check may hold whatever its input: some copies of a superblock.
const HELD_BYTES: usize = 1 << 20;

/// Memory that a check may hold for each byte of its input: a result of one byte is an `OperationResult` when it is read,
/// in a vector that grows.
const HELD_BYTES_EACH: usize = 256;

/// Runs a check, which may not hold more memory than its input justifies: a length or a count that it only states counts
/// for nothing.
pub fn bounded(input: &[u8], check: impl FnOnce(&[u8]) -> bool) {
    let held_bytes = allocation_counter::measure(|| _ = check(input)).bytes_max as usize;
    let allowed_bytes = HELD_BYTES + HELD_BYTES_EACH * input.len();
    assert!(held_bytes <= allowed_bytes, "{} bytes of input made the decoder hold {held_bytes} bytes", input.len());
}
