//! Reads groups back in order and finds out, at the first position without one, what the decision table asks
//! (`verdict`; `FORMAT.md`, "The decision table").
//!
//! Invariants: a group is handed out only if it is valid; what is decided is decided by `verdict`; at most one segment is
//! in memory; nothing is written. Not here: what the records mean (`recovery`, `inspect`).

use std::io;
use std::sync::Arc;

use planted::planted;

use crate::buffer::Buffer;
use crate::error::OpenError;
use crate::group::{self, Expect, Flaw, GroupInfo};
use crate::limits::BLOCK_BYTES;
use crate::lsn::Lsn;
use crate::recovery::Cut;
use crate::segment::SegmentHeader;
use crate::storage::Storage;
use crate::superblock::Superblock;
use crate::verdict::{self, Found, Next, Reach, Rule, Verdict};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// What is known besides where a valid group stands, which needs nothing else.
const UNREAD: (Next, Reach, Option<SegmentHeader>) = (Next::Unlisted, Reach::Beyond, None);

/// Where the valid log ends.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// Where the last group ends.
    pub(crate) lsn: Lsn,
    /// The chain value there.
    pub(crate) chain: u64,
    /// Why the log ends there.
    pub(crate) ended_by: Rule,
    /// What is cut off.
    pub(crate) cuts: Vec<Cut>,
    /// The largest position that anything valid states to be durable, and what states it.
    pub(crate) durable: Lsn,
    pub(crate) durable_by: String,
    /// Segments that groups were read from.
    pub(crate) segments: u64,
}

/// Reads the groups from the checkpoint to the tail.
pub(crate) struct Scanner {
    storage: Arc<dyn Storage>,
    superblock: Superblock,
    buffer: Buffer,
    /// The segment in the buffer.
    segment: u64,
    /// Where the next group is expected: where the last one ends, or the start of the segment after.
    at: Lsn,
    tail: Tail,
    /// What an opening left that the superblock does not know of.
    later: Option<String>,
    /// The group that goes on with this log in the next segment, whose header is lost: where it is, and its bytes.
    headless: Option<(Lsn, u64)>,
}

impl Scanner {
    /// A scan from the superblock's checkpoint.
    pub(crate) fn new(storage: Arc<dyn Storage>, superblock: Superblock) -> Result<Scanner, OpenError> {
        let start = superblock.checkpoint.group;
        let tail = Tail {
            lsn: start,
            chain: superblock.checkpoint.chain,
            ended_by: Rule::EndOfLog,
            cuts: Vec::new(),
            durable: superblock.durable,
            durable_by: "the superblock".to_owned(),
            segments: 1,
        };
        let mut scanner = Scanner {
            buffer: Buffer::zeroed(superblock.segment_bytes as usize),
            segment: start.segment(superblock.segment_bytes),
            at: start,
            tail,
            later: None,
            headless: None,
            storage,
            superblock,
        };
        let offset = start.offset(scanner.superblock.segment_bytes);
        let listed = scanner.superblock.segments.contains_key(&scanner.segment);
        if !offset.is_multiple_of(BLOCK) || offset == 0 || !listed {
            let reason = format!("the superblock names LSN {start} as the checkpoint, where no group can start");
            let file = scanner.storage.superblock_name();
            return Err(corrupt_file(file, 0, start, Rule::CheckpointMisplaced, reason));
        }
        scanner.check_files()?;
        scanner.load(scanner.segment)?;
        Ok(scanner)
    }

    /// The next valid group; `None` at the tail, which [`Scanner::finish`] then gives.
    pub(crate) fn next_group(&mut self) -> Result<Option<GroupInfo>, OpenError> {
        loop {
            let checked = self.check_at(self.at);
            let found = self.found(&checked);
            let begun_bytes = if found == Found::Sound { 0 } else { self.begun_bytes() };
            let (next, reach, header) = if found == Found::Sound { UNREAD } else { self.read_on()? };
            let (found, begun_bytes) = self.headless.map_or((found, begun_bytes), |(at, bytes)| {
                self.at = at;
                (Found::HeaderLost, bytes)
            });
            let rule = verdict::position(found, next, reach);
            let flaw = || match checked {
                Err(flaw) if found != Found::HeaderLost => flaw.to_string(),
                Ok(_) | Err(_) => "the segment's header is not valid".to_owned(),
            };
            match (rule.verdict(), checked) {
                (Verdict::Accept, Ok(info)) if rule == Rule::GroupSound => {
                    let info = self.advance(info);
                    if planted!("last-group-skipped") && self.check_at(self.at).is_err() {
                        continue;
                    }
                    return Ok(Some(info));
                }
                (Verdict::Accept, _) if rule == Rule::NextSegment => self.go_on(),
                (Verdict::Accept | Verdict::Ignore, _) => {
                    self.tail.ended_by = rule;
                    return Ok(None);
                }
                (Verdict::Cut, _) => {
                    self.tail.ended_by = rule;
                    self.tail.cuts.push(self.cut(begun_bytes, rule, flaw()));
                    return Ok(None);
                }
                (Verdict::Refuse, _) => return Err(self.refuse(rule, found, &flaw(), header)),
            }
        }
    }

    /// The bytes of the group that was handed out last.
    pub(crate) fn bytes(&self, info: &GroupInfo) -> &[u8] {
        let at = info.lsn.offset(self.superblock.segment_bytes) as usize;
        &self.buffer.content()[at..at + info.padded_bytes() as usize]
    }

    /// Where the log ends, after `next_group` gave `None`.
    pub(crate) fn finish(self) -> Tail {
        self.tail
    }

    /// The error for damage at `lsn`.
    pub(crate) fn corrupt(&self, lsn: Lsn, rule: Rule, reason: String) -> OpenError {
        let index = lsn.segment(self.superblock.segment_bytes);
        let offset = lsn.offset(self.superblock.segment_bytes);
        corrupt_file(self.name(index), offset, lsn, rule, reason)
    }

    fn name(&self, index: u64) -> String {
        let slot = self.superblock.segments.get(&index);
        slot.map_or_else(|| format!("segment {index}"), |&slot| self.storage.segment_name(slot))
    }

    fn start_of(&self, index: u64) -> Lsn {
        Lsn(index * self.superblock.segment_bytes)
    }

    /// The next listed segment, if the log is whole up to its start as far as can be seen, and went on past it.
    fn lost_successor(&self, found: Found) -> Option<u64> {
        let here = Lsn(self.at.0 - 1).segment(self.superblock.segment_bytes);
        let (&index, _) = self.superblock.segments.range(here + 1..).next()?;
        let went_on = self.tail.durable.0 > self.start_of(index).0 + BLOCK;
        let is_whole_here = matches!(found, Found::Zeros | Found::Foreign | Found::Earlier);
        (is_whole_here && went_on).then_some(index)
    }

    /// Every listed file must be there, with its size; and no other may hold a segment that should be listed.
    fn check_files(&mut self) -> Result<(), OpenError> {
        let unlistable = |source| OpenError::io(self.storage.superblock_name(), "listing the segment files", source);
        let files = self.storage.segments().map_err(unlistable)?;
        for (&index, slot) in &self.superblock.segments {
            let lsn = self.start_of(index);
            match files.get(slot) {
                Some(&bytes) if bytes == self.superblock.segment_bytes => {}
                Some(&bytes) => {
                    let reason = format!("the file has {bytes} bytes, not {}", self.superblock.segment_bytes);
                    let lsn = Lsn(lsn.0 + bytes.min(self.superblock.segment_bytes - 1));
                    return Err(self.corrupt(lsn, Rule::SegmentSize, reason));
                }
                None => {
                    let reason = format!("the file of segment {index} is missing");
                    return Err(self.corrupt(lsn, Rule::SegmentMissing, reason));
                }
            }
        }
        let last = self.superblock.segments.keys().next_back().copied().unwrap_or(0);
        for &slot in files.keys().filter(|slot| !self.superblock.segments.values().any(|listed| listed == *slot)) {
            // A file that cannot be read is not part of the log, and is found out when it is used again.
            let Some(header) = self.own_header(slot) else { continue };
            if header.index > last || header.incarnation > self.superblock.incarnation {
                let file = self.storage.segment_name(slot);
                let reason = format!(
                    "the file holds segment {} of opening {}, of which the superblock does not know: \
                     it is older than the log",
                    header.index, header.incarnation
                );
                return Err(corrupt_file(file, 0, self.start_of(header.index), Rule::SuperblockOld, reason));
            }
        }
        Ok(())
    }

    /// What a file says of itself, whatever it is listed as.
    fn own_header(&self, slot: u32) -> Option<SegmentHeader> {
        let mut block = Buffer::zeroed(BLOCK_BYTES);
        self.storage.segment_read(slot, 0, block.content_mut()).ok()?;
        let header = SegmentHeader::parse_any(block.content(), self.superblock.log_id)?;
        (header.index < u64::MAX / self.superblock.segment_bytes).then_some(header)
    }

    fn load(&mut self, index: u64) -> Result<(), OpenError> {
        self.segment = index;
        let slot = self.superblock.segments[&index];
        let read = self.storage.segment_read(slot, 0, self.buffer.content_mut());
        read.map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                self.corrupt(self.start_of(index), Rule::SegmentSize, "the file is too short".to_owned())
            } else {
                OpenError::io(self.name(index), "reading a segment", source)
            }
        })
    }

    /// The loaded segment's header.
    fn header(&self) -> Option<SegmentHeader> {
        SegmentHeader::parse(self.buffer.content(), self.superblock.log_id, self.segment)
    }

    /// The decision table's word for what stands here.
    fn found(&self, checked: &Result<GroupInfo, Flaw>) -> Found {
        match checked {
            // Later segments are entered by their headers.
            Ok(_) if self.at == self.superblock.checkpoint.group && self.header().is_none() => Found::HeaderLost,
            Ok(_) => Found::Sound,
            Err(flaw) => found_flaw(*flaw),
        }
    }

    fn check_at(&self, lsn: Lsn) -> Result<GroupInfo, Flaw> {
        if lsn.segment(self.superblock.segment_bytes) != self.segment {
            return Err(Flaw::SegmentEnd);
        }
        let expect = Expect {
            log_id: self.superblock.log_id,
            lsn,
            incarnation: self.superblock.incarnation,
            opened: self.superblock.opened,
            chain: self.tail.chain,
        };
        let at = lsn.offset(self.superblock.segment_bytes) as usize;
        group::check(&self.buffer.content()[at..], &expect)
    }

    fn advance(&mut self, info: GroupInfo) -> GroupInfo {
        self.claim(info.durable, info.lsn);
        self.at = info.end();
        self.tail.lsn = self.at;
        self.tail.chain = info.chain_after();
        info
    }

    /// Goes to the first group of the segment that was loaded.
    fn go_on(&mut self) {
        let start = self.start_of(self.segment);
        self.claim(self.tail.lsn, start);
        self.at = Lsn(start.0 + BLOCK);
        self.tail.segments += 1;
    }

    fn claim(&mut self, durable: Lsn, by: Lsn) {
        if durable > self.tail.durable {
            self.tail.durable = durable;
            self.tail.durable_by =
                if by.offset(self.superblock.segment_bytes) == 0 { "the segment header" } else { "the group" }
                    .to_owned()
                    + &format!(" at LSN {by}");
        }
    }

    fn reach(&self) -> Reach {
        match &self.later {
            Some(_) => Reach::Later,
            None if self.at < self.tail.durable && !planted!("durable-mark-ignored") => Reach::Below,
            None => Reach::Beyond,
        }
    }

    /// What else the table asks where no valid group stands.
    fn read_on(&mut self) -> Result<(Next, Reach, Option<SegmentHeader>), OpenError> {
        self.collect_claims();
        // Not that of `at`: a segment that is full to its last byte ends where the next one starts.
        let here = self.segment;
        let (next, header) = self.read_next()?;
        if next != Next::EndsHere {
            self.collect_later_claims(here)?;
        }
        Ok((next, self.reach(), header))
    }

    /// Loads the next listed segment, if there is one, and reads what its header says of the end of this one.
    fn read_next(&mut self) -> Result<(Next, Option<SegmentHeader>), OpenError> {
        let Some(index) = self.superblock.segments.range(self.segment + 1..).next().map(|(&index, _)| index) else {
            return Ok((Next::Unlisted, None));
        };
        self.load(index)?;
        let Some(header) = self.header() else {
            let first = Lsn(self.start_of(index).0 + BLOCK);
            self.headless = self.check_at(first).ok().map(|info| (first, info.padded_bytes()));
            return Ok((Next::NoHeader, None));
        };
        let next = if header.incarnation > self.superblock.incarnation {
            Next::Later
        } else if header.final_lsn > self.tail.lsn {
            Next::EndsPast
        } else if header.final_lsn < self.at {
            Next::EndsBefore
        } else if header.chain == self.tail.chain {
            Next::EndsHere
        } else {
            Next::EndsHereOtherwise
        };
        Ok((next, Some(header)))
    }

    /// What does everything in the segments after `here` state, in which the valid log ends?
    fn collect_later_claims(&mut self, here: u64) -> Result<(), OpenError> {
        let later: Vec<u64> = self.superblock.segments.range(here + 1..).map(|(&index, _)| index).collect();
        for index in later {
            if index != self.segment {
                self.load(index)?;
            }
            self.collect_claims();
        }
        Ok(())
    }

    /// Takes what valid headers in the loaded segment, where the scan stands or later, state to be durable.
    fn collect_claims(&mut self) {
        let start = self.start_of(self.segment);
        if let Some(header) = self.header() {
            self.take_claim(header.final_lsn, header.incarnation, start);
        }
        let mut at = self.at.0.saturating_sub(start.0).max(BLOCK);
        while at < self.superblock.segment_bytes {
            let lsn = Lsn(start.0 + at);
            let info = group::parse_header(&self.buffer.content()[at as usize..]).ok();
            if let Some(info) = info.filter(|info| info.log_id == self.superblock.log_id && info.lsn == lsn) {
                self.take_claim(info.durable, info.incarnation, lsn);
            }
            at += BLOCK;
        }
    }

    fn take_claim(&mut self, durable: Lsn, incarnation: u64, by: Lsn) {
        if incarnation <= self.superblock.incarnation {
            self.claim(durable, by);
        } else if self.later.is_none() {
            self.later = Some(format!(
                "LSN {by} was written by opening {incarnation} of the log, of which the superblock ({}) does not know: \
                 it is older than the log",
                self.superblock.incarnation
            ));
        }
    }

    /// Bytes of what was begun where the scan stands, as far as a header tells.
    fn begun_bytes(&self) -> u64 {
        if self.at.segment(self.superblock.segment_bytes) != self.segment {
            return 0;
        }
        let at = self.at.offset(self.superblock.segment_bytes) as usize;
        let left = self.superblock.segment_bytes - at as u64;
        group::parse_header(&self.buffer.content()[at..]).map_or(BLOCK, |info| info.padded_bytes()).min(left)
    }

    fn cut(&self, bytes: u64, rule: Rule, reason: String) -> Cut {
        let offset = self.at.offset(self.superblock.segment_bytes);
        let file = self.name(self.at.segment(self.superblock.segment_bytes));
        Cut { file, offset, from: self.at, to: Lsn(self.at.0 + bytes), rule, reason }
    }

    fn refuse(&self, rule: Rule, found: Found, flaw: &str, next: Option<SegmentHeader>) -> OpenError {
        let Tail { durable, durable_by, .. } = &self.tail;
        let mut lsn = self.at;
        let reason = if rule == Rule::SuperblockOld {
            self.later.clone().unwrap_or_else(|| format!("{flaw}: the superblock is older than the log"))
        } else if rule == Rule::LogWentOn {
            let goes_on = next.map_or(*durable, |header| header.final_lsn);
            format!("{flaw}, but the next segment says that the log goes on to LSN {goes_on}")
        } else if rule == Rule::OtherHistory {
            lsn = next.map_or(lsn, |header| self.start_of(header.index));
            "the segment follows another history of the log (chain value)".to_owned()
        } else if let Some(index) = self.lost_successor(found).filter(|_| next.is_none()) {
            lsn = self.start_of(index);
            let stranger = self.own_header(self.superblock.segments[&index]);
            let what = stranger.map_or_else(
                || "the segment's header is not valid".to_owned(),
                |other| format!("the file's header is that of segment {}, not {index}", other.index),
            );
            format!("{what}, but {durable_by} says that all before LSN {durable} was durable")
        } else {
            if rule == Rule::SegmentHeaderDamaged {
                lsn = self.start_of(lsn.segment(self.superblock.segment_bytes));
            }
            format!("{flaw}, but {durable_by} says that all before LSN {durable} was durable")
        };
        self.corrupt(lsn, rule, reason)
    }
}

fn corrupt_file(file: String, offset: u64, lsn: Lsn, rule: Rule, reason: String) -> OpenError {
    OpenError::Corrupt { file, offset, lsn, rule, reason }
}

/// The decision table's word for why a group is not valid.
pub(crate) fn found_flaw(flaw: Flaw) -> Found {
    match flaw {
        Flaw::Zeros | Flaw::SegmentEnd => Found::Zeros,
        Flaw::NoMagic | Flaw::OtherLog | Flaw::OtherLsn(_) => Found::Foreign,
        Flaw::HeaderCrc | Flaw::HeaderFields | Flaw::Chain | Flaw::Length | Flaw::PayloadCrc => Found::Begun,
        Flaw::OtherIncarnation => Found::Earlier,
        Flaw::LaterIncarnation => Found::Later,
    }
}
