//! A log in memory. What was appended is lost in a crash unless it was flushed.
//!
//! Places count all records from 1, positions those that are not logged again for a checkpoint; the hash of one is a checksum of all
//! bytes up to its end. A checkpoint keeps the table as it was when it began; once all that it logged is durable, what stands
//! before it is cut off.

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::{Index, Journal, Logged, NodeId, Place, Position, Record, Room};

use crate::world::trace::Trace;
use crate::world::words;

/// Rows of a table.
pub type Rows = Vec<(Bytes, Bytes)>;

struct Checkpoint {
    begin: Place,
    complete_at: Place,
    rows: Rows,
}

/// The log of one node, and what it holds of the table.
pub struct Log {
    owner: NodeId,
    trace: Trace,
    records: VecDeque<(Logged, Bytes)>,
    /// The last position before the first of them.
    before: Position,
    /// The last position.
    last: Position,
    durable: Place,
    end: Place,
    rows: Rows,
    checkpoint: Option<Checkpoint>,
    /// Whether new promises fit.
    pub room: Room,
}

fn next(place: Place, records: u64) -> Place {
    Place::of_address(place.address() + records)
}

impl Log {
    /// Where the first record of a log lies.
    #[must_use]
    pub fn first() -> Place {
        Place::of_address(1)
    }

    /// An empty log.
    #[must_use]
    pub fn new(owner: NodeId, trace: Trace) -> Self {
        let nothing = Position { index: Index::ZERO, hash: 1 };
        Self {
            owner,
            trace,
            records: VecDeque::new(),
            before: nothing,
            last: nothing,
            durable: Self::first(),
            end: Self::first(),
            rows: Rows::new(),
            checkpoint: None,
            room: Room::Plenty,
        }
    }

    /// Everything that lies before is durable.
    #[must_use]
    pub fn durable(&self) -> Place {
        self.durable
    }

    /// The last durable record that has a position.
    #[must_use]
    pub fn stable(&self) -> Index {
        let durable = self.records.iter().rev().find(|(at, _)| at.place < self.durable && at.position.is_known());
        if self.is_flushed() { self.last.index } else { durable.map_or(self.before, |(at, _)| at.position).index }
    }

    /// Where the next record will lie.
    #[must_use]
    pub fn end_place(&self) -> Place {
        self.end
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
            while let Some((at, _)) = self.records.pop_front_if(|(at, _)| at.place < checkpoint.begin) {
                self.before = if at.position.is_known() { at.position } else { self.before };
            }
            self.rows = checkpoint.rows;
            self.trace.line(format!("{} now starts at {}", self.owner, checkpoint.begin.address()));
        }
    }

    /// Loses what is not durable, and `lost` durable records besides: damage.
    pub fn crash(&mut self, lost: usize) {
        self.checkpoint = None;
        self.records.retain(|(at, _)| at.place < self.durable);
        self.records.truncate(self.records.len().saturating_sub(lost));
        self.durable = Place::of_address(self.durable.address() - lost as u64);
        self.end = self.durable;
        let last = self.records.iter().rev().map(|(at, _)| at.position).find(|at| at.is_known());
        self.last = last.unwrap_or(self.before);
    }

    /// Goes on so many records later.
    pub fn skip(&mut self, records: u64) {
        self.last.index.0 += records;
        self.end = next(self.end, records);
        self.durable = self.end;
    }

    /// Says that everything since `begin` is a checkpoint of a table that then had these rows.
    pub fn checkpoint(&mut self, begin: Place, rows: Rows) {
        self.checkpoint = Some(Checkpoint { begin, complete_at: self.end, rows });
    }

    /// The rows that the last checkpoint kept.
    #[must_use]
    pub fn rows(&self) -> &[(Bytes, Bytes)] {
        &self.rows
    }

    /// The durable records, decoded from their bytes.
    #[must_use]
    pub fn durable_records(&self) -> Vec<(Logged, Record)> {
        let mut records = self.records();
        records.retain(|(at, _)| at.place < self.durable);
        records
    }

    /// All records, durable or not, decoded from their bytes.
    #[must_use]
    pub fn records(&self) -> Vec<(Logged, Record)> {
        let decode = |bytes: &Bytes| Record::decode(bytes.clone()).expect("a record that was encoded");
        self.records.iter().map(|(at, bytes)| (*at, decode(bytes))).collect()
    }

    /// Adds all that it holds to a node's state.
    pub fn add_state(&self, state: &mut Vec<u8>) {
        let Self { owner: _, trace: _, records, before, last, durable, end, rows, checkpoint, room } = self;
        let begun = checkpoint.as_ref().map(|checkpoint| (checkpoint.begin, checkpoint.complete_at, &checkpoint.rows));
        state.extend(format!("{before} {last} {durable:?} {end:?} {rows:?} {begun:?} {room:?}").into_bytes());
        for (at, bytes) in records {
            state.extend(format!(" {at:?} {} ", bytes.len()).into_bytes());
            state.extend_from_slice(bytes);
        }
    }

    fn push(&mut self, position: Position, bytes: Vec<u8>) -> Logged {
        let at = Logged { position, place: self.end };
        self.last = self.last.later(position);
        self.records.push_back((at, Bytes::from(bytes)));
        self.end = next(self.end, 1);
        at
    }

    fn encoded(&self, record: &Record) -> Vec<u8> {
        self.trace.line(format!("{} logs {}", self.owner, words::record(record)));
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }
}

impl Journal for Log {
    fn append(&mut self, record: &Record) -> Logged {
        let bytes = self.encoded(record);
        let hash = checksum(self.last.hash, &bytes);
        self.push(Position { index: Index(self.last.index.0 + 1), hash }, bytes)
    }

    fn end(&self) -> Index {
        self.last.index
    }

    fn room(&self) -> Room {
        self.room
    }
}

/// The same log, for what a checkpoint logs again.
pub struct Again<'a>(pub &'a mut Log);

impl Journal for Again<'_> {
    fn append(&mut self, record: &Record) -> Logged {
        let bytes = self.0.encoded(record);
        let behind = self.0.last.behind();
        self.0.push(behind, bytes)
    }

    fn end(&self) -> Index {
        self.0.end()
    }

    fn room(&self) -> Room {
        self.0.room()
    }
}

/// FNV-1a (Fowler, Noll and Vo), folded to four digits, so that stories can be read.
fn checksum(before: u64, bytes: &[u8]) -> u64 {
    let all = before.to_le_bytes().into_iter().chain(bytes.iter().copied());
    let hash = all.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u64::from((hash >> 16 ^ hash) & 0xffff).max(1)
}
