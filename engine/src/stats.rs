//! What a store has done. Not here: the writes that are counted (`log`, `store`).

/// Figures since the open, except where said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Groups written, seals included.
    pub groups: u64,
    /// Seals written.
    pub seals: u64,
    /// Records appended.
    pub records: u64,
    /// Bytes given to the disk for groups.
    pub bytes: u64,
    /// Bytes of these that only fill up blocks.
    pub padding: u64,
    /// Groups bypass the page cache.
    pub direct: bool,
    /// Segments that the log has now.
    pub segments: usize,
    /// Freed segment files kept for reuse now.
    pub spares: usize,
    /// Checkpoints finished.
    pub checkpoints: u64,
    /// Segments freed.
    pub freed: u64,
    /// Log since the last checkpoint's begin now, in bytes.
    pub since_checkpoint: u64,
    /// Which opening of the log this is, from 1.
    pub opening: u64,
}
