//! A state of a small world.

use std::hash::{Hash, Hasher};

use crate::explorer::automaton::NodeState;
use crate::explorer::messages::MessageId;

/// How many participants a world has at most.
pub(crate) const PARTICIPANTS_MAX: usize = 3;

/// Everything that decides what may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) now_us: u64,
    /// How often the clock has moved, and how often while a node was down: bounds of the search.
    pub(crate) waits: u8,
    pub(crate) waits_down: u8,
    /// The coordinator, then the participants.
    pub(crate) nodes: [NodeState; PARTICIPANTS_MAX + 1],
    /// For each participant the link to it, then the link from it: the number of the queue that is on it.
    pub(crate) links: [u32; 2 * PARTICIPANTS_MAX],
    /// A message that comes at any time, and its link.
    pub(crate) late: Option<(u8, MessageId)>,
    /// For each client whether it has asked, and asked again, as bits.
    pub(crate) asked: u8,
    pub(crate) asked_again: u8,
    /// The number of what clients were told, each thing once.
    pub(crate) told: u32,
    /// The faults that are left, as bits.
    pub(crate) faults: u8,
}

/// A number that stands for all of this.
pub(crate) fn fingerprint(all: &impl Hash) -> u128 {
    let mut mixer = Mixer { one: 0x9e37_79b9_7f4a_7c15, other: 0xc2b2_ae3d_27d4_eb4f };
    all.hash(&mut mixer);
    u128::from(mixer.one) << 64 | u128::from(mixer.other)
}

/// Two halves, into each of which every word is mixed by a product of 128 bits.
struct Mixer {
    one: u64,
    other: u64,
}

impl Hasher for Mixer {
    fn write_u64(&mut self, word: u64) {
        let fold = |product: u128| (product >> 64) as u64 ^ product as u64;
        self.one = fold(u128::from(self.one ^ word) * 0xa076_1d64_78bd_642f);
        self.other = fold(u128::from(self.other ^ word) * 0xe703_7ed1_a0b4_28db);
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.one
    }
}
