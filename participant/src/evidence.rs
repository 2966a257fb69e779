//! What this log once held, and the coordinators' logs: see `protocol/src/evidence.rs`.
//!
//! A position is told to a coordinator with every promise and every one-phase commit; one is heard with every commit,
//! and kept with the record of it.
//!
//! Invariant: for a coordinator nothing is promised before its claim was judged and its process accepted.
//!
//! Not here: what a single promise is compared with (`outcome.rs`); how claims are exchanged (`peers.rs`).

use protocol::Reason;

use crate::machine::Participant;

impl Participant {
    /// Why nothing may be promised to a coordinator.
    pub(crate) fn objection(&self, coordinator: u32) -> Option<Reason> {
        if self.evidence.is_lost_for(coordinator) {
            Some(Reason::LogLost)
        } else if !self.evidence.is_judged(coordinator) {
            Some(Reason::NoClaim)
        } else {
            None
        }
    }
}
