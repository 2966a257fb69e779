//! The states of a transaction at its participant: it waits for locks or for its turn, or for its outcome.

use protocol::message::Prepare;
use protocol::record::Promise;
use protocol::{Attempt, Message, Place, Position, RecoveryMessage, Tick, operation};

use crate::execute::Execution;

/// A transaction that holds or waits for locks here.
#[derive(Debug)]
pub(crate) enum Active {
    Waiting(Box<Waiting>),
    Prepared(Prepared),
}

/// A transaction that has promised nothing.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) prepare: Prepare,
    pub(crate) digest: u64,
    /// When its vote is of no use any more.
    pub(crate) answer_by: Tick,
    pub(crate) stage: Stage,
}

/// What a transaction waits for that has promised nothing.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Locks.
    ForLocks { until: Tick },
    /// It holds its locks, and its operations have not begun, or were put off amid a scan.
    ForItsTurn(Execution),
}

/// A transaction whose outcome is another's to decide.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) promise: Promise,
    /// Where it was first logged: what the vote says.
    pub(crate) first_at: Position,
    /// Where it was last logged: what it writes is read there.
    pub(crate) at: Place,
    pub(crate) ask_at: Tick,
    pub(crate) ask_interval_us: u64,
    /// Its vote is to be given again, and its operations have not come to their end again.
    pub(crate) again: Option<Box<Again>>,
}

/// The same operations once more, for a vote that may have been lost.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) prepare: Prepare,
    pub(crate) digest: u64,
    pub(crate) execution: Execution,
}

impl Waiting {
    /// Bytes of its operations when encoded.
    pub(crate) fn bytes(&self) -> usize {
        operation::bytes_of_digest(self.digest)
    }
}

impl Prepared {
    /// Asks what was decided.
    pub(crate) fn question(&self) -> Message {
        let Promise { txn, attempt, participants, .. } = &self.promise;
        Message::Recovery(RecoveryMessage::AskDecision {
            txn: *txn,
            attempt: *attempt,
            participants: participants.clone(),
        })
    }

    /// Bytes of its promise when encoded, and of the operations that are done again.
    pub(crate) fn bytes(&self) -> usize {
        let again = self.again.as_ref().map_or(0, |again| operation::bytes_of_digest(again.digest));
        self.promise.encoded_bytes() + again
    }
}

impl Active {
    pub(crate) fn attempt(&self) -> Attempt {
        match self {
            Self::Waiting(waiting) => waiting.prepare.attempt,
            Self::Prepared(prepared) => prepared.promise.attempt,
        }
    }

    pub(crate) fn coordinator(&self) -> u32 {
        match self {
            Self::Waiting(waiting) => waiting.prepare.coordinator,
            Self::Prepared(prepared) => prepared.promise.coordinator,
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        match self {
            Self::Waiting(waiting) => waiting.digest,
            Self::Prepared(prepared) => prepared.promise.digest,
        }
    }

    /// Bytes of its operations, or of its promise, when encoded.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Waiting(waiting) => waiting.bytes(),
            Self::Prepared(prepared) => prepared.bytes(),
        }
    }

    /// Bytes of the results that it has so far.
    pub(crate) fn partial_bytes(&self) -> usize {
        match self {
            Self::Waiting(waiting) => match &waiting.stage {
                Stage::ForLocks { .. } => 0,
                Stage::ForItsTurn(execution) => execution.bytes(),
            },
            Self::Prepared(prepared) => prepared.again.as_ref().map_or(0, |again| again.execution.bytes()),
        }
    }

    /// Whether its outcome is to be logged.
    pub(crate) fn is_promised(&self) -> bool {
        match self {
            Self::Waiting(_) => false,
            Self::Prepared(_) => true,
        }
    }

    pub(crate) fn due(&self) -> Tick {
        match self {
            Self::Waiting(waiting) => match &waiting.stage {
                Stage::ForLocks { until } => *until,
                Stage::ForItsTurn(_) => waiting.answer_by,
            },
            Self::Prepared(prepared) => prepared.ask_at,
        }
    }
}
