//! What a log and its owner say to each other: which record is meant, where it lies, how much room there is, what is owed.
//!
//! `engine` and `protocol` stand beside each other and both use these types, so each of them exists once, here.
//!
//! Invariant: a [`Position`] is computed from the records alone. Two logs that were given the same records have the same
//! positions, wherever their groups, openings and checkpoints lie. A [`Place`] is the opposite: it belongs to one disk.
//!
//! Not here: logs (`engine`), records (`protocol`).

use std::fmt;

/// Counts the records that an owner logged in its turns, from 1. Zero is before every record.
///
/// What a checkpoint logs again is not counted. A repaired log leaves out the indices that it may have given out before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

impl Index {
    /// Before every record.
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one record of one history: which one it is, and a hash over all records up to it.
///
/// A log that lost its newest records and grew again has other records under the same indices, but none at the same
/// position. Two records at the same position are the same, after the same past. The order is for sets: the later one of two
/// positions of one log is [`Position::later`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which record; 0 if that is not known.
    pub index: Index,
    /// What tells histories apart; 0 if that is not known.
    pub hash: u64,
}

impl Position {
    /// No position: before the first record, and what some answers state.
    pub const UNKNOWN: Self = Self { index: Index::ZERO, hash: 0 };

    /// Whether it names a record.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.index != Index::ZERO && self.hash != 0
    }

    /// The later of two positions of one log.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        if other.index > self.index { other } else { self }
    }

    /// The position of the next record, which has these bytes (`engine/FORMAT.md`, "Position").
    #[must_use]
    pub fn next(self, record: &[u8]) -> Self {
        Self { index: Index(self.index.0 + 1), hash: mix(self.hash, record) }
    }

    /// What a record has that is logged behind this one without a position of its own.
    #[must_use]
    pub fn behind(self) -> Self {
        Self { hash: 0, ..self }
    }

    /// Where a repaired log goes on after this position: all indices up to `last` may have been given out before.
    #[must_use]
    pub fn resumed(self, last: Index) -> Self {
        Self { index: last, hash: mix(self.hash, &last.0.to_le_bytes()) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_known() { write!(f, "{}/{:016x}", self.index, self.hash) } else { f.write_str("nowhere known") }
    }
}

/// One-to-one in `before`, except for the value that becomes 1 instead of 0: different pasts stay different.
fn mix(before: u64, bytes: &[u8]) -> u64 {
    let of_record = u64::from(crc32c::crc32c(bytes)) << 32 | bytes.len() as u64;
    let mixed = (before.rotate_left(23) ^ of_record).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).max(1)
}

/// Where this disk keeps a record. Says nothing to another node, and only the log and its table look into it. Later records
/// have greater places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

impl Place {
    /// For the log that gives it out.
    #[must_use]
    pub fn of_address(address: u64) -> Self {
        Self(address)
    }

    /// For the log that gave it out.
    #[must_use]
    pub fn address(self) -> u64 {
        self.0
    }
}

/// A record that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Logged {
    /// Which record it is. One that a checkpoint logged again has none: then the index is that of the last one before it, and the
    /// hash is 0.
    pub position: Position,
    /// Where it lies.
    pub place: Place,
}

/// Which new promises a log takes. Each level takes what those before it take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// None: only what finishes earlier promises may be logged, until this changes by itself.
    Nothing,
    /// Those that give back at least as much of the table's memory as they take and write no large value: deletes.
    Deletes,
    /// Those that give back at least as much of the table as they take, large values too: smaller values in place of others.
    Smaller,
    /// All.
    Plenty,
}

/// What an owner will log to finish what it has promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Owed {
    /// Records at most that end promises, each within the log's bound for them. Each may need a group of its own.
    pub records: usize,
    /// What it would log again if a checkpoint began now, in bytes: when it begins,
    pub again_bytes: usize,
    /// and after that, before it ends.
    pub again_later_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_stands_still() {
        let first = Position::UNKNOWN.next(b"one");
        let second = first.next(b"");
        let third = second.next(b"three");
        let hashes = [first, second, third, third.resumed(Index(9))].map(|at| (at.index.0, at.hash));
        let expected = [
            (1, 0xaddb_f64c_1300_c674),
            (2, 0x59d2_32fb_fd64_8e5e),
            (3, 0xbc6b_fa55_06ef_7dcb),
            (9, 0x98bb_c1f0_64f1_16bc),
        ];
        assert_eq!(hashes, expected);
    }

    #[test]
    fn a_position_covers_the_record_its_length_and_all_before_it() {
        let before = Position { index: Index(4), hash: 99 };
        let at = before.next(b"record");
        assert_eq!((at.index, at.is_known()), (Index(5), true));
        assert_ne!(at.hash, before.next(b"recorD").hash);
        assert_ne!(at.hash, Position { hash: 98, ..before }.next(b"record").hash);
        assert_ne!(before.next(&[0]).hash, before.next(&[0, 0]).hash);
        assert_ne!(at, Position { index: Index(5), ..before }.next(b"record"));
    }

    #[test]
    fn no_record_has_the_hash_of_none() {
        // The one past that would make it 0.
        let of_record = u64::from(crc32c::crc32c(b"x")) << 32 | 1;
        let at = Position { index: Index(7), hash: of_record.rotate_right(23) }.next(b"x");
        assert_eq!((at.hash, at.is_known()), (1, true));
    }

    #[test]
    fn the_later_of_two_is_the_one_of_the_greater_index() {
        let (early, late) = (Position { index: Index(1), hash: 9 }, Position { index: Index(2), hash: 3 });
        assert_eq!((early.later(late), late.later(early)), (late, late));
        assert_eq!(
            (late.to_string(), Position::UNKNOWN.to_string()),
            ("2/0000000000000003".into(), "nowhere known".into())
        );
    }
}
