//! Why a transaction, or one participant's part of it, was refused.

use std::fmt;

use bytes::BufMut;

use crate::codec::{Malformed, Reader};
use crate::fields::Field;
use crate::limits::OPERATIONS_MAX;

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A lock is held: this transaction gave way to an older one, or waited as long as it may.
    Conflict,
    /// An `add` would have left its bounds.
    Bound,
    /// An `expect` did not hold.
    Expectation,
    /// An `add` met a value that is not a decimal number.
    NotANumber,
    /// The write set or the results would exceed their limits.
    TooLarge,
    /// The node has as much to do as it accepts.
    Busy,
    /// The disk is full; decisions still fit, new promises do not.
    NoSpace,
    /// The same id was used before with other operations.
    IdReused,
    /// The coordinator has been replaced by a later start of itself.
    StaleEpoch,
    /// The transaction has committed already, under an earlier attempt.
    AlreadyCommitted,
    /// A participant did not answer in time.
    Unavailable,
    /// The prepare names another cluster, or a participant that is not this one.
    WrongNode,
    /// The participant found damage in what it had stored.
    Damaged,
    /// The log of the participant, or of the coordinator, has lost records that it had spoken of.
    LogLost,
    /// The coordinator and the participant have not exchanged their claims yet.
    NoClaim,
    /// The prepare contradicts itself: no attempt, a participant named twice, one phase for several.
    Invalid,
    /// The coordinator has ended this attempt, or a later one.
    Ended,
    /// The memory budget is used up: nothing is stored that takes more.
    NoMemory,
}

impl Reason {
    const ALL: [Self; 18] = [
        Self::Conflict,
        Self::Bound,
        Self::Expectation,
        Self::NotANumber,
        Self::TooLarge,
        Self::Busy,
        Self::NoSpace,
        Self::IdReused,
        Self::StaleEpoch,
        Self::AlreadyCommitted,
        Self::Unavailable,
        Self::WrongNode,
        Self::Damaged,
        Self::LogLost,
        Self::NoClaim,
        Self::Invalid,
        Self::Ended,
        Self::NoMemory,
    ];

    /// Whether a later attempt of the same transaction may fare better.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Conflict
            | Self::Busy
            | Self::NoSpace
            | Self::NoMemory
            | Self::Unavailable
            | Self::NoClaim
            | Self::Ended => true,
            Self::Bound
            | Self::Expectation
            | Self::NotANumber
            | Self::TooLarge
            | Self::IdReused
            | Self::StaleEpoch
            | Self::AlreadyCommitted
            | Self::WrongNode
            | Self::Damaged
            | Self::LogLost
            | Self::Invalid => false,
        }
    }

    /// Its number on the wire, from 1.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8 + 1
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(code.checked_sub(1)? as usize).copied()
    }

    /// One word for tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Bound => "bound",
            Self::Expectation => "expectation",
            Self::NotANumber => "not-a-number",
            Self::TooLarge => "too-large",
            Self::Busy => "busy",
            Self::NoSpace => "no-space",
            Self::IdReused => "id-reused",
            Self::StaleEpoch => "stale-epoch",
            Self::AlreadyCommitted => "already-committed",
            Self::Unavailable => "unavailable",
            Self::WrongNode => "wrong-node",
            Self::Damaged => "damaged",
            Self::LogLost => "log-lost",
            Self::NoClaim => "no-claim",
            Self::Invalid => "invalid",
            Self::Ended => "ended",
            Self::NoMemory => "no-memory",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The participant's number that stands for none; no participant may have it.
const NO_PARTICIPANT: u32 = u32::MAX;

/// The operation's position that stands for none.
const NO_OPERATION: u16 = u16::MAX;

fn is_operation_or_none(operation: u16) -> bool {
    operation == NO_OPERATION || (operation as usize) < OPERATIONS_MAX
}

/// A refusal: why, where, and by which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The participant that refused; `None` if the coordinator did.
    pub participant: Option<u32>,
    /// The operation that was refused, counted from 0 in the list that the reader of this sent.
    pub operation: Option<u16>,
}

impl Refusal {
    /// A refusal by a coordinator, of the whole transaction.
    #[must_use]
    pub fn by_coordinator(reason: Reason) -> Self {
        Self { reason, participant: None, operation: None }
    }

    /// A refusal by a participant, of its whole part.
    #[must_use]
    pub fn by_participant(participant: u32, reason: Reason) -> Self {
        Self { reason, participant: Some(participant), operation: None }
    }
}

impl Field for Refusal {
    fn put(&self, out: &mut Vec<u8>) {
        let operation = self.operation.unwrap_or(NO_OPERATION);
        assert!(is_operation_or_none(operation), "operation {operation} of a transaction");
        out.put_u8(self.reason.code());
        out.put_u32_le(self.participant.unwrap_or(NO_PARTICIPANT));
        out.put_u16_le(operation);
    }

    fn read(reader: &mut Reader, _name: &'static str) -> Result<Self, Malformed> {
        let code = reader.u8("reason")?;
        let reason = Reason::from_code(code).ok_or(Malformed::UnknownCode { field: "reason", code })?;
        let participant = reader.u32("participant")?;
        let operation = reader.u16("operation")?;
        if !is_operation_or_none(operation) {
            let (found, max) = (operation as usize, OPERATIONS_MAX - 1);
            return Err(Malformed::TooLong { field: "refused operation", found, max });
        }
        Ok(Self {
            reason,
            participant: (participant != NO_PARTICIPANT).then_some(participant),
            operation: (operation != NO_OPERATION).then_some(operation),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(operation) = self.operation {
            write!(f, " (operation {})", operation + 1)?;
        }
        if let Some(participant) = self.participant {
            write!(f, " at participant {participant}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_code() {
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.code() as usize, at + 1);
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        }
        assert_eq!(Reason::from_code(0), None);
        assert_eq!(Reason::from_code(Reason::ALL.len() as u8 + 1), None);
    }
}
