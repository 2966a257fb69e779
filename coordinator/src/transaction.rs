//! The states of a transaction at its coordinator.
//!
//! ```text
//! admitted -> preparing -> committed (delivering) -> finished
//!               ^   |
//!               |   +----> aborted
//!             backing off
//! ```

use planted::planted;
use protocol::message::{Prepare, PrepareMode};
use protocol::{
    Age, Attempt, ClusterId, NodeId, Operation, OperationResult, Position, Refusal, Tick, TxnId, operation,
};

use crate::answers::AnswerBytes;
use crate::split::Part;

/// A transaction that is not finished.
#[derive(Debug)]
pub(crate) enum Txn {
    /// Not decided.
    Open(Box<Open>),
    /// Committed; participants are being told.
    Delivering(Delivery),
}

/// A transaction that is not decided.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) digest: u64,
    /// Who asked. A retry over another connection adds to them.
    pub(crate) clients: Vec<NodeId>,
    pub(crate) deadline: Tick,
    pub(crate) age: Age,
    pub(crate) attempt: Attempt,
    pub(crate) branches: Vec<Branch>,
    /// Each operation's row limit.
    pub(crate) limits: Vec<u32>,
    pub(crate) phase: Phase,
    /// When the phase ends of itself.
    pub(crate) due: Tick,
    /// How often this attempt's votes were asked for.
    pub(crate) asked: u32,
    /// Why the last attempt did not succeed.
    pub(crate) last_refusal: Option<Refusal>,
}

/// What an open transaction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Votes.
    Preparing,
    /// The next attempt.
    BackingOff,
}

/// A participant's part of an open transaction.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) part: Part,
    /// Whether any of its operations can write.
    pub(crate) writes: bool,
    /// What its operations take when encoded.
    pub(crate) bytes: usize,
    /// What its answer is expected to take, or takes.
    pub(crate) answer: AnswerBytes,
    pub(crate) vote: Vote,
    /// When its vote was first asked for in the present attempt.
    pub(crate) asked_at: Tick,
}

/// Where a branch stands in the present attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    /// Its prepare is held back until the others have voted.
    NotAsked,
    /// Asked.
    Awaited,
    /// Promised.
    Yes { prepared_at: Position, results: Vec<OperationResult> },
    /// Read, and released.
    ReadOnly { results: Vec<OperationResult> },
}

/// What the votes come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// Votes are missing.
    Incomplete,
    /// All have promised but this branch, which was held back and may now be asked.
    AskHeldBack(usize),
    /// Everyone agrees.
    Unanimous,
}

/// A committed transaction that not everyone has acknowledged.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) decision: Decision,
    /// Who has to be told still, and where their promises stand.
    pub(crate) unacked: Vec<(u32, Position)>,
    pub(crate) due: Tick,
    pub(crate) resend_interval_us: u64,
}

/// A decision to commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision {
    pub(crate) attempt: Attempt,
    pub(crate) digest: u64,
    /// Where it was first logged: what the commits say.
    pub(crate) decided_at: Position,
}

impl Txn {
    pub(crate) fn due(&self) -> Tick {
        match self {
            Self::Open(open) => open.due,
            Self::Delivering(delivery) => delivery.due,
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        match self {
            Self::Open(open) => open.digest,
            Self::Delivering(delivery) => delivery.decision.digest,
        }
    }
}

impl Vote {
    pub(crate) fn results(&self) -> &[OperationResult] {
        match self {
            Self::Yes { results, .. } | Self::ReadOnly { results } => results,
            Self::NotAsked | Self::Awaited => &[],
        }
    }
}

impl Branch {
    pub(crate) fn new(part: Part) -> Self {
        let writes = part.operations.iter().any(Operation::writes);
        let bytes = operation::operations_bytes(&part.operations);
        Self { part, writes, bytes, answer: AnswerBytes::default(), vote: Vote::NotAsked, asked_at: Tick::default() }
    }
}

impl Open {
    pub(crate) fn branch_of(&mut self, participant: u32) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|branch| branch.part.participant == participant)
    }

    /// The branch that is asked after all others: one that only reads. Its participant then needs
    /// no promise, for every lock of the transaction is held when it releases its own.
    pub(crate) fn held_back(&self) -> Option<usize> {
        if self.branches.len() < 2 { None } else { self.branches.iter().rposition(|branch| !branch.writes) }
    }

    pub(crate) fn is_one_phase(&self) -> bool {
        self.branches.len() == 1
    }

    pub(crate) fn tally(&self) -> Tally {
        let mut not_asked = None;
        for (at, branch) in self.branches.iter().enumerate() {
            match branch.vote {
                Vote::Awaited if !planted!("silence-ignored") => return Tally::Incomplete,
                Vote::Awaited => {}
                Vote::NotAsked => not_asked = Some(at),
                Vote::Yes { .. } | Vote::ReadOnly { .. } => {}
            }
        }
        not_asked.map_or(Tally::Unanimous, Tally::AskHeldBack)
    }

    /// Whether any of its operations can write.
    pub(crate) fn writes(&self) -> bool {
        self.branches.iter().any(|branch| branch.writes)
    }

    /// Whether a participant may have done it although nobody has said so.
    pub(crate) fn may_be_done(&self) -> bool {
        self.is_one_phase() && self.phase == Phase::Preparing && self.writes()
    }

    /// The prepare for a branch, as it is asked for at this time. Past the deadline it asks for nothing new.
    pub(crate) fn prepare(
        &self,
        now: Tick,
        txn: TxnId,
        (cluster, lock_wait_ms): (ClusterId, u32),
        at: usize,
    ) -> Prepare {
        let mode = if self.is_one_phase() {
            PrepareMode::OnePhase
        } else if self.held_back() == Some(at) {
            PrepareMode::LocksHeldElsewhere
        } else {
            PrepareMode::TwoPhase
        };
        Prepare {
            txn,
            attempt: self.attempt,
            cluster,
            coordinator: self.age.coordinator,
            age: self.age,
            participants: self.branches.iter().map(|branch| branch.part.participant).collect(),
            mode,
            lock_wait_ms,
            answer_within_ms: self.deadline.0.saturating_sub(now.0).div_ceil(1_000).try_into().unwrap_or(u32::MAX),
            operations: self.branches[at].part.operations.clone(),
        }
    }

    /// Those that have promised and wait for the decision.
    pub(crate) fn promised(&self) -> Vec<(u32, Position)> {
        self.branches
            .iter()
            .filter_map(|branch| match branch.vote {
                Vote::Yes { prepared_at, .. } => Some((branch.part.participant, prepared_at)),
                Vote::NotAsked | Vote::Awaited | Vote::ReadOnly { .. } => None,
            })
            .collect()
    }

    /// Takes the results out of the votes, each with its places.
    pub(crate) fn take_results(&mut self) -> impl Iterator<Item = (Vec<u16>, Vec<OperationResult>)> {
        self.branches.iter_mut().filter_map(|branch| {
            let (Vote::Yes { results, .. } | Vote::ReadOnly { results }) = &mut branch.vote else { return None };
            Some((branch.part.places.clone(), std::mem::take(results)))
        })
    }
}
