//! Positions in the log's own endless address space. Not here: which file holds it (`segments`).

use std::fmt;

/// A byte position in the log. Positions grow for ever; segment `k` of size `S` covers `[k*S, (k+1)*S)`.
///
/// The LSN of a record is the position of its payload's first byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The first position.
    pub const ZERO: Lsn = Lsn(0);

    /// The index of the segment that covers this position.
    pub(crate) fn segment(self, segment_bytes: u64) -> u64 {
        self.0 / segment_bytes
    }

    /// The offset of this position in the file of its segment, in bytes.
    pub(crate) fn offset(self, segment_bytes: u64) -> u64 {
        self.0 % segment_bytes
    }
}

/// Names a record of one history of one log: where it stands, and a value that covers all bytes of records up to its end.
///
/// A log that lost its newest groups and grew again may have another record at the same LSN; the chain value tells them
/// apart. Two records at the same position are the same, after the same past.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Position {
    /// The position of the payload's first byte.
    pub lsn: Lsn,
    /// The chain value before the record's group, and the crc of the group's records up to this one; never 0.
    pub chain: u64,
}

impl fmt::Display for Lsn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}
