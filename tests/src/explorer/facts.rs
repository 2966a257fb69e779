//! What a node's log says, and what the node has ever said. Written against these, an invariant does not depend on what a machine
//! believes.

use std::collections::BTreeSet;

use protocol::message::Hello;
use protocol::record::Promise;
use protocol::{Attempt, CommitMessage, HandshakeMessage, Logged, Message, Position, Record, Role, TxnId};

use crate::world::node::Node;

/// One try of a transaction.
pub(crate) type Ballot = (TxnId, Attempt);

/// Something that a node has said and that binds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Said {
    Yes(Ballot, (u64, u64)),
    Commit(Ballot),
    Abort(Ballot),
    Ack(Ballot),
    OnePhase(TxnId),
}

impl Said {
    pub(crate) fn of(message: &Message) -> Option<Self> {
        if let Message::Commit(CommitMessage::VoteYes { txn, attempt, prepared_at, .. }) = message {
            Some(Self::Yes((*txn, *attempt), place(*prepared_at)))
        } else if let Message::Commit(CommitMessage::Commit { txn, attempt, .. }) = message {
            Some(Self::Commit((*txn, *attempt)))
        } else if let Message::Commit(CommitMessage::Abort { txn, attempt }) = message {
            Some(Self::Abort((*txn, *attempt)))
        } else if let Message::Commit(CommitMessage::CommitAck { txn, attempt }) = message {
            Some(Self::Ack((*txn, *attempt)))
        } else if let Message::Commit(CommitMessage::CommittedOnePhase { txn, .. }) = message {
            Some(Self::OnePhase(*txn))
        } else {
            None
        }
    }
}

/// A decision to commit.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Decision {
    pub(crate) ballot: Ballot,
    /// Who has promised, and where.
    pub(crate) promised: Vec<(u32, (u64, u64))>,
}

/// What one node's log says and what it has said.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    /// Durable promises, and where they stand.
    pub(crate) prepared: Vec<(Ballot, (u64, u64))>,
    /// Commits in two phases and in one, durable or not.
    pub(crate) committed: Vec<Ballot>,
    pub(crate) one_phase: Vec<Ballot>,
    /// Those of both that are durable.
    pub(crate) durably_committed: Vec<Ballot>,
    /// Aborts, durable or not.
    pub(crate) aborted: Vec<Ballot>,
    /// Decisions, durable or not.
    pub(crate) decided: Vec<Decision>,
    pub(crate) durably_decided: Vec<Ballot>,
    /// Epochs that are durable.
    pub(crate) epochs: Vec<u32>,
    /// The epoch that it announces now.
    pub(crate) announced: Option<u32>,
    pub(crate) said: BTreeSet<Said>,
}

impl Facts {
    pub(crate) fn new(node: &Node, said: BTreeSet<Said>) -> Self {
        let announced = match node.hello() {
            Some(Message::Handshake(HandshakeMessage::Hello(Hello { role: Role::Coordinator, process, .. }))) => {
                Some(process.epoch)
            }
            Some(_) | None => None,
        };
        let mut facts = Self { said, announced, ..Self::default() };
        for (at, record) in node.log.records() {
            facts.add(at, record, at.place < node.log.durable());
        }
        facts
    }

    fn add(&mut self, at: Logged, record: Record, is_durable: bool) {
        let ballot = |promise: &Promise| (promise.txn, promise.attempt);
        match record {
            Record::Prepared(promise) if is_durable => self.prepared.push((ballot(&promise), place(at.position))),
            Record::PreparedAgain { promise, first_at } if is_durable => {
                self.prepared.push((ballot(&promise), place(first_at)));
            }
            Record::CommittedOnePhase(promise) => {
                self.one_phase.push(ballot(&promise));
                self.durably_committed.extend(is_durable.then(|| ballot(&promise)));
            }
            Record::Committed { txn, attempt, .. } => {
                self.committed.push((txn, attempt));
                self.durably_committed.extend(is_durable.then_some((txn, attempt)));
            }
            Record::Aborted { txn, attempt } | Record::Released { txn, attempt } => self.aborted.push((txn, attempt)),
            Record::Decided { txn, attempt, participants, .. }
            | Record::DecidedAgain { txn, attempt, participants, .. } => {
                let promised = participants.into_iter().map(|(participant, at)| (participant, place(at))).collect();
                self.decided.push(Decision { ballot: (txn, attempt), promised });
                self.durably_decided.extend(is_durable.then_some((txn, attempt)));
            }
            Record::Started { epoch, .. } if is_durable => self.epochs.push(epoch),
            Record::Prepared(_)
            | Record::PreparedAgain { .. }
            | Record::Started { .. }
            | Record::Starts(_)
            | Record::Fenced { .. }
            | Record::Retired { .. }
            | Record::DecidedElsewhere { .. }
            | Record::Finished { .. }
            | Record::Bins { .. }
            | Record::Outcomes(_)
            | Record::Stated(_)
            | Record::StatedDecisions(_)
            | Record::LossAccepted { .. } => {}
        }
    }
}

fn place(at: Position) -> (u64, u64) {
    (at.index.0, at.hash)
}
