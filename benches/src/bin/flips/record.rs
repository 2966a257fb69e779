//! What is written, and what came back of it.
//!
//! Invariant: a record says its own index, and its content follows from that, so whoever reads can judge it alone.

use serde::{Deserialize, Serialize};

use crate::limits::{MESSAGE_BYTES_MAX, RECORD_BYTES};

/// The content of the record with this index.
pub(crate) fn record(index: u64) -> Vec<u8> {
    let mut bytes = index.to_le_bytes().to_vec();
    let mut state = index;
    while bytes.len() < RECORD_BYTES {
        // SplitMix64 (Steele, Lea, Flood 2014): no two records share a run of bytes, and none is zero.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(RECORD_BYTES);
    bytes
}

/// What one case came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// All records are there with the right content: the flipped bit was of no use.
    Intact,
    /// The engine reported damage, when it was opened or when it was read.
    Refused {
        /// What it said.
        message: String,
    },
    /// Opened and read without an error, and yet not what was acknowledged.
    Silent {
        /// Acknowledged records that did not come back.
        missing: u64,
        /// Records with another content, or that nobody wrote.
        wrong: u64,
    },
    /// The process panicked, died or did not answer.
    Crashed {
        /// How.
        message: String,
    },
}

/// Counts what an engine hands out.
pub(crate) struct Tally {
    seen: Vec<bool>,
    wrong: u64,
}

impl Tally {
    pub(crate) fn new(records: u64) -> Tally {
        Tally { seen: vec![false; records as usize], wrong: 0 }
    }

    /// One record, under the index that the engine hands it out for.
    pub(crate) fn take(&mut self, index: u64, content: &[u8]) {
        match self.seen.get_mut(index as usize) {
            Some(seen) if !*seen && content == record(index) => *seen = true,
            Some(_) | None => self.wrong += 1,
        }
    }

    /// The verdict on an engine that read to the end without an error.
    pub(crate) fn outcome(&self) -> Outcome {
        let missing = self.seen.iter().filter(|seen| !**seen).count() as u64;
        if missing == 0 && self.wrong == 0 { Outcome::Intact } else { Outcome::Silent { missing, wrong: self.wrong } }
    }
}

/// The first line of a message, cut to what a report keeps.
pub(crate) fn shortened(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars().take(MESSAGE_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(handed_out: &[(u64, Vec<u8>)]) -> Outcome {
        let mut tally = Tally::new(3);
        handed_out.iter().for_each(|(index, content)| tally.take(*index, content));
        tally.outcome()
    }

    #[test]
    fn only_every_record_once_with_its_content_is_intact() {
        let all: Vec<_> = (0..3).map(|index| (index, record(index))).collect();
        assert_eq!(judge(&all), Outcome::Intact);
        assert_eq!(judge(&all[..2]), Outcome::Silent { missing: 1, wrong: 0 });
        assert_eq!(judge(&[]), Outcome::Silent { missing: 3, wrong: 0 });

        let mut flipped = all.clone();
        flipped[1].1[200] ^= 1;
        assert_eq!(judge(&flipped), Outcome::Silent { missing: 1, wrong: 1 });
        let mut twice = all.clone();
        twice.push((2, record(2)));
        assert_eq!(judge(&twice), Outcome::Silent { missing: 0, wrong: 1 });
        let mut unwritten = all;
        unwritten.push((3, record(3)));
        assert_eq!(judge(&unwritten), Outcome::Silent { missing: 0, wrong: 1 });
    }

    #[test]
    fn records_have_their_size_and_differ() {
        assert_eq!(record(7).len(), RECORD_BYTES);
        assert_ne!(record(7)[8..], record(8)[8..]);
    }
}
