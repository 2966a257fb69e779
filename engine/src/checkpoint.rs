//! The steps of a checkpoint, and what it frees (`FORMAT.md`, "Checkpoint and compaction").
//!
//! Invariant: a segment leaves the superblock's list only together with the newer checkpoint, and only if every record
//! that emptied it is durable; its file is reused only when that superblock is. Not here: the writes (`store`).

use planted::planted;

use crate::ledger::Ticket;
use crate::limits::{COMPACT_BELOW_PERCENT, COMPACT_BYTES_MAX};
use crate::lsn::Lsn;
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

/// Segments before `begin` whose few live values the checkpoint moves to the head, emptiest first.
pub(crate) fn victims(superblock: &Superblock, table: &Table, begin: Lsn) -> Vec<u64> {
    let limit = superblock.segment_bytes / 100 * COMPACT_BELOW_PERCENT;
    let older = superblock.segments.range(..begin.segment(superblock.segment_bytes));
    let mut candidates: Vec<(u64, u64)> = older
        .map(|(&index, _)| (table.live_bytes(index), index))
        .filter(|&(live, _)| live > 0 && live < limit)
        .collect();
    candidates.sort_unstable();
    let mut budget = COMPACT_BYTES_MAX;
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
