//! The states of a transaction at its participant: it waits for locks, or for its outcome.

use protocol::message::Prepare;
use protocol::record::Promise;
use protocol::{Attempt, Lsn, Message, Position, Tick, operation};

/// A transaction that holds or waits for locks here.
#[derive(Debug)]
pub(crate) enum Active {
    Waiting { prepare: Box<Prepare>, digest: u64, until: Tick },
    Prepared(Prepared),
}

/// A transaction whose outcome is another's to decide.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) promise: Promise,
    /// Where it was first logged: what the vote says.
    pub(crate) first_at: Position,
    /// Where it was last logged: what it writes is read there.
    pub(crate) at: Lsn,
    pub(crate) ask_at: Tick,
    pub(crate) ask_interval_us: u64,
}

impl Prepared {
    /// Asks what was decided.
    pub(crate) fn question(&self) -> Message {
        let Promise { txn, attempt, participants, .. } = &self.promise;
        Message::AskDecision { txn: *txn, attempt: *attempt, participants: participants.clone() }
    }
}

impl Active {
    pub(crate) fn attempt(&self) -> Attempt {
        match self {
            Self::Waiting { prepare, .. } => prepare.attempt,
            Self::Prepared(prepared) => prepared.promise.attempt,
        }
    }

    pub(crate) fn coordinator(&self) -> u32 {
        match self {
            Self::Waiting { prepare, .. } => prepare.coordinator,
            Self::Prepared(prepared) => prepared.promise.coordinator,
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        match self {
            Self::Waiting { digest, .. } => *digest,
            Self::Prepared(prepared) => prepared.promise.digest,
        }
    }

    /// Bytes of its operations, or of its promise, when encoded.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Waiting { digest, .. } => operation::bytes_of_digest(*digest),
            Self::Prepared(prepared) => prepared.promise.encoded_bytes(),
        }
    }

    /// Whether its outcome is to be logged.
    pub(crate) fn is_promised(&self) -> bool {
        match self {
            Self::Waiting { .. } => false,
            Self::Prepared(_) => true,
        }
    }

    pub(crate) fn due(&self) -> Tick {
        match self {
            Self::Waiting { until, .. } => *until,
            Self::Prepared(prepared) => prepared.ask_at,
        }
    }
}
