//! Reads groups back in order, and tells a torn tail from damage (`FORMAT.md`, "Torn tail or damage").
//!
//! Invariants: a group is handed out only if it is valid; the scan ends cleanly only if nothing valid anywhere states
//! that what lies at or past the end was durable; at most one segment is in memory; nothing is written.
//! Not here: what the records mean (`recovery`, `dump`).

use std::io;
use std::sync::Arc;

use crate::buffer::Buffer;
use crate::error::OpenError;
use crate::group::{self, Expect, Flaw, GroupInfo};
use crate::limits::BLOCK_BYTES;
use crate::lsn::Lsn;
use crate::recovery::TornTail;
use crate::segment::SegmentHeader;
use crate::storage::Storage;
use crate::superblock::Superblock;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Where the valid log ends.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    pub(crate) lsn: Lsn,
    pub(crate) chain: u64,
    pub(crate) torn: Option<TornTail>,
}

/// Reads the groups from the checkpoint to the tail.
pub(crate) struct Scanner {
    storage: Arc<dyn Storage>,
    superblock: Superblock,
    buffer: Buffer,
    /// The segment in the buffer.
    segment: u64,
    next: Lsn,
    chain: u64,
    /// The largest position that anything valid states to be durable, and what states it.
    durable: Lsn,
    durable_by: String,
    torn: Option<TornTail>,
}

impl Scanner {
    /// A scan from the superblock's checkpoint.
    pub(crate) fn new(storage: Arc<dyn Storage>, superblock: Superblock) -> Result<Scanner, OpenError> {
        let start = superblock.checkpoint.group;
        let mut scanner = Scanner {
            buffer: Buffer::zeroed(superblock.segment_bytes as usize),
            segment: start.segment(superblock.segment_bytes),
            next: start,
            chain: superblock.checkpoint.chain,
            durable: superblock.durable,
            durable_by: "the superblock".to_owned(),
            torn: None,
            storage,
            superblock,
        };
        let offset = start.offset(scanner.superblock.segment_bytes);
        if !offset.is_multiple_of(BLOCK) || offset == 0 {
            let reason = format!("the superblock names LSN {start} as the checkpoint, where no group can start");
            return Err(scanner.corrupt_file(scanner.storage.superblock_name(), 0, start, reason));
        }
        scanner.check_files()?;
        scanner.load(scanner.segment)?;
        Ok(scanner)
    }

    /// The next valid group; `None` at the tail, which [`Scanner::finish`] then gives.
    pub(crate) fn next_group(&mut self) -> Result<Option<GroupInfo>, OpenError> {
        let first_of_scan = self.next == self.superblock.checkpoint.group;
        let header_missing = first_of_scan && self.header().is_none();
        let flaw = match self.check_here() {
            Ok(info) if !header_missing => return Ok(Some(self.advance(info))),
            Ok(_) => "the segment's header is not valid".to_owned(),
            Err(flaw) => {
                self.note_torn(flaw);
                flaw.to_string()
            }
        };
        let found = if header_missing { None } else { self.next_segment(&flaw)? };
        if found.is_some() {
            self.torn = None;
            return Ok(found);
        }
        self.look_past(&flaw)?;
        Ok(None)
    }

    /// The bytes of the group that was handed out last.
    pub(crate) fn bytes(&self, info: &GroupInfo) -> &[u8] {
        let at = info.lsn.offset(self.superblock.segment_bytes) as usize;
        &self.buffer.content()[at..at + info.padded_bytes() as usize]
    }

    /// Where the log ends, after `next_group` gave `None`.
    pub(crate) fn finish(self) -> Tail {
        Tail { lsn: self.next, chain: self.chain, torn: self.torn }
    }

    /// The error for damage at `lsn`.
    pub(crate) fn corrupt(&self, lsn: Lsn, reason: String) -> OpenError {
        let index = lsn.segment(self.superblock.segment_bytes);
        let offset = lsn.offset(self.superblock.segment_bytes);
        self.corrupt_file(self.name(index), offset, lsn, reason)
    }

    fn corrupt_file(&self, file: String, offset: u64, lsn: Lsn, reason: String) -> OpenError {
        OpenError::Corrupt { file, offset, lsn, reason }
    }

    fn name(&self, index: u64) -> String {
        let slot = self.superblock.segments.get(&index);
        slot.map_or_else(|| format!("segment {index}"), |&slot| self.storage.segment_name(slot))
    }

    /// Every listed file must be there, with its size.
    fn check_files(&self) -> Result<(), OpenError> {
        let files = self.storage.segments().map_err(|source| OpenError::Io {
            file: self.storage.superblock_name(),
            operation: "listing the segment files",
            source,
        })?;
        for (&index, slot) in &self.superblock.segments {
            let lsn = Lsn(index * self.superblock.segment_bytes);
            match files.get(slot) {
                Some(&bytes) if bytes == self.superblock.segment_bytes => {}
                Some(&bytes) => {
                    let reason = format!("the file has {bytes} bytes, not {}", self.superblock.segment_bytes);
                    return Err(self.corrupt(Lsn(lsn.0 + bytes.min(self.superblock.segment_bytes - 1)), reason));
                }
                None => return Err(self.corrupt(lsn, format!("the file of segment {index} is missing"))),
            }
        }
        Ok(())
    }

    fn load(&mut self, index: u64) -> Result<(), OpenError> {
        self.segment = index;
        let lsn = Lsn(index * self.superblock.segment_bytes);
        let Some(&slot) = self.superblock.segments.get(&index) else {
            return Err(self.corrupt(lsn, format!("segment {index} is not listed in the superblock")));
        };
        let read = self.storage.segment_read(slot, 0, self.buffer.content_mut());
        read.map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                self.corrupt(lsn, "the file is too short".to_owned())
            } else {
                OpenError::Io { file: self.name(index), operation: "reading a segment", source }
            }
        })
    }

    fn header(&self) -> Option<SegmentHeader> {
        SegmentHeader::parse(self.buffer.content(), self.superblock.log_id, self.segment)
    }

    /// Checks the group at `next` in the loaded segment.
    fn check_here(&self) -> Result<GroupInfo, Flaw> {
        if self.next.segment(self.superblock.segment_bytes) != self.segment {
            return Err(Flaw::Length);
        }
        self.check_at(self.next)
    }

    fn check_at(&self, lsn: Lsn) -> Result<GroupInfo, Flaw> {
        let expect = Expect {
            log_id: self.superblock.log_id,
            lsn,
            incarnation: self.superblock.incarnation,
            opened: self.superblock.opened,
            chain: self.chain,
        };
        let at = lsn.offset(self.superblock.segment_bytes) as usize;
        group::check(&self.buffer.content()[at..], &expect)
    }

    fn advance(&mut self, info: GroupInfo) -> GroupInfo {
        self.claim(info.durable, info.lsn);
        self.next = info.end();
        self.chain = info.chain_after();
        info
    }

    fn claim(&mut self, durable: Lsn, by: Lsn) {
        if durable > self.durable {
            self.durable = durable;
            self.durable_by = format!("the group at LSN {by}");
        }
    }

    /// Goes on in the next segment, if that one says that the log went on there.
    fn next_segment(&mut self, flaw: &str) -> Result<Option<GroupInfo>, OpenError> {
        let stop = self.next;
        self.collect_claims(stop);
        let index = self.segment + 1;
        if !self.superblock.segments.contains_key(&index) {
            if let Some((&later, _)) = self.superblock.segments.range(index..).next() {
                let lsn = Lsn(index * self.superblock.segment_bytes);
                return Err(self.corrupt(lsn, format!("segment {index} is not listed, but segment {later} is")));
            }
            return Ok(None);
        }
        self.load(index)?;
        let Some(header) = self.header() else { return Ok(None) };
        if header.final_lsn > stop {
            let reason = format!("{flaw}, but segment {index} says that the log goes on to LSN {}", header.final_lsn);
            return Err(self.corrupt(stop, reason));
        }
        if header.final_lsn < stop {
            // Left over from an opening whose first write to the segment was torn; the log went on before it.
            return Ok(None);
        }
        if header.chain != self.chain {
            let reason = format!("segment {index} follows another history of the log (chain value)");
            return Err(self.corrupt(Lsn(index * self.superblock.segment_bytes), reason));
        }
        self.claim(header.final_lsn, Lsn(index * self.superblock.segment_bytes));
        let first = Lsn(index * self.superblock.segment_bytes + BLOCK);
        match self.check_at(first) {
            Ok(info) => Ok(Some(self.advance(info))),
            Err(flaw) => {
                self.note_torn_at(first, flaw);
                Ok(None)
            }
        }
    }

    /// Past the end of the valid log: does anything state that this or something later was durable?
    fn look_past(&mut self, flaw: &str) -> Result<(), OpenError> {
        self.collect_claims(self.next);
        let later: Vec<u64> = self.superblock.segments.range(self.segment + 1..).map(|(&index, _)| index).collect();
        for index in later {
            self.load(index)?;
            self.collect_claims(self.next);
        }
        if self.next < self.durable {
            let reason =
                format!("{flaw}, but {} says that all before LSN {} was durable", self.durable_by, self.durable);
            return Err(self.corrupt(self.next, reason));
        }
        Ok(())
    }

    /// Takes what valid headers in the loaded segment, at `from` or later, state to be durable.
    fn collect_claims(&mut self, from: Lsn) {
        let base = self.segment * self.superblock.segment_bytes;
        if let Some(header) = self.header()
            && header.incarnation <= self.superblock.incarnation
        {
            self.claim(header.final_lsn, Lsn(base));
        }
        let mut at = from.0.saturating_sub(base).max(BLOCK);
        while at < self.superblock.segment_bytes {
            let claim = group::parse_header(&self.buffer.content()[at as usize..]).ok().filter(|info| {
                info.log_id == self.superblock.log_id
                    && info.lsn.0 == base + at
                    && info.incarnation <= self.superblock.incarnation
            });
            if let Some(info) = claim {
                self.claim(info.durable, info.lsn);
            }
            at += BLOCK;
        }
    }

    fn note_torn(&mut self, flaw: Flaw) {
        if self.next.segment(self.superblock.segment_bytes) == self.segment {
            self.note_torn_at(self.next, flaw);
        }
    }

    /// Remembers a group that was begun here; old blocks of a reused file and zeros are no groups.
    fn note_torn_at(&mut self, lsn: Lsn, flaw: Flaw) {
        let begun = match flaw {
            Flaw::Zeros | Flaw::NoMagic | Flaw::OtherLog | Flaw::OtherLsn(_) => false,
            Flaw::HeaderCrc | Flaw::HeaderFields | Flaw::OtherIncarnation | Flaw::Chain => true,
            Flaw::Length | Flaw::PayloadCrc => true,
        };
        if begun {
            let at = lsn.offset(self.superblock.segment_bytes) as usize;
            let bytes = group::parse_header(&self.buffer.content()[at..]).map_or(BLOCK, |info| info.padded_bytes());
            self.torn = Some(TornTail { from: lsn, to: Lsn(lsn.0 + bytes), reason: flaw.to_string() });
        }
    }
}
