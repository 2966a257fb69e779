//! The steps of a checkpoint, and what it frees (`FORMAT.md`, "Checkpoint and compaction").
//!
//! Invariant: a segment leaves the superblock's list only together with the newer checkpoint, and only if every record
//! that emptied it is durable; its file is reused only when that superblock is. Not here: the writes (`store`).

use planted::planted;

use crate::ledger::Ticket;
use crate::limits::{COMPACT_BELOW_PERCENT, COMPACT_SCARCE_BELOW_PERCENT};
use crate::lsn::Lsn;
use crate::room::{Space, with_padding};
use crate::superblock::Superblock;
use crate::table::{Table, Walk};

/// How far the checkpoint is.
pub(crate) enum Phase {
    /// There is none.
    Idle,
    /// Slices are being logged since the begin record.
    Walking { begin: Lsn, walk: Box<Walk>, table_done: bool },
    /// The end record is logged; once the log is durable up to `until`, the segments in `empty` can go.
    Ending { until: Lsn, bytes: u64, empty: Vec<u64> },
    /// The superblock that names the checkpoint is being written; then these slots are free.
    Publishing { ticket: Ticket, slots: Vec<u32> },
}

/// Which segments a checkpoint may compact, and how many live bytes it may move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compaction {
    pub(crate) below_percent: u64,
    pub(crate) bytes_max: u64,
}

impl Compaction {
    /// Where space lacks, whatever gives back something.
    pub(crate) fn within(space: &Space) -> Compaction {
        let below_percent = if space.lacks { COMPACT_SCARCE_BELOW_PERCENT } else { COMPACT_BELOW_PERCENT };
        Compaction { below_percent, bytes_max: space.compactable() }
    }
}

/// Bytes that a checkpoint that began at `begin` would give back more than it takes; 0 if it takes more.
pub(crate) fn gain(superblock: &Superblock, table: &Table, begin: Lsn, space: &Space) -> u64 {
    let victims = victims(superblock, table, begin, Compaction::within(space));
    let moved: u64 = victims.iter().map(|&index| table.live_bytes(index)).sum();
    let freed = victims.len() + empty_segments(superblock, table, begin).len();
    (freed as u64 * superblock.segment_bytes)
        .saturating_sub(with_padding(moved, space.segment_bytes) + space.checkpoint)
}

/// Segments before `begin` whose few live values the checkpoint moves to the head, emptiest first.
pub(crate) fn victims(superblock: &Superblock, table: &Table, begin: Lsn, compaction: Compaction) -> Vec<u64> {
    let limit = superblock.segment_bytes / 100 * compaction.below_percent;
    let older = superblock.segments.range(..begin.segment(superblock.segment_bytes));
    let mut candidates: Vec<(u64, u64)> = older
        .map(|(&index, _)| (table.live_bytes(index), index))
        .filter(|&(live, _)| live > 0 && live < limit)
        .collect();
    candidates.sort_unstable();
    let mut budget = compaction.bytes_max;
    candidates
        .into_iter()
        .take_while(|&(live, _)| {
            let fits = live <= budget;
            budget = budget.saturating_sub(live);
            fits
        })
        .map(|(_, index)| index)
        .collect()
}

/// Segments before the checkpoint's begin that no value lives in.
pub(crate) fn empty_segments(superblock: &Superblock, table: &Table, begin: Lsn) -> Vec<u64> {
    let first_kept = begin.segment(superblock.segment_bytes) + u64::from(planted!("needed-segment-freed"));
    let older = superblock.segments.range(..first_kept);
    older.map(|(&index, _)| index).filter(|&index| table.live_bytes(index) == 0).collect()
}
