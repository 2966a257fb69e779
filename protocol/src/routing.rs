//! Which participant holds a key: key -> routing key -> bin -> participant.
//!
//! The routing key is what stands in the first `{...}` of a key, or the whole key: keys that have
//! to live together share it (`balance/{7}` and `history/{7}/1`). Bins are fixed for ever; which
//! participant holds a bin is a table, which a coordinator keeps in its log.

use crate::limits::BINS;

/// One of [`BINS`] parts of the key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bin(pub u16);

/// The part of a key that decides where it lives.
#[must_use]
pub fn routing_key(key: &[u8]) -> &[u8] {
    tag(key).unwrap_or(key)
}

/// What stands between the first `{` of a key and the next `}`, if that is something.
#[must_use]
pub fn tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')? + 1;
    let length = key[open..].iter().position(|byte| *byte == b'}')?;
    (length > 0).then(|| &key[open..open + length])
}

/// The bin of a key.
#[must_use]
pub fn bin_of(key: &[u8]) -> Bin {
    Bin((crc32c::crc32c(routing_key(key)) % u32::from(BINS)) as u16)
}

/// Who holds each bin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinTable {
    owners: Vec<u32>,
    /// The owners, each once, in order: every scan asks for them.
    participants: Vec<u32>,
}

impl BinTable {
    /// Deals the bins to the participants in turn, the smallest number first.
    ///
    /// # Panics
    /// If there is no participant.
    #[must_use]
    pub fn even(participants: &[u32]) -> Self {
        assert!(!participants.is_empty(), "a cluster without participants");
        Self::of(each_once(participants).into_iter().cycle().take(BINS as usize).collect())
    }

    /// A table read from a log; `None` unless it names an owner for each bin.
    #[must_use]
    pub fn from_owners(owners: Vec<u32>) -> Option<Self> {
        (owners.len() == BINS as usize).then(|| Self::of(owners))
    }

    fn of(owners: Vec<u32>) -> Self {
        Self { participants: each_once(&owners), owners }
    }

    /// The owner of each bin.
    #[must_use]
    pub fn owners(&self) -> &[u32] {
        &self.owners
    }

    /// Who holds a bin.
    #[must_use]
    pub fn participant_of(&self, bin: Bin) -> u32 {
        self.owners[bin.0 as usize]
    }

    /// Everyone who holds a bin, in order.
    #[must_use]
    pub fn participants(&self) -> &[u32] {
        &self.participants
    }
}

fn each_once(numbers: &[u32]) -> Vec<u32> {
    let mut ordered = numbers.to_vec();
    ordered.sort_unstable();
    ordered.dedup();
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_decides_and_an_empty_or_open_one_does_not() {
        assert_eq!(routing_key(b"balance/{7}"), b"7");
        assert_eq!(routing_key(b"history/{7}/{8}"), b"7");
        assert_eq!(routing_key(b"plain"), b"plain");
        assert_eq!(routing_key(b"a{}b"), b"a{}b");
        assert_eq!(routing_key(b"a{b"), b"a{b");
    }

    #[test]
    fn an_even_table_gives_everyone_the_same_share_whatever_the_order() {
        let table = BinTable::even(&[3, 1, 2, 2]);
        assert_eq!(table, BinTable::even(&[1, 2, 3]));
        assert_eq!(table.participants(), [1, 2, 3]);
        for participant in 1..=3 {
            let share = table.owners().iter().filter(|owner| **owner == participant).count();
            assert!(share.abs_diff(BINS as usize / 3) <= 1);
        }
    }

    #[test]
    fn numbered_keys_spread_evenly() {
        let table = BinTable::even(&[1, 2, 3, 4, 5]);
        let mut counts = [0usize; 6];
        for number in 1..=10_000 {
            counts[table.participant_of(bin_of(format!("balance/{{{number}}}").as_bytes())) as usize] += 1;
        }
        assert!(counts[1..].iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
    }
}
