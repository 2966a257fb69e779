//! What may still be written into a log that its disk, or its greatest number of segments, bounds (`FORMAT.md`, "No space").
//!
//! Invariant: what [`Room`] allows leaves space for what is owed, and, where space lacks, for a checkpoint that gives back
//! what was freed. Not here: the files that hold that space (`segments`).

use seam::Room;

use crate::limits::{
    BLOCK_BYTES, COMPACT_BYTES_MAX, RESERVE_CHECKPOINTS_DIVISOR, RESERVE_CHECKPOINTS_SEGMENTS, checkpoint_slice_bytes,
};

/// What is left of the log's space, and what is kept of it. In bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// In segments that are ready, and in the files behind them.
    pub(crate) left: u64,
    /// For one promise and all that is owed.
    pub(crate) promise: u64,
    /// For what a checkpoint has still to write.
    pub(crate) checkpoint: u64,
    /// All files that the log has.
    pub(crate) held: u64,
    pub(crate) segment_bytes: u64,
    /// Whether the log cannot have further files.
    pub(crate) lacks: bool,
}

impl Space {
    /// A sixth of what is kept, besides a checkpoint, for what frees space: one for compaction, four for deletes, one for
    /// smaller values.
    fn unit(&self) -> u64 {
        let whole = RESERVE_CHECKPOINTS_SEGMENTS * self.segment_bytes;
        whole.min(self.held / RESERVE_CHECKPOINTS_DIVISOR) / RESERVE_CHECKPOINTS_SEGMENTS
    }

    pub(crate) fn room(&self) -> Room {
        let Some(left) = self.left.checked_sub(self.promise) else { return Room::Nothing };
        if !self.lacks {
            return Room::Plenty;
        }
        let unit = self.unit();
        match left.checked_sub(self.checkpoint + unit) {
            None => Room::Nothing,
            Some(left) if left < 4 * unit => Room::Deletes,
            Some(left) if left < 5 * unit => Room::Smaller,
            Some(_) => Room::Plenty,
        }
    }

    /// Live bytes that a checkpoint may move besides, so that it ends in what is left.
    pub(crate) fn compactable(&self) -> u64 {
        let left = self.left.saturating_sub(self.promise + self.checkpoint);
        let padding = with_padding(self.segment_bytes, self.segment_bytes);
        (left / BLOCK_BYTES as u64 * self.segment_bytes / padding * BLOCK_BYTES as u64).min(COMPACT_BYTES_MAX)
    }
}

/// What so many bytes of a checkpoint take: the padding of its groups, each of a slice at least, and the ends of segments that are
/// too short for a slice.
pub(crate) fn with_padding(bytes: u64, segment_bytes: u64) -> u64 {
    let blocks_of_slice = (checkpoint_slice_bytes(segment_bytes) / BLOCK_BYTES).max(1) as u64;
    bytes + bytes / blocks_of_slice + bytes / 8 + 4 * BLOCK_BYTES as u64
}

/// Files to keep behind the next segment, for a log of so many.
pub(crate) fn files_behind(checkpoint: u64, segment_bytes: u64, listed: usize) -> usize {
    let for_freeing = listed.min(RESERVE_CHECKPOINTS_SEGMENTS as usize);
    for_freeing + checkpoint.div_ceil(segment_bytes) as usize
}
