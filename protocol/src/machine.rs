//! The contract between a protocol machine and whatever runs it: the driver of `node` on a real
//! disk and network, a golden script or a simulator on none.
//!
//! A machine is a pure, deterministic function of the records and messages that it is given. It
//! owns no socket, file, clock, thread or random number.

use planted::planted;
use seam::{Index, Logged, Owed, Room};

use crate::fencing::Unwelcome;
use crate::id::{Attempt, NodeId, Process, Tick, TxnId};
use crate::message::{ClientMessage, CommitMessage, Gate, Message};
use crate::record::Record;

/// A protocol machine: a coordinator or a participant.
pub trait Machine {
    /// Rebuilds state from one record at start-up. Produces no effects. Records that a checkpoint
    /// logged again come again, without a position: only the index of the last record before them is known.
    fn replay(&mut self, at: Logged, record: Record);

    /// After the last replayed record, before the first message. Begins a process of its own.
    ///
    /// # Errors
    /// If the log and the configuration do not fit together; the node must not run.
    fn start(&mut self, now: Tick, origin: Origin, effects: &mut Effects<'_>) -> Result<(), StartError>;

    /// Whether a process of another node may connect. Asked before its hello is handled, and before an earlier connection
    /// of that node ends.
    ///
    /// # Errors
    /// Why not: the connection is refused, and nothing that comes on it is heard.
    fn welcome(&self, node: NodeId, process: Process) -> Result<(), Unwelcome>;

    /// Takes one message. A hello tells of a new connection of a node that is welcome; until its next hello all that it says
    /// comes from that connection.
    fn handle(&mut self, now: Tick, from: NodeId, message: Message, effects: &mut Effects<'_>);

    /// Does what has become due.
    fn tick(&mut self, now: Tick, effects: &mut Effects<'_>);

    /// When something becomes due next.
    fn next_tick(&self) -> Option<Tick>;

    /// Whether it has work that it put off, so that other messages and the log get their turn: [`Machine::tick`] is
    /// called for the next part of it after what has arrived meanwhile was taken in, whatever the time.
    fn has_work(&self) -> bool;

    /// The process that this node announces in its hello. Read after [`Machine::start`] has become durable.
    fn process(&self) -> Process;

    /// Logs again what it still needs, slice by slice. The first call, with 0, logs everything
    /// that later records refer to; then, while it returns a number, it is called again with
    /// that number between other work. What it logs here has no position, is waited for by no message,
    /// and so must only repeat what it has logged before.
    fn checkpoint(&mut self, from: u64, effects: &mut Effects<'_>) -> Option<u64>;

    /// What it will log to finish what it has promised, so that the log keeps room for it. A machine that promises nothing
    /// owes nothing.
    fn owes(&self) -> Owed;

    /// What is not resolved: promises whose outcome is not known here, decisions that not all have
    /// acknowledged. Read after replay, for the report of a start; by id. A machine that promises
    /// nothing has none.
    fn in_doubt(&self) -> Vec<InDoubt>;
}

/// What a process is told of itself when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The id of the log that it runs on.
    pub log: u64,
    /// A random number that no other start has; not 0.
    pub start: u64,
    /// Counts the openings of that log, this one included: no fewer than its starts, and never less than before.
    pub opening: u64,
    /// The epoch is at least this one: a new log takes the place of one that was given up.
    pub first_epoch: u32,
}

/// A transaction that is not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InDoubt {
    /// Which.
    pub txn: TxnId,
    /// Which attempt was promised or decided.
    pub attempt: Attempt,
    /// Who decides it.
    pub coordinator: u32,
}

/// Why a machine must not run on what its log holds. The operator is to change the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The keys were dealt to other participants than the configured ones.
    #[error(
        "the keys in this cluster were dealt to the participants {dealt:?}, but {configured:?} are configured; \
         name the same participants, or start with a new data directory"
    )]
    OtherParticipants {
        /// Who holds the keys.
        dealt: Vec<u32>,
        /// Who was configured.
        configured: Vec<u32>,
    },
}

/// A log, as a machine sees it.
pub trait Journal {
    /// Appends a record and returns which one it is and where it lies, with which it is replayed. It becomes stable later.
    fn append(&mut self, record: &Record) -> Logged;

    /// The last appended record that has a position: if it is stable, all are.
    fn end(&self) -> Index;

    /// Which new promises fit.
    fn room(&self) -> Room;
}

/// Where messages leave: the gate.
pub trait Outbox {
    /// Takes a message that may leave once the record `gate` and all before it are stable. Messages to the same
    /// node leave in the order in which their gates open.
    fn post(&mut self, to: NodeId, gate: Index, message: &Message);

    /// How the connection to a node stands.
    fn link(&self, to: NodeId) -> Link;

    /// Ends the connection to a node, if there is one: an operator has said that it is not to be heeded any more. It may connect
    /// again, and is then judged anew.
    fn disconnect(&mut self, to: NodeId);
}

/// How the connection to a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is none: what is sent now does not leave.
    Down,
    /// What is sent leaves.
    Open,
    /// It takes messages, and so many wait already that no more should be made for it.
    Congested,
}

/// What a machine does to the world: it appends records and sends messages.
pub struct Effects<'a> {
    journal: &'a mut dyn Journal,
    outbox: &'a mut dyn Outbox,
}

impl<'a> Effects<'a> {
    /// Effects on this log and this gate.
    pub fn new(journal: &'a mut dyn Journal, outbox: &'a mut dyn Outbox) -> Self {
        Self { journal, outbox }
    }

    /// Promises: appends a record, and returns which one it is and where it lies.
    pub fn log(&mut self, record: &Record) -> Logged {
        self.journal.append(record)
    }

    /// Sends a message that leaves only when every record logged before it is stable.
    pub fn send(&mut self, to: NodeId, message: &Message) {
        debug_assert_ne!(message.row().gate, Gate::AtOnce, "{} waits for no record", message.name());
        let gate = if leaves_early(message) { Index::ZERO } else { self.journal.end() };
        self.outbox.post(to, gate, message);
    }

    /// Sends a message that promises nothing and reveals nothing that could be undone; each use
    /// says why. It may overtake messages that wait for their records.
    pub fn send_now(&mut self, to: NodeId, message: &Message) {
        debug_assert_ne!(message.row().gate, Gate::Durable, "{} promises something", message.name());
        self.outbox.post(to, Index::ZERO, message);
    }

    /// Ends the connection to a node.
    pub fn disconnect(&mut self, to: NodeId) {
        self.outbox.disconnect(to);
    }

    /// How the connection to a node stands.
    #[must_use]
    pub fn link(&self, to: NodeId) -> Link {
        self.outbox.link(to)
    }

    /// Which new promises fit in the log.
    #[must_use]
    pub fn room(&self) -> Room {
        self.journal.room()
    }
}

/// Whether a message does not wait for its records: a planted bug.
fn leaves_early(message: &Message) -> bool {
    planted!("vote-ungated") && matches!(message, Message::Commit(CommitMessage::VoteYes { .. }))
        || planted!("read-ungated") && matches!(message, Message::Commit(CommitMessage::VoteReadOnly { .. }))
        || planted!("one-phase-ungated") && matches!(message, Message::Commit(CommitMessage::CommittedOnePhase { .. }))
        || planted!("commit-ungated") && matches!(message, Message::Commit(CommitMessage::Commit { .. }))
        || planted!("ack-ungated") && matches!(message, Message::Commit(CommitMessage::CommitAck { .. }))
        || planted!("answer-ungated") && matches!(message, Message::Client(ClientMessage::Committed { .. }))
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    const TXN: TxnId = TxnId(1);
    const ATTEMPT: Attempt = Attempt { epoch: 1, number: 1 };

    /// A log that is one record long, and the gates of what was posted.
    #[derive(Default)]
    struct Gates(Vec<Index>);

    impl Journal for Gates {
        fn append(&mut self, _record: &Record) -> Logged {
            Logged::default()
        }

        fn end(&self) -> Index {
            Index(7)
        }

        fn room(&self) -> Room {
            Room::Plenty
        }
    }

    impl Outbox for Gates {
        fn post(&mut self, _to: NodeId, gate: Index, _message: &Message) {
            self.0.push(gate);
        }

        fn link(&self, _to: NodeId) -> Link {
            Link::Open
        }

        fn disconnect(&mut self, _to: NodeId) {}
    }

    /// The gates that messages are given.
    fn gates(act: impl FnOnce(&mut Effects<'_>)) -> Vec<Index> {
        let (mut journal, mut outbox) = (Gates::default(), Gates::default());
        act(&mut Effects::new(&mut journal, &mut outbox));
        outbox.0
    }

    fn acknowledgement() -> Message {
        Message::Commit(CommitMessage::CommitAck { txn: TXN, attempt: ATTEMPT })
    }

    fn abort() -> Message {
        Message::Commit(CommitMessage::Abort { txn: TXN, attempt: ATTEMPT })
    }

    #[test]
    fn a_message_leaves_as_its_row_says() {
        let committed = Message::Client(ClientMessage::Committed { txn: TXN, results: None });
        let gates = gates(|effects| {
            effects.send(NodeId::coordinator(1), &acknowledgement());
            effects.send_now(NodeId::participant(1), &abort());
            effects.send(NodeId::client(1), &committed);
            effects.send_now(NodeId::client(1), &committed);
        });
        assert_eq!(gates, [Index(7), Index::ZERO, Index(7), Index::ZERO]);
    }

    #[test]
    #[should_panic(expected = "CommitAck promises something")]
    fn what_has_to_be_durable_does_not_leave_at_once() {
        gates(|effects| effects.send_now(NodeId::coordinator(1), &acknowledgement()));
    }

    #[test]
    #[should_panic(expected = "Abort waits for no record")]
    fn what_needs_no_record_does_not_wait() {
        gates(|effects| effects.send(NodeId::participant(1), &abort()));
    }
}
