//! How fast the disk takes groups, and so how large a group may become that is not to take long.
//!
//! The time of a write is taken for a part that every write takes and a part for each byte: only the second one speaks for
//! smaller groups. Not here: who closes groups (`log`).

use crate::limits::{GROUP_BYTES_KNOWN, GROUP_BYTES_MAX, GROUP_BYTES_SLOW, GROUP_BYTES_UNKNOWN, GROUP_WRITE_US};

/// Writes among which the quickest is looked for.
const WINDOW: u32 = 64;

/// The measured pace. Sums decay, so that the last eight large writes or so count.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct WritePace {
    bytes: u64,
    /// What they took, without the part that every write takes.
    by_bytes_us: u64,
    /// The largest of the last writes.
    largest: usize,
    quickest_us: u64,
    quickest_before_us: u64,
    writes: u32,
}

impl WritePace {
    /// A group was written.
    pub(crate) fn took(&mut self, bytes: usize, elapsed_us: u64) {
        if self.writes.is_multiple_of(WINDOW) {
            self.quickest_before_us = if self.writes == 0 { elapsed_us } else { self.quickest_us };
            self.quickest_us = elapsed_us;
        }
        self.writes = self.writes.wrapping_add(1);
        self.quickest_us = self.quickest_us.min(elapsed_us);
        // Writes of one size tell nothing; what takes longer than this is the bytes' doing.
        let fixed_us = self.quickest_us.min(self.quickest_before_us).min(GROUP_WRITE_US);
        // Small writes say little of what a byte takes, and so they make little forgotten.
        let forgotten = |sum: u64| sum * (bytes as u64).min(GROUP_BYTES_KNOWN) / (8 * GROUP_BYTES_KNOWN);
        let decayed = |sum: u64, more: u64| sum - forgotten(sum) + more;
        self.largest = bytes.max(decayed(self.largest as u64, 0) as usize);
        self.bytes = decayed(self.bytes, bytes as u64);
        self.by_bytes_us = decayed(self.by_bytes_us, elapsed_us - fixed_us);
    }

    /// Bytes that a group may have: not many more than the last ones had, for what those took says nothing of much larger ones.
    pub(crate) fn group_bytes(&self) -> usize {
        let bytes = self.bytes.saturating_mul(GROUP_WRITE_US) / self.by_bytes_us.max(1);
        let unknown = (2 * self.largest).max(GROUP_BYTES_UNKNOWN);
        if self.writes == 0 { unknown } else { (bytes as usize).clamp(GROUP_BYTES_SLOW, unknown.min(GROUP_BYTES_MAX)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups as large as they may be on a disk that takes so long for each write and so many bytes in a second.
    fn settled(fixed_us: u64, bytes_per_second: u64) -> WritePace {
        let mut pace = WritePace::default();
        for write in 0..500 {
            // Now and then there is little to write.
            let bytes = if write % 10 == 0 { 4_096 } else { pace.group_bytes() };
            pace.took(bytes, fixed_us + bytes as u64 * 1_000_000 / bytes_per_second);
        }
        pace
    }

    #[test]
    fn only_what_a_byte_takes_makes_groups_smaller() {
        assert_eq!(settled(100, 1 << 30).group_bytes(), GROUP_BYTES_MAX);
        assert_eq!(settled(90_000, 1 << 30).group_bytes(), GROUP_BYTES_MAX);
        assert!((16_384..=40_000).contains(&settled(10_000, 200_000).group_bytes()));
        assert!((100_000..=300_000).contains(&settled(10_000, 2_000_000).group_bytes()));
    }

    #[test]
    fn a_disk_that_is_quick_again_takes_large_groups_soon() {
        let mut pace = settled(5_000, 200_000);
        // Small writes alone teach nothing, and are not to make forgotten what is known.
        (0..100).for_each(|_| pace.took(4_096, 25_000));
        assert!(pace.group_bytes() < 100_000, "{}", pace.group_bytes());
        (0..200).for_each(|_| pace.took(pace.group_bytes(), 200 + pace.group_bytes() as u64 / 1_000));
        assert_eq!(pace.group_bytes(), GROUP_BYTES_MAX);
    }
}
