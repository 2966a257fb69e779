//! A state of a small world.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::explorer::automaton::NodeState;
use crate::explorer::messages::MessageId;

/// Everything that decides what may happen next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) now_us: u64,
    /// How often the clock has moved, and how often while a node was down: bounds of the search.
    pub(crate) waits: u8,
    pub(crate) waits_down: u8,
    /// The coordinator, then the participants.
    pub(crate) nodes: Vec<NodeState>,
    /// For each participant the link to it, then the link from it.
    pub(crate) links: Vec<Vec<MessageId>>,
    /// A message that comes at any time, and its link.
    pub(crate) late: Option<(u8, MessageId)>,
    /// For each client whether it has asked, and asked again, as bits.
    pub(crate) asked: u8,
    pub(crate) asked_again: u8,
    /// What clients were told, each thing once.
    pub(crate) told: BTreeSet<(u8, MessageId)>,
    /// The faults that are left, as bits.
    pub(crate) faults: u8,
}

/// A number that stands for all of this.
pub(crate) fn fingerprint(all: &impl Hash) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        all.hash(&mut hasher);
        hasher.finish()
    };
    u128::from(half(0)) << 64 | u128::from(half(1))
}
