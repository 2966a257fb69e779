//! What the owner of a log chooses. Not here: what nobody chooses (`limits`).

use std::fmt;
use std::time::Duration;

use crate::limits::{
    BLOCK_BYTES, CHECKPOINT_BYTES_DEFAULT, SEAL_IDLE_DEFAULT, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_TEST_MIN, SEGMENTS_DEFAULT,
};

/// Whose log it is. Opaque to the engine: it is stored at creation and compared at every open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// The kind of machine that writes the log.
    pub role: u8,
    /// The node within its cluster.
    pub node: u32,
    /// The cluster.
    pub cluster: u64,
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "role {} node {} cluster {:016x}", self.role, self.node, self.cluster)
    }
}

/// Options of a log. An existing log keeps the segment size that it was created with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a segment file for a new log, in bytes: a multiple of 4 KiB, at least `SEGMENT_BYTES_MIN` in production.
    pub segment_bytes: u64,
    /// Log written since the last checkpoint that makes the next one due, in bytes.
    pub checkpoint_bytes: u64,
    /// Most segments that the log may have, up to `SEGMENTS_MAX`; an existing log may be given more, or less.
    pub segments_max: usize,
    /// Idle time after a group before a seal raises the durable mark over it.
    pub seal_idle: Duration,
    /// Whose log it is.
    pub owner: Owner,
}

impl Options {
    /// The defaults, for `owner`.
    #[must_use]
    pub fn new(owner: Owner) -> Options {
        Options {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            checkpoint_bytes: CHECKPOINT_BYTES_DEFAULT,
            segments_max: SEGMENTS_DEFAULT,
            seal_idle: SEAL_IDLE_DEFAULT,
            owner,
        }
    }
}

/// Whether a segment size keeps the engine's limits.
pub(crate) fn segment_bytes_valid(bytes: u64) -> bool {
    (SEGMENT_BYTES_TEST_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) && bytes.is_multiple_of(BLOCK_BYTES as u64)
}
