//! Every maximum of a participant, with its reason.

/// Bytes of all promises and of all prepares that wait for locks, encoded; beyond it the answer is BUSY. All
/// promises are logged again when a checkpoint begins, at once, so they have to fit in what the
/// log takes without a write between.
pub(crate) const HELD_BYTES_MAX: usize = 24 << 20;

/// Coordinators that this participant heeds: the latest process of each is kept until an operator retires its number.
pub(crate) const COORDINATORS_MAX: usize = 256;

/// Keys that the scans of one transaction may visit: a few hundred milliseconds of work, in slices.
pub(crate) const VISITED_KEYS_MAX: usize = 4_000_000;

/// Work of one turn on scans: a key is one unit, and so is every KiB of its value. Half a millisecond, after which other
/// messages, the log and the clock have their turn.
pub(crate) const SLICE_UNITS: usize = 8_192;

/// Bytes of results of scans that are under way; past it no further one is begun.
pub(crate) const PARTIAL_BYTES_MAX: usize = 32 << 20;

/// How long work rests whose coordinator does not take its answers, in microseconds.
pub(crate) const STALL_US: u64 = 10_000;

/// What a promise that is logged again has more than its first record: where that stood, and its head in the log.
pub(crate) const AGAIN_BYTES: usize = 32;

/// What is logged again of coordinators: of each its process, and the latest places that were told, both ways; and the
/// starts of this log.
pub(crate) const PEERS_AGAIN_BYTES: usize = COORDINATORS_MAX * 96 + protocol::limits::STARTS_MAX * 12 + 64;

const _: () = assert!(COORDINATORS_MAX <= protocol::limits::STATED_MAX);

// A single transaction always fits.
const _: () = assert!(protocol::limits::RECORD_BYTES_MAX <= HELD_BYTES_MAX);

// What is held, one promise more, and what waits for the disk already.
const _: () = assert!(
    HELD_BYTES_MAX + protocol::limits::RECORD_BYTES_MAX + engine::limits::QUEUE_BYTES_SCARCE
        < engine::limits::QUEUE_BYTES_MAX
);
