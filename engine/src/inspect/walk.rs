//! Reads groups in order and goes on past damage: at the next valid group of this log at its own position.
//!
//! Invariants: a group is handed out only if it is valid by itself, and follows the one before unless a [`Skipped`] stands
//! between; every position from the start to the end is handed out, skipped, or the unused end of a segment.
//! Not here: whether the log can be opened (`scan`); the walk only says how it ends, by the same table.

use std::collections::VecDeque;
use std::fmt;

use super::files::{BLOCK, Files, Loaded};
use crate::buffer::Buffer;
use crate::error::OpenError;
use crate::group::{self, Flaw, GroupInfo};
use crate::lsn::Lsn;
use crate::scan;
use crate::segment::SegmentHeader;
use crate::verdict::{self, Found, Next, Reach, Rule};

/// Why bytes are not sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A row of recovery's decision table.
    Rule(Rule),
    /// The disk does not read them.
    Unreadable,
    /// A value that the table points at is not what was written.
    ValueDamaged,
    /// The owner's record is of no kind that this release knows.
    RecordUnknown,
}

impl Cause {
    /// Its name, for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::Rule(rule) => rule.name(),
            Cause::Unreadable => "unreadable",
            Cause::ValueDamaged => "value-damaged",
            Cause::RecordUnknown => "record-unknown",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A part of the log that was not read, or not believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// The file in which it begins.
    pub file: String,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Where in the log it begins.
    pub from: Lsn,
    /// Where in the log reading goes on, or the end of what is known to be missing.
    pub to: Lsn,
    /// Why.
    pub cause: Cause,
    /// What is wrong, in words.
    pub reason: String,
    /// What follows is valid by itself, and nothing says that it follows what came before.
    pub resumed: bool,
}

/// What a walk meets.
#[derive(Debug)]
pub(super) enum Step {
    /// A valid group, whose bytes [`Walk::bytes`] has.
    Group(GroupInfo),
    /// Something that is not.
    Skipped(Skipped),
    /// The log ends.
    End(End),
}

/// How a log ends, as far as it can be read.
#[derive(Debug)]
pub(super) struct End {
    pub(super) at: Lsn,
    pub(super) rule: Rule,
    /// Bytes that were begun there, as far as a header tells.
    pub(super) begun: u64,
    /// The largest position that anything valid states to be durable.
    pub(super) durable: Lsn,
    pub(super) file: String,
    pub(super) offset: u64,
    /// Why there is no group; worse than the rule if the file is missing, short or unreadable there.
    pub(super) cause: Cause,
    pub(super) reason: String,
}

pub(super) struct Walk {
    pub(super) files: Files,
    buffer: Buffer,
    loaded: Loaded,
    segment: u64,
    at: Lsn,
    /// The chain value there, if it is known.
    chain: Option<u64>,
    /// Where recovery says that the log ends, if it says so.
    end: Option<Lsn>,
    durable: Lsn,
    steps: VecDeque<Step>,
    over: bool,
}

impl Walk {
    /// A walk from `at`, where a group ends with `chain`, or starts after it.
    pub(super) fn from_group(files: Files, at: Lsn, chain: u64) -> Result<Walk, OpenError> {
        let mut walk = Walk::new(files);
        walk.load(walk.segment_before(Lsn(at.0.max(1))))?;
        (walk.at, walk.chain) = (at, Some(chain));
        if walk.header().is_none() && walk.check().is_ok() {
            walk.header_lost();
        }
        Ok(walk)
    }

    /// A walk from the start of the first segment that reaches past `at`.
    pub(super) fn from_segment(files: Files, at: Lsn) -> Result<Walk, OpenError> {
        let mut walk = Walk::new(files);
        let index = if walk.files.segment_bytes == 0 { 0 } else { at.segment(walk.files.segment_bytes) };
        match walk.files.segments.range(index..).next().map(|(&index, _)| index) {
            Some(index) => walk.enter(index)?,
            None => walk.over = true,
        }
        Ok(walk)
    }

    fn new(files: Files) -> Walk {
        let durable = files.superblock.as_ref().map_or(Lsn::ZERO, |superblock| superblock.durable);
        Walk {
            buffer: Buffer::zeroed(files.segment_bytes as usize),
            loaded: Loaded::default(),
            segment: 0,
            at: Lsn::ZERO,
            chain: None,
            end: None,
            durable,
            steps: VecDeque::new(),
            over: false,
            files,
        }
    }

    /// Ends the walk at `end`, where recovery found the log to end.
    pub(super) fn until(mut self, end: Lsn) -> Walk {
        self.end = Some(end);
        self
    }

    /// The segment that is being read, by its index.
    pub(super) fn segment(&self) -> u64 {
        self.segment
    }

    /// The bytes of the group that was handed out last.
    pub(super) fn bytes(&self, info: &GroupInfo) -> &[u8] {
        let at = info.lsn.offset(self.files.segment_bytes) as usize;
        &self.buffer.content()[at..at + info.padded_bytes() as usize]
    }

    /// The next step; nothing after the end.
    pub(super) fn next(&mut self) -> Result<Option<Step>, OpenError> {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return Ok(Some(step));
            }
            if self.over {
                return Ok(None);
            }
            if self.end == Some(self.at) {
                self.segment = self.segment_before(self.at);
                self.finish(self.segment, Rule::EndOfLog, 0, (Cause::Rule(Rule::EndOfLog), String::new()));
                continue;
            }
            match self.check() {
                Ok(info) => {
                    self.durable = self.durable.max(info.durable);
                    self.at = info.end();
                    self.chain = Some(info.chain_after());
                    return Ok(Some(Step::Group(info)));
                }
                Err(flaw) => self.pass(flaw)?,
            }
        }
    }

    fn check(&self) -> Result<GroupInfo, Flaw> {
        if self.at.segment(self.files.segment_bytes) != self.segment {
            return Err(Flaw::SegmentEnd);
        }
        let bytes = &self.buffer.content()[self.at.offset(self.files.segment_bytes) as usize..];
        self.files.check(bytes, self.at, self.chain)
    }

    fn load(&mut self, index: u64) -> Result<(), OpenError> {
        self.loaded = self.files.load(index, &mut self.buffer)?;
        self.segment = index;
        Ok(())
    }

    fn header(&self) -> Option<SegmentHeader> {
        SegmentHeader::parse(self.buffer.content(), self.files.log_id, self.segment)
    }

    /// Goes to the first group of a segment, after the chain value that its header names.
    fn enter(&mut self, index: u64) -> Result<(), OpenError> {
        self.load(index)?;
        self.at = Lsn(self.files.start_of(index).0 + BLOCK);
        let header = self.header();
        self.chain = header.map(|header| header.chain);
        self.durable = self.durable.max(header.map_or(Lsn::ZERO, |header| header.final_lsn));
        if header.is_none() && self.check().is_ok() {
            self.header_lost();
        }
        Ok(())
    }

    /// Tells of a segment that holds groups and has no valid header.
    fn header_lost(&mut self) {
        let start = self.files.start_of(self.segment);
        let (cause, reason) = self.cause(start, Flaw::NoMagic, Rule::SegmentHeaderDamaged);
        let reason = if cause == Cause::Rule(Rule::SegmentHeaderDamaged) {
            "the segment's header is not valid".to_owned()
        } else {
            reason
        };
        self.skip(self.segment, start, Lsn(start.0 + BLOCK), cause, reason, self.chain.is_none());
    }

    fn skip(&mut self, segment: u64, from: Lsn, to: Lsn, cause: Cause, reason: String, resumed: bool) {
        let missing = cause == Cause::Rule(Rule::SegmentMissing);
        let offset = if missing { 0 } else { from.0.saturating_sub(self.files.start_of(segment).0) };
        let file = self.files.name(segment);
        self.steps.push_back(Step::Skipped(Skipped { file, offset, from, to, cause, reason, resumed }));
    }

    /// Why there is no valid group at `lsn` of the loaded segment.
    fn cause(&self, lsn: Lsn, flaw: Flaw, rule: Rule) -> (Cause, String) {
        let at = lsn.0.saturating_sub(self.files.start_of(self.segment).0);
        let unreadable = self.loaded.unreadable.iter().find(|(range, _)| range.contains(&at));
        match (self.loaded.size, unreadable) {
            (_, Some((_, error))) => (Cause::Unreadable, format!("the disk does not read it: {error}")),
            (None, None) => {
                let reason = format!("the file of segment {} is missing", self.segment);
                (Cause::Rule(Rule::SegmentMissing), reason)
            }
            (Some(size), None) if size < self.files.segment_bytes && at + BLOCK > size && flaw != Flaw::SegmentEnd => {
                let reason = format!("the file has {size} bytes, not {}", self.files.segment_bytes);
                (Cause::Rule(Rule::SegmentSize), reason)
            }
            (Some(_), None) => (Cause::Rule(rule), flaw.to_string()),
        }
    }

    /// There is no group where one is expected: finds out where to go on.
    fn pass(&mut self, flaw: Flaw) -> Result<(), OpenError> {
        let (here, at) = (self.segment, self.at);
        let next = self.files.next(here);
        let header = next.and_then(|next| self.files.header(next));
        // Where this segment ends, if the next header speaks of this one.
        let ends = header.map(|header| header.final_lsn).filter(|end| self.segment_before(*end) == here);
        let follows = header.is_some_and(|header| self.chain.is_none_or(|chain| chain == header.chain));
        if let Some(next) = next.filter(|_| ends == Some(at) && follows) {
            return self.enter(next);
        }
        let end = ends.filter(|&end| end >= at).unwrap_or(Lsn(u64::MAX));
        if let Some(info) = self.find(Lsn(at.0 + BLOCK)).filter(|info| info.lsn < end) {
            let (cause, reason) = self.cause(at, flaw, Rule::DurableDamaged);
            self.skip(here, at, info.lsn, cause, reason, true);
            (self.at, self.chain) = (info.lsn, Some(info.chain));
            return Ok(());
        }
        match (next, ends) {
            (Some(next), Some(end)) if end > at => {
                let (cause, reason) = self.cause(at, flaw, Rule::LogWentOn);
                self.skip(here, at, end, cause, reason, false);
                self.enter(next)
            }
            (Some(next), Some(end)) if end == at => {
                let start = self.files.start_of(next);
                let reason = "the segment follows another history of the log (chain value)".to_owned();
                self.skip(next, start, Lsn(start.0 + BLOCK), Cause::Rule(Rule::OtherHistory), reason, true);
                self.enter(next)
            }
            (Some(next), _) if header.is_some() && next > here + 1 && self.is_before_checkpoint(here) => {
                // The segments between were freed, and with them what said where this one ends.
                self.enter(next)
            }
            _ => self.look_further(flaw, header),
        }
    }

    /// The segment in which a group that ends at `end` lies.
    pub(super) fn segment_before(&self, end: Lsn) -> u64 {
        Lsn(end.0.saturating_sub(1)).segment(self.files.segment_bytes)
    }

    fn is_before_checkpoint(&self, index: u64) -> bool {
        let checkpoint = self.files.superblock.as_ref().map(|superblock| superblock.checkpoint.group);
        checkpoint.map_or(true, |checkpoint| index < checkpoint.segment(self.files.segment_bytes))
    }

    /// The first valid group at or past `from` in the loaded segment. Takes what valid headers on the way claim.
    fn find(&mut self, from: Lsn) -> Option<GroupInfo> {
        let start = self.files.start_of(self.segment).0;
        let mut at = from.0.saturating_sub(start).max(BLOCK);
        while at < self.files.segment_bytes {
            let lsn = Lsn(start + at);
            let bytes = &self.buffer.content()[at as usize..];
            if let Ok(info) = group::parse_header(bytes)
                && (info.log_id, info.lsn) == (self.files.log_id, lsn)
            {
                self.durable = self.durable.max(info.durable);
                if let Ok(info) = self.files.check(bytes, lsn, None) {
                    return Some(info);
                }
            }
            at += BLOCK;
        }
        None
    }

    /// Nothing more in this segment, and nobody says how it ends: looks for a valid group in the later ones.
    fn look_further(&mut self, flaw: Flaw, next: Option<SegmentHeader>) -> Result<(), OpenError> {
        let (here, at, chain) = (self.segment, self.at, self.chain);
        let (mut cause, mut reason) = self.cause(at, flaw, Rule::DurableDamaged);
        let mut place = here;
        // What is here may be whole: then the guilty file is the first one after it in which nothing of the log is found.
        let is_whole_here = cause != Cause::Rule(Rule::SegmentMissing) && scan::found_flaw(flaw) != Found::Begun;
        let begun = self.begun();
        let later: Vec<u64> = self.files.segments.range(here + 1..).map(|(&index, _)| index).collect();
        for &index in &later {
            self.load(index)?;
            self.durable = self.durable.max(self.header().map_or(Lsn::ZERO, |header| header.final_lsn));
            if self.loaded.size.is_none() && place == here && is_whole_here {
                (cause, reason) = self.cause(at, flaw, Rule::DurableDamaged);
                place = index;
            }
            let Some(info) = self.find(self.files.start_of(index)) else { continue };
            let first = Lsn(self.files.start_of(index).0 + BLOCK);
            let follows = info.lsn == first && chain.is_some_and(|chain| chain == info.chain);
            if !follows {
                let is_lost = next.is_none() && place == here && is_whole_here;
                if let Some(&lost) = later.first().filter(|&&lost| is_lost && lost < index) {
                    (place, cause) = (lost, Cause::Rule(Rule::SegmentHeaderDamaged));
                    reason = self.files.stranger(lost);
                }
                self.skip(place, at, info.lsn, cause, reason, true);
            }
            (self.at, self.chain) = (info.lsn, Some(info.chain));
            if self.header().is_none() {
                self.header_lost();
            }
            return Ok(());
        }
        self.segment = here;
        let rule = self.rule_at_end(flaw, next);
        let cause = if cause == Cause::Rule(Rule::DurableDamaged) { Cause::Rule(rule) } else { cause };
        match later.first().filter(|_| place == here && is_whole_here) {
            Some(&index) if self.durable > Lsn(self.files.start_of(index).0 + BLOCK) && next.is_none() => {
                let reason = self.files.stranger(index);
                self.finish(index, rule, begun, (Cause::Rule(Rule::SegmentHeaderDamaged), reason));
            }
            _ => self.finish(place, rule, begun, (cause, reason)),
        }
        Ok(())
    }

    /// What recovery's table says of the end.
    fn rule_at_end(&self, flaw: Flaw, next: Option<SegmentHeader>) -> Rule {
        let incarnation = self.files.superblock.as_ref().map_or(u64::MAX, |superblock| superblock.incarnation);
        let next = match next {
            Some(header) if header.incarnation > incarnation => Next::Later,
            Some(header) if header.final_lsn > self.at => Next::EndsPast,
            Some(_) => Next::EndsBefore,
            None => Next::NoHeader,
        };
        let reach = if self.at < self.durable { Reach::Below } else { Reach::Beyond };
        verdict::position(scan::found_flaw(flaw), next, reach)
    }

    /// Bytes of what was begun where the walk stands, as far as a header tells.
    fn begun(&self) -> u64 {
        let at = self.at.0.saturating_sub(self.files.start_of(self.segment).0);
        if at >= self.files.segment_bytes {
            return 0;
        }
        let header = group::parse_header(&self.buffer.content()[at as usize..]);
        header.map_or(BLOCK, |info| info.padded_bytes()).min(self.files.segment_bytes - at)
    }

    fn finish(&mut self, place: u64, rule: Rule, begun: u64, why: (Cause, String)) {
        let (cause, reason) = why;
        let missing = cause == Cause::Rule(Rule::SegmentMissing);
        self.steps.push_back(Step::End(End {
            at: self.at,
            rule,
            begun,
            durable: self.durable,
            file: self.files.name(place),
            offset: if missing { 0 } else { self.at.0.saturating_sub(self.files.start_of(place).0) },
            cause,
            reason,
        }));
        self.over = true;
    }
}
