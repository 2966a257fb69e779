//! What an audit says.

use std::fmt;

use protocol::{Attempt, Index, Position, Role, TxnId};

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeName {
    /// A coordinator.
    Coordinator(u32),
    /// A participant.
    Participant(u32),
}

impl NodeName {
    /// What it does.
    #[must_use]
    pub fn role(self) -> Role {
        match self {
            Self::Coordinator(_) => Role::Coordinator,
            Self::Participant(_) => Role::Participant,
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator(number) => write!(f, "c{number}"),
            Self::Participant(number) => write!(f, "p{number}"),
        }
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One node committed what another one aborted under the same attempt.
    DecidedDifferently {
        /// Who committed.
        committed: NodeName,
        /// Who aborted.
        aborted: NodeName,
    },
    /// It was committed under two attempts: its id was used again after the retention, or it was done twice.
    CommittedTwice {
        /// Who committed first, or the smaller node.
        first: NodeName,
        /// And the other time.
        second: NodeName,
        /// The other attempt.
        other_attempt: Attempt,
    },
    /// A participant committed it, and its coordinator, whose log is there from the beginning, never decided so.
    NotDecided {
        /// Who committed.
        committed: NodeName,
    },
    /// A coordinator decided by a promise that is not in the participant's log.
    PromiseMissing {
        /// Whose promise.
        participant: NodeName,
        /// Where it stood.
        at: Position,
        /// The last record of that log.
        log_end: Index,
    },
    /// The participant committed another promise than the one that was voted on.
    OtherPromise {
        /// Whose promise.
        participant: NodeName,
        /// Where the one stood that was voted on.
        at: Position,
        /// Where the other one stands.
        other: Position,
    },
    /// A coordinator was told of a promise or commit that is not in the participant's log, or a participant of a decision that
    /// is not in the coordinator's. Which one is not known any more.
    RecordMissing {
        /// Whose record.
        node: NodeName,
        /// Where it stood.
        at: Position,
        /// The last record of that log.
        log_end: Index,
    },
    /// A participant has told that it committed, and does not know it any more.
    CommitMissing {
        /// Who has told.
        participant: NodeName,
        /// Where the record stood, if that was told.
        at: Position,
        /// The last record of that log.
        log_end: Index,
    },
}

impl Fault {
    /// One word for tables and JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::DecidedDifferently { .. } => "decided-differently",
            Self::CommittedTwice { .. } => "committed-twice",
            Self::NotDecided { .. } => "not-decided",
            Self::PromiseMissing { .. } => "promise-missing",
            Self::OtherPromise { .. } => "other-promise",
            Self::RecordMissing { .. } => "record-missing",
            Self::CommitMissing { .. } => "commit-missing",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DecidedDifferently { committed, aborted } => {
                write!(f, "{committed} committed it, {aborted} aborted it")
            }
            Self::CommittedTwice { first, second, other_attempt } => {
                write!(f, "{first} and {second} committed it, there under attempt {other_attempt}")
            }
            Self::NotDecided { committed } => write!(f, "{committed} committed it, and nobody decided so"),
            Self::PromiseMissing { participant, at, log_end } => {
                write!(
                    f,
                    "{participant} had promised it at index {}, and has no such record; its log ends with index {log_end}",
                    at.index
                )
            }
            Self::OtherPromise { participant, at, other } => write!(
                f,
                "{participant} committed the promise at index {}, not the one at index {} that was voted on",
                other.index, at.index
            ),
            Self::RecordMissing { node, at, log_end } => {
                let what = match node {
                    NodeName::Participant(_) => "promise or commit",
                    NodeName::Coordinator(_) => "decision",
                };
                write!(
                    f,
                    "{node} had told of a {what} at index {}, and has no such record; its log ends with index {log_end}",
                    at.index
                )
            }
            Self::CommitMissing { participant, at, log_end } if at.is_known() => write!(
                f,
                "{participant} had committed it at index {}, and has no such record; its log ends with index {log_end}",
                at.index
            ),
            Self::CommitMissing { participant, log_end, .. } => {
                write!(
                    f,
                    "{participant} has acknowledged it, and does not know of it; its log ends with index {log_end}"
                )
            }
        }
    }
}

/// Something that must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which transaction; `None` if that is not known any more.
    pub txn: Option<TxnId>,
    /// Which attempt.
    pub attempt: Option<Attempt>,
    /// Whose log says so.
    pub by: NodeName,
    /// What is wrong.
    pub fault: Fault,
}

/// A promise whose outcome its participant does not know: it will ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InDoubt {
    /// Which.
    pub txn: TxnId,
    /// Which attempt.
    pub attempt: Attempt,
    /// Who has promised.
    pub participant: NodeName,
    /// Who decides.
    pub coordinator: NodeName,
    /// Whether it will commit; `None` if the coordinator's log was not given.
    pub commits: Option<bool>,
}

/// A log that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSummary {
    /// Whose.
    pub node: NodeName,
    /// Where it was.
    pub dir: String,
    /// Records read.
    pub records: u64,
    /// From where: the last record before the last checkpoint, 0 if there was none.
    pub begin: Index,
    /// Up to where: the last record.
    pub end: Index,
    /// What could not be read, in words.
    pub unread: Vec<String>,
    /// What its end says of a group that was begun, if one was.
    pub torn: Option<String>,
}

/// Cases in which it cannot be told whether something is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// The retention or a checkpoint may have dropped it.
    pub dropped: u64,
    /// It may stand in what could not be read.
    pub unread: u64,
    /// The node's directory was not given.
    pub not_given: u64,
}

/// What came of an audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The logs.
    pub nodes: Vec<NodeSummary>,
    /// Nodes that are named somewhere and whose directories were not given.
    pub not_given: Vec<NodeName>,
    /// What must not be.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub findings_dropped: u64,
    /// What is not resolved: no fault.
    pub in_doubt: Vec<InDoubt>,
    /// How many more there are.
    pub in_doubt_dropped: u64,
    /// Statements of one node about another that were compared and hold.
    pub confirmed: u64,
    /// Statements that could not be compared.
    pub untold: Untold,
}

impl Report {
    /// Whether every log was read to its end.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.nodes.iter().all(|node| node.unread.is_empty())
    }
}
