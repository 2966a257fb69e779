//! Evidence of what this log once held, and the coordinators' logs: see `protocol/src/evidence.rs`.
//!
//! A position is told to a coordinator with every promise and every one-phase commit; one is heard with every commit,
//! and kept with the record of it.
//!
//! Invariant: for a coordinator nothing is promised before its witness was judged.
//!
//! Not here: what a single promise is compared with (`outcome.rs`).

use protocol::{Effects, Message, NodeId, Position, Reason};

use crate::machine::Participant;

impl Participant {
    /// Why nothing may be promised to a coordinator.
    pub(crate) fn objection(&self, coordinator: u32) -> Option<Reason> {
        if self.evidence.is_lost() {
            Some(Reason::LogLost)
        } else if !self.evidence.is_witnessed(coordinator) {
            Some(Reason::NoWitness)
        } else {
            None
        }
    }

    /// Judges a coordinator's witness, and answers with its own.
    pub(crate) fn on_witness(&mut self, coordinator: u32, stated: Position, effects: &mut Effects<'_>) {
        if !self.fences.contains_key(&coordinator) {
            // No hello of it was taken: there are too many coordinators, or it broke the protocol.
            return;
        }
        let to = NodeId::coordinator(coordinator);
        if let Some(held) = self.evidence.judge(coordinator, stated) {
            effects.send(to, &Message::LogLost { stated, held });
        }
        // Says what the coordinator has said itself.
        effects.send_now(to, &Message::Witness { stated: self.evidence.heard(coordinator) });
    }
}
