//! The names of things. Every one is a plain number with a type of its own.

use std::fmt;
use std::str::FromStr;

/// A transaction: 128 bits, made by the client, so that a retry is the same transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(pub u128);

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{:x}", self.0)
    }
}

/// A text is not the id of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a transaction is exactly {TXN_ID_DIGITS} hexadecimal digits")]
pub struct NotATxnId;

/// As many as [`TxnId`] is displayed with: a shorter id is one that was cut when it was copied, and would name another transaction.
const TXN_ID_DIGITS: usize = 32;

impl FromStr for TxnId {
    type Err = NotATxnId;

    /// Hexadecimal, as [`TxnId`] is displayed.
    fn from_str(text: &str) -> Result<Self, NotATxnId> {
        let is_whole = text.len() == TXN_ID_DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = is_whole.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or(NotATxnId)
    }
}

/// One try of a coordinator to commit a transaction. A transaction that had to give way is tried
/// again under a higher attempt; a participant that sees a higher attempt knows that every lower
/// one of the same coordinator was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// The coordinator's epoch: how many times it has started.
    pub epoch: u32,
    /// Counts the tries within the epoch, from 1.
    pub number: u32,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

/// A transaction's age, given once at admission and kept by every attempt. The smaller, the older:
/// in a conflict the older one waits and the younger one gives way (wait-die; Rosenkrantz, Stearns
/// and Lewis 1978). Unique, because a coordinator never gives the same time twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// When the coordinator admitted it, in microseconds of its clock. Decides who waits, never
    /// what is safe.
    pub admitted_us: u64,
    /// Which coordinator admitted it.
    pub coordinator: u32,
}

/// All nodes that may talk to each other share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterId(pub u64);

/// One process of a daemon: which log it runs on, and which of the starts on that log it is. Of two processes under one number
/// that tells the successor from the one that it has replaced, and a copy of a data directory from the original.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// The id of its log, drawn at random when the log was created.
    pub log: u64,
    /// Counts the starts on that log, from 1.
    pub epoch: u32,
    /// Drawn at random at this start: two copies of a log that start under the same epoch differ in it.
    pub start: u64,
}

impl Process {
    /// No process: none was met yet.
    pub const NONE: Self = Self { log: 0, epoch: 0, start: 0 };

    /// Whether any process was met.
    #[must_use]
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, epoch, start } = self;
        match (log, epoch) {
            (0, 0) => f.write_str("none"),
            (0, _) => write!(f, "any log after epoch {epoch}"),
            (_, _) => write!(f, "log {log:016x} epoch {epoch} start {start:016x}"),
        }
    }
}

/// The driver's clock in microseconds since 1970, which never runs backwards within a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

impl Tick {
    /// This much later.
    #[must_use]
    pub fn plus_us(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }
}

/// What a node does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Asks for transactions.
    Client,
    /// Decides them.
    Coordinator,
    /// Holds data and votes.
    Participant,
}

impl Role {
    /// Its number on the wire and in a data directory.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Client => 0,
            Self::Coordinator => 1,
            Self::Participant => 2,
        }
    }

    /// The role with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Client),
            1 => Some(Self::Coordinator),
            2 => Some(Self::Participant),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Coordinator => "coordinator",
            Self::Participant => "participant",
        })
    }
}

/// Who says or hears something: a configured node, or a client's session on this node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

impl NodeId {
    const ROLE_SHIFT: u32 = 56;

    /// The participant with this configured number.
    #[must_use]
    pub fn participant(number: u32) -> Self {
        Self::new(Role::Participant, u64::from(number))
    }

    /// The coordinator with this configured number.
    #[must_use]
    pub fn coordinator(number: u32) -> Self {
        Self::new(Role::Coordinator, u64::from(number))
    }

    /// A client's connection; the number is this node's own and lives as long as the connection.
    #[must_use]
    pub fn client(session: u64) -> Self {
        Self::new(Role::Client, session)
    }

    fn new(role: Role, number: u64) -> Self {
        assert!(number < 1 << Self::ROLE_SHIFT);
        Self(u64::from(role.code()) << Self::ROLE_SHIFT | number)
    }

    /// What this node does.
    #[must_use]
    pub fn role(self) -> Role {
        match self.0 >> Self::ROLE_SHIFT {
            1 => Role::Coordinator,
            2 => Role::Participant,
            _ => Role::Client,
        }
    }

    /// Its number among the nodes of its role.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0 & ((1 << Self::ROLE_SHIFT) - 1);
        match self.role() {
            Role::Client => write!(f, "client{number}"),
            Role::Coordinator => write!(f, "c{number}"),
            Role::Participant => write!(f, "p{number}"),
        }
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
