//! A log in memory. What was appended is lost in a crash unless it was flushed.
//!
//! Records are counted from 1; the chain value at one is a checksum of all bytes up to its end. A checkpoint keeps the table as it was when it began; once all
//! that it logged is durable, what stands before it is cut off.

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::{Journal, Lsn, NodeId, Position, Record, Room};

use crate::world::trace::Trace;
use crate::world::words;

/// Rows of a table.
pub type Rows = Vec<(Bytes, Bytes)>;

struct Checkpoint {
    begin: Lsn,
    complete_at: Lsn,
    rows: Rows,
}

/// The log of one node, and what it holds of the table.
pub struct Log {
    owner: NodeId,
    trace: Trace,
    records: VecDeque<(Position, Bytes)>,
    /// The chain value before the first of them.
    chain: u64,
    durable: Lsn,
    end: Lsn,
    rows: Rows,
    checkpoint: Option<Checkpoint>,
    /// Whether new promises fit.
    pub room: Room,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new(owner: NodeId, trace: Trace) -> Self {
        Self {
            owner,
            trace,
            records: VecDeque::new(),
            chain: 1,
            durable: Lsn(1),
            end: Lsn(1),
            rows: Rows::new(),
            checkpoint: None,
            room: Room::Plenty,
        }
    }

    /// Up to where it is durable.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// Whether all is durable.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.durable == self.end
    }

    /// Makes everything durable.
    pub fn flush(&mut self) {
        self.durable = self.end;
    }

    /// Cuts off what a checkpoint that is durable has made needless.
    pub fn cut_off(&mut self) {
        if let Some(checkpoint) = self.checkpoint.take_if(|checkpoint| checkpoint.complete_at <= self.durable) {
            while let Some((at, _)) = self.records.pop_front_if(|(at, _)| at.lsn < checkpoint.begin) {
                self.chain = at.chain;
            }
            self.rows = checkpoint.rows;
            self.trace.line(format!("{} now starts at {}", self.owner, checkpoint.begin));
        }
    }

    /// Loses what is not durable, and `lost` durable records besides: damage.
    pub fn crash(&mut self, lost: usize) {
        self.checkpoint = None;
        self.records.retain(|(at, _)| at.lsn < self.durable);
        self.records.truncate(self.records.len().saturating_sub(lost));
        self.durable = Lsn(self.durable.0 - lost as u64);
        self.end = self.durable;
    }

    /// Goes on so many records later.
    pub fn skip(&mut self, records: u64) {
        self.end = Lsn(self.end.0 + records);
        self.durable = self.end;
    }

    /// Says that everything since `begin` is a checkpoint of a table that then had these rows.
    pub fn checkpoint(&mut self, begin: Lsn, rows: Rows) {
        self.checkpoint = Some(Checkpoint { begin, complete_at: self.end, rows });
    }

    /// The rows that the last checkpoint kept.
    #[must_use]
    pub fn rows(&self) -> &[(Bytes, Bytes)] {
        &self.rows
    }

    /// The durable records, decoded from their bytes.
    #[must_use]
    pub fn durable_records(&self) -> Vec<(Position, Record)> {
        let mut records = self.records();
        records.retain(|(at, _)| at.lsn < self.durable);
        records
    }

    /// All records, durable or not, decoded from their bytes.
    #[must_use]
    pub fn records(&self) -> Vec<(Position, Record)> {
        let decode = |bytes: &Bytes| Record::decode(bytes.clone()).expect("a record that was encoded");
        self.records.iter().map(|(at, bytes)| (*at, decode(bytes))).collect()
    }

    /// Adds all that it holds to a node's state.
    pub fn add_state(&self, state: &mut Vec<u8>) {
        let Self { owner: _, trace: _, records, chain, durable, end, rows, checkpoint, room } = self;
        let begun = checkpoint.as_ref().map(|checkpoint| (checkpoint.begin, checkpoint.complete_at, &checkpoint.rows));
        state.extend(format!("{chain} {durable} {end} {rows:?} {begun:?} {room:?}").into_bytes());
        for (at, bytes) in records {
            state.extend(format!(" {at} {} ", bytes.len()).into_bytes());
            state.extend_from_slice(bytes);
        }
    }
}

impl Journal for Log {
    fn append(&mut self, record: &Record) -> Position {
        self.trace.line(format!("{} logs {}", self.owner, words::record(record)));
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let before = self.records.back().map_or(self.chain, |(at, _)| at.chain);
        let chain = checksum(before, &bytes);
        let at = Position { lsn: self.end, chain };
        self.records.push_back((at, Bytes::from(bytes)));
        self.end = Lsn(self.end.0 + 1);
        at
    }

    fn end(&self) -> Lsn {
        self.end
    }

    fn room(&self) -> Room {
        self.room
    }
}

/// FNV-1a (Fowler, Noll and Vo), folded to four digits, so that stories can be read.
fn checksum(before: u64, bytes: &[u8]) -> u64 {
    let all = before.to_le_bytes().into_iter().chain(bytes.iter().copied());
    let hash = all.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u64::from((hash >> 16 ^ hash) & 0xffff).max(1)
}
