//! The writer: records fill the open group, full groups wait in a queue, one group is in flight.
//!
//! Invariants: a group's LSN is fixed when it is opened and its header when it is closed, so where a record lies is known
//! when it is appended, and so is its position, which its group has no part in; groups are issued in the order of their LSNs, and the
//! next only when the one before is durable, so the durable LSN that a group states is where the one before ends; after
//! the first failed or short write nothing is issued any more. Not here: which file (`segments`), when (`store`).

use std::collections::VecDeque;

use planted::planted;
use seam::{Index, Logged, Position};

use crate::buffer::Buffer;
use crate::error::{ADVICE_SHORT, LogError, advice};
use crate::group::{self, Emit, GroupKind, HEADER_BYTES, RECORD_HEAD_BYTES, RecordKind, padded};
use crate::limits::{
    BLOCK_BYTES, BUFFERS_MAX, GROUP_BYTES_MAX, RECORD_BYTES_MAX, RECORD_SLACK_BYTES, record_bytes_max,
};
use crate::lsn::Lsn;
use crate::pace::WritePace;
use crate::segment::SegmentHeader;
use crate::storage::Completion;
use crate::superblock::Anchor;

/// What does not change while the log is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) log_id: u64,
    pub(crate) incarnation: u64,
    pub(crate) segment_bytes: u64,
}

/// The group that is being filled.
struct Group {
    lsn: Lsn,
    /// Content of the buffer: the segment's header block first if this is the segment's first group, then the group.
    buffer: Buffer,
    /// Where the group starts in the buffer: 0, or past the segment's header.
    group_at: usize,
    /// Bytes that the buffer may hold.
    capacity: usize,
    records: u32,
    /// The payload's crc so far.
    crc: u32,
    /// The checkpoint begin record in it.
    begin: Option<Lsn>,
    kind: GroupKind,
}

impl Group {
    /// The position just past the group, padded.
    fn end(&self) -> Lsn {
        Lsn(self.lsn.0 + padded(self.buffer.len() - self.group_at) as u64)
    }
}

/// A group that waits to be written.
struct Closed {
    lsn: Lsn,
    end: Lsn,
    kind: GroupKind,
    /// The last record in it or before it that has a position.
    last: Index,
    /// Bytes that only fill up its last block.
    padding: u64,
    /// Where in its segment's file the write starts, in bytes.
    offset: u64,
    buffer: Buffer,
}

/// What is on its way to the disk.
struct InFlight {
    lsn: Lsn,
    end: Lsn,
    last: Index,
    bytes: usize,
    kind: GroupKind,
}

/// A group that is ready to be written.
pub(crate) struct Issue {
    pub(crate) lsn: Lsn,
    /// Where in its segment's file the write starts, in bytes.
    pub(crate) offset: u64,
    pub(crate) buffer: Buffer,
}

/// Counts of what was issued.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) groups: u64,
    pub(crate) seals: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) padding: u64,
}

/// The writing end of the log.
pub(crate) struct Log {
    identity: Identity,
    record_bytes_max: usize,
    open: Group,
    closed: VecDeque<Closed>,
    queued_bytes: usize,
    in_flight: Option<InFlight>,
    /// The chain value after the last closed group, and where that ends.
    chain: u64,
    closed_end: Lsn,
    durable: Lsn,
    end: Lsn,
    /// The position of the last record, and of the last one in a closed group.
    last: Position,
    closed_last: Position,
    /// Everything up to this record is durable.
    stable: Index,
    /// Where the group that holds the last begin record lies, once it is closed.
    anchor: Option<Anchor>,
    last_kind: Option<GroupKind>,
    pool: Vec<Buffer>,
    pace: WritePace,
    /// What a group may have now that holds more than one record: as much as the disk takes in a short time.
    group_bytes_max: usize,
    pub(crate) counts: Counts,
}

impl Log {
    /// Which opening of the log this is.
    pub(crate) fn incarnation(&self) -> u64 {
        self.identity.incarnation
    }

    /// A log whose next group goes to `tail` or past it, after the chain value there and the record at `last`.
    pub(crate) fn new(identity: Identity, tail: Lsn, chain: u64, last: Position) -> Log {
        let mut pool = Vec::new();
        let open = open_group(&mut pool, &identity, tail);
        Log {
            identity,
            record_bytes_max: record_bytes_max(identity.segment_bytes),
            open,
            closed: VecDeque::new(),
            queued_bytes: 0,
            in_flight: None,
            chain,
            closed_end: tail,
            durable: tail,
            end: tail,
            last,
            closed_last: last,
            stable: last.index,
            anchor: None,
            last_kind: None,
            pool,
            pace: WritePace::default(),
            group_bytes_max: WritePace::default().group_bytes(),
            counts: Counts::default(),
        }
    }

    /// The position just past the last record.
    pub(crate) fn end(&self) -> Lsn {
        self.end
    }

    /// Everything before is durable.
    pub(crate) fn durable(&self) -> Lsn {
        self.durable
    }

    /// The last record that has a position.
    pub(crate) fn last(&self) -> Index {
        self.last.index
    }

    /// The last record that has a position and is durable, with all before it.
    pub(crate) fn stable(&self) -> Index {
        self.stable
    }

    /// Where the next byte would go, at the earliest.
    pub(crate) fn head(&self) -> Lsn {
        Lsn(self.open.lsn.0 + (self.open.buffer.len() - self.open.group_at) as u64)
    }

    /// Bytes of closed groups that wait.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether records wait for the disk or are on their way to it.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.is_some() || !self.closed.is_empty() || self.open.records > 0
    }

    /// The kind of the last group that became durable in this incarnation.
    pub(crate) fn last_kind(&self) -> Option<GroupKind> {
        self.last_kind
    }

    /// Where replay of the last begun checkpoint would start; known once its group is closed.
    pub(crate) fn anchor(&self) -> Option<Anchor> {
        self.anchor
    }

    /// Appends a record whose payload `encode` appends to the vector it is given; returns which record it is, and where its
    /// payload lies.
    pub(crate) fn append(&mut self, kind: RecordKind, encode: &mut dyn FnMut(&mut Vec<u8>)) -> Logged {
        let bytes = self.open.buffer.tail();
        let at = bytes.len();
        group::begin_record(bytes, kind);
        encode(bytes);
        let length = group::end_record(bytes, at);
        let slack = if kind.is_owners() { 0 } else { RECORD_SLACK_BYTES };
        assert!(length <= self.record_bytes_max + slack, "a record of {length} bytes exceeds the limit");
        self.open.records += 1;
        self.counts.records += 1;
        let capacity = self.open.capacity.min(self.open.group_at + self.group_bytes_max);
        if self.open.buffer.len() > self.open.capacity || (self.open.records > 1 && self.open.buffer.len() > capacity) {
            self.overflow(RECORD_HEAD_BYTES + length);
        }
        let content = self.open.buffer.content();
        let record = &content[content.len() - RECORD_HEAD_BYTES - length..];
        self.open.crc = crc32c::crc32c_append(self.open.crc, record);
        let counts = kind == RecordKind::Owner || planted!("again-counted") && kind == RecordKind::OwnerAgain;
        let position = if counts { self.last.next(&record[RECORD_HEAD_BYTES..]) } else { self.last.behind() };
        self.last = self.last.later(position);
        self.end = self.head();
        let lsn = Lsn(self.end.0 - length as u64);
        if kind == RecordKind::CheckpointBegin {
            self.open.begin = Some(lsn);
            self.anchor = None;
        }
        Logged { position, place: lsn.into() }
    }

    /// Moves the last record, of `bytes` bytes with its head, out of the open group, which it does not fit.
    #[cold]
    fn overflow(&mut self, bytes: usize) {
        let record = {
            let content = self.open.buffer.content();
            content[content.len() - bytes..].to_vec()
        };
        let kept = self.open.buffer.len() - bytes;
        self.open.buffer.truncate(kept);
        self.open.records -= 1;
        if self.open.records > 0 {
            self.close();
        }
        if self.open.buffer.len() + bytes > self.open.capacity {
            let next_segment = (self.open.lsn.segment(self.identity.segment_bytes) + 1) * self.identity.segment_bytes;
            self.reopen(Lsn(next_segment));
        }
        self.open.buffer.tail().extend_from_slice(&record);
        self.open.records += 1;
        assert!(self.open.buffer.len() <= self.open.capacity, "every record fits the start of a segment");
    }

    /// Replaces the open group, which is empty, by one at `lsn`.
    fn reopen(&mut self, lsn: Lsn) {
        let next = open_group(&mut self.pool, &self.identity, lsn);
        let old = std::mem::replace(&mut self.open, next);
        self.give_back(old.buffer);
    }

    /// Finishes the open group (headers, padding, checksums), puts it into the queue and opens the next behind it.
    fn close(&mut self) {
        let next = open_group(&mut self.pool, &self.identity, self.open.end());
        let mut group = std::mem::replace(&mut self.open, next);
        let length = group.buffer.len() - group.group_at - HEADER_BYTES;
        let group_bytes = padded(HEADER_BYTES + length);
        group.buffer.pad_to(group.group_at + group_bytes);
        group.buffer.realign();
        let identity = self.identity;
        let (header, body) = group.buffer.content_mut().split_at_mut(group.group_at);
        if group.group_at > 0 {
            SegmentHeader {
                log_id: identity.log_id,
                index: group.lsn.segment(identity.segment_bytes),
                incarnation: identity.incarnation,
                final_lsn: self.closed_end,
                chain: self.chain,
            }
            .emit(header);
        }
        if let Some(begin) = group.begin {
            self.anchor = Some(Anchor { group: group.lsn, begin, chain: self.chain, size: 0 });
        }
        let fields = Emit {
            log_id: identity.log_id,
            lsn: group.lsn,
            incarnation: identity.incarnation,
            length: length as u32,
            records: group.records,
            chain: self.chain,
            durable: self.closed_end,
            kind: group.kind,
            before: self.closed_last,
        };
        self.closed_last = self.last;
        self.chain = group::emit_followed(body, &fields, group.crc);
        self.closed_end = Lsn(group.lsn.0 + group_bytes as u64);
        // What waits behind another group takes no more memory than it has bytes.
        if self.in_flight.is_some() && group.buffer.len() < GROUP_BYTES_MAX / 4 {
            let small = group.buffer.to_smallest();
            let large = std::mem::replace(&mut group.buffer, small);
            self.give_back(large);
        }
        self.queued_bytes += group.buffer.len();
        self.closed.push_back(Closed {
            lsn: group.lsn,
            end: self.closed_end,
            kind: group.kind,
            last: self.closed_last.index,
            padding: (group_bytes - HEADER_BYTES - length) as u64,
            offset: group.lsn.offset(identity.segment_bytes) - group.group_at as u64,
            buffer: group.buffer,
        });
    }

    fn give_back(&mut self, mut buffer: Buffer) {
        if self.pool.len() < BUFFERS_MAX {
            buffer.clear();
            self.pool.push(buffer);
        }
    }

    /// Queues an empty group that raises the durable mark.
    pub(crate) fn seal(&mut self, kind: GroupKind) {
        assert!(kind != GroupKind::Data && !self.is_busy());
        self.open.kind = kind;
        self.close();
        self.counts.seals += 1;
    }

    /// The position of the group that would be issued next; `None` while one is in flight or if there is nothing.
    pub(crate) fn issuable(&self) -> Option<Lsn> {
        if self.in_flight.is_some() {
            return None;
        }
        let open = (self.open.records > 0).then_some(self.open.lsn);
        self.closed.front().map(|group| group.lsn).or(open)
    }

    /// The next group, which counts as in flight from now on.
    pub(crate) fn issue(&mut self) -> Issue {
        assert!(self.issuable().is_some());
        if self.closed.is_empty() {
            self.close();
        }
        let Closed { lsn, end, last, kind, padding, offset, buffer } =
            self.closed.pop_front().expect("there is a group to issue");
        self.queued_bytes -= buffer.len();
        self.counts.groups += 1;
        self.counts.bytes += buffer.len() as u64;
        self.counts.padding += padding;
        self.in_flight = Some(InFlight { lsn, end, last, bytes: buffer.len(), kind });
        Issue { lsn, offset, buffer }
    }

    /// Takes the end of the write in flight. `file` names the file for the error.
    pub(crate) fn complete(&mut self, completion: Completion, file: &dyn Fn(Lsn) -> String) -> Result<(), LogError> {
        let group = self.in_flight.take().expect("a completion belongs to the group in flight");
        let failed = |reason, advice| LogError::Write { file: file(group.lsn), lsn: group.lsn, reason, advice };
        match completion.result {
            Ok(written) if written == group.bytes || planted!("short-write-taken") => {
                self.durable = group.end;
                self.stable = group.last;
                self.pace.took(group.bytes, completion.elapsed_us);
                self.group_bytes_max = self.pace.group_bytes();
                self.last_kind = Some(group.kind);
                self.give_back(completion.buffer);
                Ok(())
            }
            Ok(written) => Err(failed(format!("{written} of {} bytes were written", group.bytes), ADVICE_SHORT)),
            Err(error) => Err(failed(error.to_string(), advice(&error))),
        }
    }
}

/// An empty group at `lsn`, or at the start of the next segment if there is no room for a group at `lsn`.
fn open_group(pool: &mut Vec<Buffer>, identity: &Identity, lsn: Lsn) -> Group {
    assert!(lsn.0.is_multiple_of(BLOCK_BYTES as u64));
    let mut buffer = pool.pop().unwrap_or_else(|| {
        let group_bytes = GROUP_BYTES_MAX.min(identity.segment_bytes as usize);
        let record_bytes = RECORD_BYTES_MAX.min(identity.segment_bytes as usize);
        Buffer::with_capacity(group_bytes + record_bytes + RECORD_SLACK_BYTES + 2 * BLOCK_BYTES)
    });
    let offset = lsn.offset(identity.segment_bytes) as usize;
    let group_at = if offset <= BLOCK_BYTES { BLOCK_BYTES } else { 0 };
    let lsn = if offset == 0 { Lsn(lsn.0 + BLOCK_BYTES as u64) } else { lsn };
    let room = (identity.segment_bytes - lsn.offset(identity.segment_bytes)) as usize;
    buffer.pad_to(group_at + HEADER_BYTES);
    let capacity = group_at + room.min(GROUP_BYTES_MAX);
    let crc = group::payload_seed(identity.log_id, lsn);
    Group { lsn, buffer, group_at, capacity, records: 0, crc, begin: None, kind: GroupKind::Data }
}
