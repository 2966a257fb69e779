//! Coordinators: which process of each is heeded, and since when (`protocol/src/fencing.rs` has the rule).
//!
//! A new connection goes through hello, claim, the claim that answers it, and accept. Only then are promises asked about, and
//! only then is anything obeyed. An operator may give up the log of a coordinator, or its number.

use planted::planted;
use protocol::message::PeerChange;
use protocol::{AdminMessage, Effects, HandshakeMessage, Message, NodeId, Position, Process, Record, Role, TxnId};

use crate::active::Active;
use crate::machine::Participant;

impl Participant {
    /// A process that is welcome has connected. If it is the one that was accepted, it goes on where it was.
    pub(crate) fn on_hello(&mut self, coordinator: u32, process: Process, effects: &mut Effects<'_>) {
        self.fencing.meet(coordinator, process);
        if planted!("claims-after-questions") && !self.fencing.is_current(coordinator) {
            _ = self.fencing.accept(coordinator, effects);
            self.ask_in_doubt(coordinator, effects);
        }
    }

    /// Which process of a coordinator is heeded.
    #[must_use]
    pub fn heeded(&self, coordinator: u32) -> Process {
        self.fencing.known(coordinator)
    }

    /// Judges a coordinator's claim, and answers with its own.
    pub(crate) fn on_claim(
        &mut self,
        coordinator: u32,
        by: Process,
        known: Process,
        stated: Position,
        effects: &mut Effects<'_>,
    ) {
        if !self.fencing.has_met(coordinator, by) {
            // Of a process that has gone.
            return;
        }
        let to = NodeId::coordinator(coordinator);
        if !self.fencing.is_heir_of(known) {
            // Says what the other has said itself, and nothing of the data.
            return effects.send_now(to, &Message::Handshake(HandshakeMessage::Superseded { known }));
        }
        if let Some(held) = self.evidence.judge(coordinator, stated) {
            effects.send(to, &Message::Handshake(HandshakeMessage::LogLost { stated, held }));
        } else if self.evidence.is_lost_for(coordinator) {
            // Others have shown it.
            let (stated, held) = (Position::UNKNOWN, Position::UNKNOWN);
            effects.send(to, &Message::Handshake(HandshakeMessage::LogLost { stated, held }));
        }
        let known = self.fencing.known(coordinator);
        let claim = Message::Handshake(HandshakeMessage::Claim {
            by: self.fencing.own(),
            known,
            stated: self.evidence.heard(coordinator),
        });
        // Says what the coordinator has said itself.
        effects.send_now(to, &claim);
    }

    /// The process that is connected succeeds the one that was heeded: from now on it is. What only waits is of an earlier
    /// one, and is dropped: nothing was promised.
    pub(crate) fn on_accept(&mut self, coordinator: u32, by: Process, known: Process, effects: &mut Effects<'_>) {
        if !self.fencing.has_met(coordinator, by) || known != self.fencing.known(coordinator) {
            // Of a process that has gone, or it answers an earlier claim.
            return;
        }
        if known != by {
            self.drop_waiting(coordinator);
        }
        let to = NodeId::coordinator(coordinator);
        match self.fencing.accept(coordinator, effects) {
            Ok(_) => {
                effects.send(to, &Message::Handshake(HandshakeMessage::Accepted { by: self.fencing.own() }));
                self.ask_in_doubt(coordinator, effects);
            }
            // Others came first. Says nothing of the data.
            Err(unwelcome) => effects.send_now(to, &Message::Handshake(HandshakeMessage::Unwelcome(unwelcome))),
        }
    }

    fn drop_waiting(&mut self, coordinator: u32) {
        let mut dropped: Vec<TxnId> = self
            .txns
            .iter()
            .filter_map(|(txn, active)| match active {
                Active::Waiting(waiting) if waiting.prepare.coordinator == coordinator => Some(*txn),
                Active::Waiting(_) | Active::Prepared(_) => None,
            })
            .collect();
        dropped.sort_unstable();
        for txn in dropped {
            self.take(txn);
            self.release(txn);
        }
    }

    /// Asks what was decided of all that it has promised to a coordinator.
    fn ask_in_doubt(&self, coordinator: u32, effects: &mut Effects<'_>) {
        let mut in_doubt: Vec<_> = self
            .txns
            .iter()
            .filter_map(|(txn, active)| match active {
                Active::Prepared(prepared) if prepared.promise.coordinator == coordinator => {
                    Some((*txn, prepared.question()))
                }
                Active::Prepared(_) | Active::Waiting(_) => None,
            })
            .collect();
        in_doubt.sort_unstable_by_key(|(txn, _)| *txn);
        for (_, question) in in_doubt.into_iter().filter(|_| !planted!("doubt-unasked")) {
            // Behind what says that its process is accepted, which waits for its record: before that it is not heard.
            effects.send(NodeId::coordinator(coordinator), &question);
        }
    }

    /// An operator changes what is known of a coordinator.
    pub(crate) fn handle_operator(&mut self, operator: NodeId, message: &Message, effects: &mut Effects<'_>) {
        let answer = if let Message::Admin(AdminMessage::ReplaceLog { role, node }) = message {
            if *role == Role::Coordinator { self.replace_log(*node, effects) } else { not_known() }
        } else if let Message::Admin(AdminMessage::Retire { node }) = message {
            self.retire(*node, effects)
        } else {
            // Nothing else of a client gets here: the rows say what a client may send to a participant.
            return;
        };
        effects.send(operator, &answer);
    }

    /// Whether questions to a coordinator are of use: its process was accepted, after its claim.
    pub(crate) fn may_ask(&self, coordinator: u32) -> bool {
        self.fencing.is_current(coordinator) && self.evidence.is_judged(coordinator)
    }

    fn replace_log(&mut self, coordinator: u32, effects: &mut Effects<'_>) -> Message {
        let (epoch, in_doubt) = (self.fencing.epoch_of(coordinator), self.in_doubt_of(coordinator));
        if !self.fencing.knows(coordinator) {
            return not_known();
        }
        self.drop_waiting(coordinator);
        self.fencing.give_up(coordinator, effects);
        self.evidence.forget_log(coordinator);
        effects.disconnect(NodeId::coordinator(coordinator));
        Message::Admin(AdminMessage::PeerChanged { outcome: PeerChange::Done, epoch, in_doubt })
    }

    fn retire(&mut self, coordinator: u32, effects: &mut Effects<'_>) -> Message {
        let (epoch, in_doubt) = (self.fencing.epoch_of(coordinator), self.in_doubt_of(coordinator));
        let outcome = if !self.fencing.knows(coordinator) {
            PeerChange::NotKnown
        } else if in_doubt > 0 {
            PeerChange::HasPromises
        } else {
            self.drop_waiting(coordinator);
            self.fencing.retire(coordinator);
            let retired_at = effects.log(&Record::Retired { coordinator });
            self.evidence.forget(coordinator, retired_at.position.index);
            effects.disconnect(NodeId::coordinator(coordinator));
            PeerChange::Done
        };
        Message::Admin(AdminMessage::PeerChanged { outcome, epoch, in_doubt })
    }

    fn in_doubt_of(&self, coordinator: u32) -> u32 {
        let is_promised = |active: &&Active| active.is_promised() && active.coordinator() == coordinator;
        self.txns.values().filter(is_promised).count() as u32
    }
}

fn not_known() -> Message {
    Message::Admin(AdminMessage::PeerChanged { outcome: PeerChange::NotKnown, epoch: 0, in_doubt: 0 })
}
