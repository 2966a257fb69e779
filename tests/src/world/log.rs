//! A log in memory. What was appended is lost in a crash unless it was flushed.
//!
//! Positions count records, from 1. A checkpoint keeps the table as it was when it began; once all
//! that it logged is durable, what stands before it is cut off.

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::{Journal, Lsn, NodeId, Record, Room};

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
    records: VecDeque<(Lsn, Bytes)>,
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
            self.records.retain(|(at, _)| *at >= checkpoint.begin);
            self.rows = checkpoint.rows;
            self.trace.line(format!("{} now starts at {}", self.owner, checkpoint.begin));
        }
    }

    /// Loses what is not durable, and `lost` durable records besides: damage.
    pub fn crash(&mut self, lost: usize) {
        self.checkpoint = None;
        self.records.retain(|(at, _)| *at < self.durable);
        self.records.truncate(self.records.len().saturating_sub(lost));
        self.durable = Lsn(self.durable.0 - lost as u64);
        self.end = self.durable;
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
    pub fn durable_records(&self) -> Vec<(Lsn, Record)> {
        let durable = self.records.iter().filter(|(at, _)| *at < self.durable);
        durable.map(|(at, bytes)| (*at, Record::decode(bytes.clone()).expect("a record that was encoded"))).collect()
    }
}

impl Journal for Log {
    fn append(&mut self, record: &Record) -> Lsn {
        self.trace.line(format!("{} logs {}", self.owner, words::record(record)));
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let at = self.end;
        self.records.push_back((at, Bytes::from(bytes)));
        self.end = Lsn(at.0 + 1);
        at
    }

    fn end(&self) -> Lsn {
        self.end
    }

    fn room(&self) -> Room {
        self.room
    }
}
