//! What was on its way from a coordinator on a connection that has ended, and arrives after all: on a connection of its own,
//! beside later ones, as it does where a network is slow to take a connection and its process has ended meanwhile.
//!
//! Invariants: only the process that took a connection hears what comes on it; a participant does not promise or do anything
//! for an epoch that is older than one that it has met, unless a log of the two was damaged.

use protocol::message::Hello;
use protocol::{Attempt, CommitMessage, HandshakeMessage, Message, Process, Role, TxnId, frame};

use crate::sim::host::CLUSTER;
use crate::sim::network::{self, End, Link};
use crate::sim::world::{Event, World};

/// How long such a connection lasts, in microseconds.
const LASTS_US: (u64, u64) = (1_000, 100_000);

/// So many are kept for a link, the first.
const KEPT_MAX: usize = 8;

/// Bytes that have missed their connection.
pub struct Earlier {
    /// Who sent them.
    pub process: Process,
    /// The start of the other end that they were sent to.
    pub boot: u64,
    /// Whole frames.
    pub bytes: Vec<u8>,
}

impl World<'_> {
    /// Bytes to a participant have missed their connection: they may come later.
    pub(super) fn keep_earlier(&mut self, link: usize, generation: u64, bytes: Vec<u8>) {
        let Link { starts, earlier, .. } = &mut self.links[link];
        if earlier.len() < KEPT_MAX {
            let (process, boot) = starts[generation as usize - 1];
            earlier.push(Earlier { process, boot, bytes });
        }
    }

    /// The connections of a participant with a coordinator have all ended: one more that was on its way arrives.
    pub(super) fn earlier_later(&mut self, link: usize) {
        if !self.links[link].earlier.is_empty() {
            let delay = self.delay_us(link, 1);
            self.at(self.now + delay, Event::Earlier(link));
        }
    }

    pub(super) fn earlier_arrives(&mut self, link: usize) {
        let ends = self.links[link].ends;
        let [End::Node(coordinator), End::Node(host)] = ends else { return };
        if self.links[link].open[1] || self.hosts[host].awake().is_none() {
            return;
        }
        let number = self.hosts[coordinator].id.number();
        let (clock_us, boot) = (self.hosts[host].clock_us(self.now), self.hosts[host].boot);
        let earlier = std::mem::take(&mut self.links[link].earlier);
        for Earlier { process, bytes, .. } in earlier.into_iter().filter(|earlier| earlier.boot == boot) {
            let Some(running) = self.hosts[host].awake() else { return };
            running.set_clock(clock_us);
            let line = running.connect(None);
            let hello =
                Message::Handshake(HandshakeMessage::Hello(Hello::daemon(Role::Coordinator, number, CLUSTER, process)));
            let heard = running.receive(line, &frame::single(&hello)).and_then(|()| running.receive(line, &bytes));
            self.tell(|| {
                let told = network::messages(&bytes).len();
                format!("{told} messages of epoch {} of coordinator {number} arrive late: {heard:?}", process.epoch)
            });
            self.turn_soon(host);
            let over = self.now + self.random.scale(LASTS_US.0, LASTS_US.1);
            self.at(over, Event::EarlierOver { link, host, line, boot });
        }
    }

    /// What the participant has said to it is lost with the connection.
    pub(super) fn earlier_over(&mut self, link: usize, host: usize, line: u64, boot: u64) {
        // Where a log was damaged, fences are: one that lacks records moves none.
        let is_damaged =
            self.links[link].ends.iter().any(|end| matches!(end, End::Node(at) if self.hosts[*at].damages > 0));
        let met = if is_damaged { 0 } else { self.links[link].met };
        let node = &mut self.hosts[host];
        let (id, now_boot) = (node.id, node.boot);
        let Some(running) = node.up().filter(|_| now_boot == boot) else { return };
        let said = running.take(line).map(|bytes| network::messages(&bytes)).unwrap_or_default();
        running.hang_up(line);
        self.turn_soon(host);
        let agreed = said.iter().filter_map(agreement).find(|(_, attempt)| attempt.epoch < met);
        if let Some((txn, attempt)) = agreed {
            self.fail("fence", format!("{id} agrees to {txn:?} {attempt}, and has met epoch {met}"));
        }
    }
}

/// What a participant agrees to with a message.
fn agreement(message: &Message) -> Option<(TxnId, Attempt)> {
    if let Message::Commit(
        CommitMessage::VoteYes { txn, attempt, .. }
        | CommitMessage::VoteReadOnly { txn, attempt, .. }
        | CommitMessage::CommittedOnePhase { txn, attempt, .. },
    ) = message
    {
        Some((*txn, *attempt))
    } else {
        None
    }
}
