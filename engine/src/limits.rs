//! Every maximum of the engine, with its reason. Sizes are in bytes unless the name says otherwise.

use std::time::Duration;

/// Unit of alignment and padding: a multiple of every sector size in use, and what O_DIRECT accepts everywhere.
pub const BLOCK_BYTES: usize = 4096;

/// Smallest unit that a disk writes whole; what the fake disk tears at.
pub const SECTOR_BYTES: usize = 512;

/// Largest group. Larger ones add latency and no throughput: 4 MiB already takes milliseconds to write.
pub const GROUP_BYTES_MAX: usize = 4 << 20;

/// How long the bytes of a group may take on the disk, in microseconds: on a slow one groups become smaller.
pub const GROUP_WRITE_US: u64 = 100_000;

/// What a group may have on the slowest disk: below that, padding and the parts that every write takes cost more than they save.
pub const GROUP_BYTES_SLOW: usize = 16 << 10;

/// What a group may have on a disk of which nothing is known, besides twice what the last ones had.
pub const GROUP_BYTES_UNKNOWN: usize = 64 << 10;

/// A write of so many bytes, or more, counts in full for what a byte takes; a smaller one by its share.
pub const GROUP_BYTES_KNOWN: u64 = 64 << 10;

/// Largest payload of a record, so that a group always holds at least one and a reader can bound what it allocates.
pub const RECORD_BYTES_MAX: usize = 2 << 20;

/// What the engine's own records may exceed [`RECORD_BYTES_MAX`] by: the framing of a table slice that carries one value.
pub const RECORD_SLACK_BYTES: usize = 4096;

/// Default size of a segment: large against a group (little is lost at its end), small against the disk.
pub const SEGMENT_BYTES_DEFAULT: u64 = 32 << 20;

/// Smallest segment for production: two of the largest groups.
pub const SEGMENT_BYTES_MIN: u64 = 8 << 20;

/// Smallest segment at all, for tests and simulations, where records are small.
pub const SEGMENT_BYTES_TEST_MIN: u64 = 64 << 10;

/// Largest segment: recovery holds one in memory.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Most segments that a log can have: what the superblock holds.
pub const SEGMENTS_MAX: usize = 5400;

/// Default of `Options::segments_max`: 32 GiB at the default size.
pub const SEGMENTS_DEFAULT: usize = 1024;

/// Least number of segments that a log may be limited to: what it is written in, and what a checkpoint goes to.
pub const SEGMENTS_MIN: usize = 4;

/// Freed segment files that are kept for reuse; what exceeds them is deleted.
pub const SPARE_SEGMENTS_MAX: usize = 4;

/// Segment files that are kept open, the last ones that were used: those that are written and made ready, and some that are
/// read at an open. Each is a descriptor.
pub const OPEN_SEGMENT_FILES_MAX: usize = 8;

/// Descriptors that an open log may hold at once, whatever its size: the segment files that are kept open; the directory; what
/// the ring writes to, and the segment before it while its last write ends; what the worker creates, and what it writes a
/// superblock to; a file that is being mapped on either thread; a segment that is read past the page cache.
pub const LOG_DESCRIPTORS: usize = OPEN_SEGMENT_FILES_MAX + 8;

/// One of the two copies of the superblock. Holds `SEGMENTS_MAX` list entries.
pub const SUPERBLOCK_BYTES: usize = 64 << 10;

/// Values up to this size live in the table's memory; larger ones are read from the log.
pub const INLINE_VALUE_BYTES_MAX: usize = 256;

/// What the table's memory holds of a larger one: where it is.
pub const POINTER_BYTES: usize = 16;

/// Log that one call of `checkpoint_slice` aims at: about as long on the disk as a busy group.
pub const CHECKPOINT_SLICE_BYTES: usize = 64 << 10;

/// Table entries that one call of `checkpoint_slice` looks at, so that its time is bounded too.
pub const CHECKPOINT_SLICE_KEYS_MAX: usize = 4096;

/// Default of `Options::checkpoint_bytes`: read back in well under a second.
pub const CHECKPOINT_BYTES_DEFAULT: u64 = 128 << 20;

/// A segment with live large values in less than this share of its bytes is compacted.
pub const COMPACT_BELOW_PERCENT: u64 = 50;

/// Most live bytes that one checkpoint moves, so that a checkpoint ends and frees space before the next is due.
pub const COMPACT_BYTES_MAX: u64 = 64 << 20;

/// Closed groups that wait in memory before `room` says `Scarce`: the disk is behind, or there is no space.
pub const QUEUE_BYTES_SCARCE: usize = 4 * GROUP_BYTES_MAX;

/// Closed groups that wait in memory before the log gives up: the owner ignored `Scarce`.
pub const QUEUE_BYTES_MAX: usize = 16 * GROUP_BYTES_MAX;

/// Buffers kept for reuse: one open, one in flight, one between.
pub const BUFFERS_MAX: usize = 3;

/// Default of `Options::seal_idle`.
pub const SEAL_IDLE_DEFAULT: Duration = Duration::from_millis(20);

/// Time between two attempts to create a segment where there is no space.
pub const NO_SPACE_RETRY_US: u64 = 1_000_000;

/// Time between two lines of the log that say so.
pub const NO_SPACE_WARN_US: u64 = 60_000_000;

/// Group write times kept for `Store::drain_write_times`; older ones are dropped when nobody asks.
pub const WRITE_TIMES_MAX: usize = 1024;

/// Bytes left in ready segments, beside what is owed, below which new promises are refused (`Room::Scarce`), a share of the
/// segment size: as much as the largest record.
pub const RESERVE_PROMISES_DIVISOR: u64 = 4;

/// Bytes that are kept besides: what pads the promise that is made, the block of its own end, and at the end of a segment
/// what no record fits in, and the header of the next one.
pub const RESERVE_BLOCKS_BYTES: u64 = 4 * BLOCK_BYTES as u64;

/// Largest record that ends a promise: with both heads it fits into a block.
pub const OWED_RECORD_BYTES_MAX: usize = BLOCK_BYTES - 128;

/// Where space lacks: segments that are kept, besides a checkpoint, for deletes and for the compaction that gives back what
/// they freed. A checkpoint frees whole segments only: of those that deletes fill one is freed at least, after all rounding.
pub const RESERVE_CHECKPOINTS_SEGMENTS: u64 = 6;

/// The same of a small log: at most this share of all that it has.
pub const RESERVE_CHECKPOINTS_DIVISOR: u64 = 4;

/// Where space lacks, a segment with live large values in less than this share of its bytes is compacted.
pub const COMPACT_SCARCE_BELOW_PERCENT: u64 = 90;

/// Where space lacks, a checkpoint is due if it gives back this share of a segment more than it takes.
pub const WORTH_SEGMENT_DIVISOR: u64 = 8;

/// How often that is computed: it looks at all segments.
pub const WORTH_LOOK_US: u64 = 100_000;

/// Bytes left in ready segments below which checkpoint slices pause too, so that decisions still fit.
pub const RESERVE_DECISIONS_DIVISOR: u64 = 8;

/// Offline tools read this much at a time, and block by block where the disk refuses it.
pub const INSPECT_READ_BYTES: usize = 1 << 20;

/// Findings of a verification that are told one by one: what exceeds them is counted. More say nothing new.
pub const FINDINGS_MAX: usize = 10_000;

/// Most sectors that `corrupt` replaces for a torn write: enough for any pattern, little enough to print.
pub const TEAR_SECTORS_MAX: usize = 64;

/// Largest record payload for a given segment size: `RECORD_BYTES_MAX`, less in the small segments of tests.
#[must_use]
pub const fn record_bytes_max(segment_bytes: u64) -> usize {
    let share = (segment_bytes / 4) as usize;
    if share < RECORD_BYTES_MAX { share } else { RECORD_BYTES_MAX }
}

/// What a checkpoint slice aims at for a given segment size: `CHECKPOINT_SLICE_BYTES`, less in the small segments of tests.
#[must_use]
pub const fn checkpoint_slice_bytes(segment_bytes: u64) -> usize {
    let share = (segment_bytes / 32) as usize;
    if share < CHECKPOINT_SLICE_BYTES { share } else { CHECKPOINT_SLICE_BYTES }
}

const _: () = assert!(BLOCK_BYTES.is_multiple_of(SECTOR_BYTES));
const _: () = assert!(RECORD_BYTES_MAX + RECORD_SLACK_BYTES + BLOCK_BYTES < GROUP_BYTES_MAX);
const _: () = assert!((GROUP_BYTES_MAX + BLOCK_BYTES) as u64 <= SEGMENT_BYTES_MIN);
const _: () = assert!(SEGMENT_BYTES_TEST_MIN < SEGMENT_BYTES_MIN && SEGMENT_BYTES_MIN <= SEGMENT_BYTES_DEFAULT);
const _: () = assert!(SEGMENT_BYTES_DEFAULT <= SEGMENT_BYTES_MAX);
const _: () = assert!(SUPERBLOCK_BYTES.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(INLINE_VALUE_BYTES_MAX < CHECKPOINT_SLICE_BYTES);
const _: () = assert!(CHECKPOINT_SLICE_BYTES < RECORD_BYTES_MAX);
const _: () = assert!(QUEUE_BYTES_SCARCE < QUEUE_BYTES_MAX);
const _: () = assert!(RESERVE_PROMISES_DIVISOR < RESERVE_DECISIONS_DIVISOR);
// Whatever the segment size, a promise takes no more than the share that is kept for it.
const _: () = assert!(record_bytes_max(SEGMENT_BYTES_MIN) as u64 <= SEGMENT_BYTES_MIN / RESERVE_PROMISES_DIVISOR);
const _: () =
    assert!(record_bytes_max(SEGMENT_BYTES_TEST_MIN) as u64 <= SEGMENT_BYTES_TEST_MIN / RESERVE_PROMISES_DIVISOR);
// Between refused promises and refused slices there is room for a checkpoint to go on.
const _: () = assert!(
    SEGMENT_BYTES_DEFAULT / RESERVE_DECISIONS_DIVISOR + (RECORD_BYTES_MAX as u64)
        < SEGMENT_BYTES_DEFAULT / RESERVE_PROMISES_DIVISOR
);
// A record of the largest size, with its slack and both headers, fits the smallest segment.
const _: () = assert!(
    record_bytes_max(SEGMENT_BYTES_TEST_MIN) + RECORD_SLACK_BYTES + 3 * BLOCK_BYTES < SEGMENT_BYTES_TEST_MIN as usize
);
