//! Byte addresses in the log's own endless address space, which its owner knows as places. Not here: which record it is
//! (`seam::Position`), which file holds it (`segments`).

use std::fmt;

use seam::Place;

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

impl From<Lsn> for Place {
    fn from(lsn: Lsn) -> Place {
        Place::of_address(lsn.0)
    }
}

impl From<Place> for Lsn {
    fn from(place: Place) -> Lsn {
        Lsn(place.address())
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)
    }
}
