//! Little-endian reading and writing, shared by messages and records.
//!
//! Invariant: a count or length that a peer states is compared with the bytes that are really
//! there before anything is allocated for it.

use bytes::{Buf, BufMut, Bytes};
use seam::{Index, Position};

use crate::id::{Attempt, Process, TxnId};
use crate::limits::{KEY_BYTES_MAX, PARTICIPANTS_MAX, VALUE_BYTES_MAX};

/// Bytes that are not what `WIRE.md` says. The peer that sent them is at fault: its connection
/// is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end within a field.
    #[error("the bytes end within {0}")]
    Truncated(&'static str),
    /// A field holds a number that stands for nothing.
    #[error("{field} has the unknown code {code}")]
    UnknownCode {
        /// The field.
        field: &'static str,
        /// What it held.
        code: u8,
    },
    /// A message of a kind that this build does not know, and that must not be skipped.
    #[error("a message of the unknown family {family}, kind {kind}")]
    UnknownMessage {
        /// Its family.
        family: u8,
        /// Its kind.
        kind: u8,
    },
    /// A field is longer than its limit.
    #[error("{field} is {found} long, at most {max} is allowed")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Its stated length.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A text is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
    /// Bytes are left after the last field.
    #[error("{0} bytes are left over")]
    LeftOver(usize),
}

/// Reads fields from bytes that have passed their checksum; keys and values are slices of them.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    /// Reads from the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn need(&self, count: usize, field: &'static str) -> Result<(), Malformed> {
        if self.bytes.len() < count { Err(Malformed::Truncated(field)) } else { Ok(()) }
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.need(1, field)?;
        Ok(self.bytes.get_u8())
    }

    /// Two bytes.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.need(2, field)?;
        Ok(self.bytes.get_u16_le())
    }

    /// Four bytes.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.need(4, field)?;
        Ok(self.bytes.get_u32_le())
    }

    /// Eight bytes.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.need(8, field)?;
        Ok(self.bytes.get_u64_le())
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, Malformed> {
        self.need(8, field)?;
        Ok(self.bytes.get_i64_le())
    }

    /// Sixteen bytes, signed.
    pub fn i128(&mut self, field: &'static str) -> Result<i128, Malformed> {
        self.need(16, field)?;
        Ok(self.bytes.get_i128_le())
    }

    /// A transaction's id.
    pub fn txn(&mut self) -> Result<TxnId, Malformed> {
        self.need(16, "transaction id")?;
        Ok(TxnId(self.bytes.get_u128_le()))
    }

    /// An attempt.
    pub fn attempt(&mut self) -> Result<Attempt, Malformed> {
        Ok(Attempt { epoch: self.u32("epoch")?, number: self.u32("attempt")? })
    }

    /// A position.
    pub fn position(&mut self, field: &'static str) -> Result<Position, Malformed> {
        Ok(Position { index: Index(self.u64(field)?), hash: self.u64(field)? })
    }

    /// A process.
    pub fn process(&mut self) -> Result<Process, Malformed> {
        Ok(Process { log: self.u64("log id")?, epoch: self.u32("process epoch")?, start: self.u64("start id")? })
    }

    /// A key with its two-byte length.
    pub fn key(&mut self) -> Result<Bytes, Malformed> {
        let length = self.u16("key length")? as usize;
        self.slice(length, KEY_BYTES_MAX, "key")
    }

    /// A value with its four-byte length.
    pub fn value(&mut self) -> Result<Bytes, Malformed> {
        let length = self.u32("value length")? as usize;
        self.slice(length, VALUE_BYTES_MAX, "value")
    }

    /// `length` bytes, at most `max`.
    pub fn slice(&mut self, length: usize, max: usize, field: &'static str) -> Result<Bytes, Malformed> {
        if length > max {
            return Err(Malformed::TooLong { field, found: length, max });
        }
        self.need(length, field)?;
        Ok(self.bytes.split_to(length))
    }

    /// A two-byte count of things, each at least `bytes_each_min` long, at most `max` of them.
    pub fn count(&mut self, bytes_each_min: usize, max: usize, field: &'static str) -> Result<usize, Malformed> {
        let count = self.u16(field)? as usize;
        if count > max {
            return Err(Malformed::TooLong { field, found: count, max });
        }
        self.need(count * bytes_each_min, field)?;
        Ok(count)
    }

    /// The numbers of participants, with their two-byte count.
    pub fn participants(&mut self) -> Result<Vec<u32>, Malformed> {
        let count = self.count(4, PARTICIPANTS_MAX, "participants")?;
        (0..count).map(|_| self.u32("participant")).collect()
    }

    /// Fails unless everything was read.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Malformed::LeftOver(self.bytes.len())) }
    }
}

pub(crate) fn put_txn(out: &mut Vec<u8>, txn: TxnId) {
    out.put_u128_le(txn.0);
}

pub(crate) fn put_attempt(out: &mut Vec<u8>, attempt: Attempt) {
    out.put_u32_le(attempt.epoch);
    out.put_u32_le(attempt.number);
}

pub(crate) fn put_position(out: &mut Vec<u8>, position: Position) {
    out.put_u64_le(position.index.0);
    out.put_u64_le(position.hash);
}

pub(crate) fn put_process(out: &mut Vec<u8>, process: Process) {
    out.put_u64_le(process.log);
    out.put_u32_le(process.epoch);
    out.put_u64_le(process.start);
}

pub(crate) fn put_key(out: &mut Vec<u8>, key: &[u8]) {
    assert!(key.len() <= KEY_BYTES_MAX, "a key of {} bytes", key.len());
    out.put_u16_le(key.len() as u16);
    out.put_slice(key);
}

pub(crate) fn put_value(out: &mut Vec<u8>, value: &[u8]) {
    assert!(value.len() <= VALUE_BYTES_MAX, "a value of {} bytes", value.len());
    out.put_u32_le(value.len() as u32);
    out.put_slice(value);
}

pub(crate) fn put_count(out: &mut Vec<u8>, count: usize, max: usize) {
    assert!(count <= max && count <= u16::MAX as usize, "{count} items, at most {max}");
    out.put_u16_le(count as u16);
}

pub(crate) fn put_participants(out: &mut Vec<u8>, participants: &[u32]) {
    put_count(out, participants.len(), PARTICIPANTS_MAX);
    for participant in participants {
        out.put_u32_le(*participant);
    }
}
