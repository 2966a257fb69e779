//! What participants have said of the places of their records. Each is told the latest, so that one whose log has lost
//! records that it had acknowledged finds out before it promises anything new.
//!
//! Invariant: a position is kept only if the participant itself has stated it, so its record was durable there.
//! Not here: what a single decision says of its promises (`transaction.rs`).

use protocol::{Effects, Message, NodeId, Position, Record};

use crate::machine::Coordinator;

impl Coordinator {
    /// A participant has said where a record of it stands.
    pub(crate) fn heard(&mut self, participant: u32, at: Position) {
        if at.is_known() && self.config.participants.contains(&participant) {
            let latest = self.stated.entry(participant).or_default();
            *latest = latest.later(at);
        }
    }

    /// Tells a participant the latest that was heard from it.
    pub(crate) fn bear_witness(&self, participant: u32, effects: &mut Effects<'_>) {
        let stated = self.stated.get(&participant).copied().unwrap_or_default();
        // Says what the participant has said itself, and must come before the prepares.
        effects.send_now(NodeId::participant(participant), &Message::Witness { stated });
    }

    /// Logs again, for a checkpoint.
    pub(crate) fn log_stated(&self, effects: &mut Effects<'_>) {
        if !self.stated.is_empty() {
            effects.log(&Record::Stated(self.stated.iter().map(|(number, at)| (*number, *at)).collect()));
        }
    }
}
