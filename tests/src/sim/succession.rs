//! Which process heeds which: what nodes say of it when a connection opens, and whether that may be.
//!
//! Invariants: a node heeds no process that has not offered itself, which each does only after both have made their claims; a
//! participant goes on with no process that its fence stops; a coordinator succeeds no process of which its log knows nothing.

use protocol::{HandshakeMessage, Message, Process};

use crate::sim::network::End;
use crate::sim::world::World;

impl World<'_> {
    /// Looks at a message between two nodes when it leaves.
    pub(super) fn check_succession(&mut self, link: usize, direction: usize, message: &Message) {
        let [End::Node(coordinator), End::Node(participant)] = self.links[link].ends else { return };
        let ids = [self.hosts[coordinator].id, self.hosts[participant].id];
        let (from, to) = (ids[direction], ids[1 - direction]);
        if let Message::Handshake(HandshakeMessage::Claim { known, .. }) = message
            && known.log != 0
        {
            if !self.offered.contains(&(from, *known)) {
                self.fail("fence", format!("{from} heeds {known} of {to}, which has not offered itself"));
            }
            let latest = self.links[link].starts.last().map(|(process, _)| *process);
            if direction == 1
                && let Some(process) = latest.filter(|process| is_stopped(*process, *known))
            {
                self.fail("fence", format!("{from} goes on with {process} of {to}, and has accepted {known}"));
            }
        } else if let Message::Handshake(HandshakeMessage::Accept { by, known }) = message {
            self.offered.insert((to, *by));
            if known.log != 0 && !self.hosts[coordinator].starts.contains(known) {
                self.fail("fence", format!("{from} succeeds {known} at {to}, of which its log knows nothing"));
            }
        } else if let Message::Handshake(HandshakeMessage::Accepted { by }) = message {
            self.offered.insert((to, *by));
            self.twin_is_accepted(coordinator, participant);
        }
    }
}

/// Whether a process may not connect where this one was accepted.
fn is_stopped(process: Process, known: Process) -> bool {
    let is_copy = process.epoch == known.epoch && process.start != known.start;
    process.log != known.log || process.epoch < known.epoch || is_copy
}
