//! Checks the bytes of a sealed segment: one that was written in full and is not written any more.
//!
//! Invariants: the check is pure and streaming, and holds one group and one piece at most; a healthy segment gives no
//! damage, whatever openings, cut groups and earlier uses of its file left in it. What it cannot tell is said at
//! [`SegmentCheck`]. Not here: reading files (`ring`), when and how fast (the owner of the log).

use std::collections::BTreeMap;

use crate::group::{self, Expect, Flaw, GroupInfo};
use crate::limits::{BLOCK_BYTES, GROUP_BYTES_MAX};
use crate::lsn::Lsn;
use crate::segment::SegmentHeader;
use crate::superblock::Superblock;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Where a segment lies: its index in the log and the slot of its file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SegmentPlace {
    /// The index.
    pub index: u64,
    /// The slot.
    pub slot: u32,
}

/// The end of a sealed segment, as the header of the one after it names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentEnd {
    /// Where its last group ends.
    pub lsn: Lsn,
    pub(crate) chain: u64,
}

/// The segments of a log at one moment, for whoever reads them beside the writer.
#[derive(Clone, Debug)]
pub struct SealedSegments {
    log_id: u64,
    incarnation: u64,
    opened: Lsn,
    segment_bytes: u64,
    slots: BTreeMap<u64, u32>,
    /// The segment in which the durable log ends; those before it are sealed.
    last: u64,
}

impl SealedSegments {
    /// What `superblock` lists, of a log that is durable up to `durable`.
    pub(crate) fn new(superblock: &Superblock, durable: Lsn) -> SealedSegments {
        SealedSegments {
            log_id: superblock.log_id,
            incarnation: superblock.incarnation,
            opened: superblock.opened,
            segment_bytes: superblock.segment_bytes,
            slots: superblock.segments.clone(),
            // A log that ends where a segment does has nothing in the next one yet.
            last: Lsn(durable.0.saturating_sub(1)).segment(superblock.segment_bytes),
        }
    }

    /// Size of a segment, in bytes.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// The first sealed segment, or the first after `after`.
    #[must_use]
    pub fn next(&self, after: Option<u64>) -> Option<SegmentPlace> {
        let from = after.map_or(0, |index| index + 1);
        let place = self.slots.range(from..).next().map(|(&index, &slot)| SegmentPlace { index, slot });
        place.filter(|place| place.index < self.last)
    }

    /// The listed segment after `place`. Its header may name where `place` ends.
    #[must_use]
    pub fn successor(&self, place: SegmentPlace) -> Option<SegmentPlace> {
        let next = self.slots.range(place.index + 1..).next();
        next.map(|(&index, &slot)| SegmentPlace { index, slot }).filter(|next| next.index <= self.last)
    }

    /// Whether a segment with this index is part of the log.
    #[must_use]
    pub fn lists(&self, index: u64) -> bool {
        self.slots.contains_key(&index)
    }

    /// The position of an offset in a segment.
    #[must_use]
    pub fn position(&self, place: SegmentPlace, offset: u64) -> Lsn {
        Lsn(place.index * self.segment_bytes + offset)
    }

    /// Whether the segment is still part of the log, in this file.
    #[must_use]
    pub fn holds(&self, place: SegmentPlace) -> bool {
        self.slots.get(&place.index) == Some(&place.slot)
    }

    /// Where the segment at `place` ends, if `block`, the first block of its successor's file, says so.
    #[must_use]
    pub fn end_of(&self, place: SegmentPlace, successor: SegmentPlace, block: &[u8]) -> Option<SegmentEnd> {
        let header = SegmentHeader::parse(block, self.log_id, successor.index)?;
        let start = place.index * self.segment_bytes;
        let within = start + BLOCK..=start + self.segment_bytes;
        let end = SegmentEnd { lsn: header.final_lsn, chain: header.chain };
        within.contains(&header.final_lsn.0).then_some(end)
    }

    /// Begins to check the segment at `place`, which ends at `end` if that is known.
    #[must_use]
    pub fn check(&self, place: SegmentPlace, end: Option<SegmentEnd>) -> SegmentCheck {
        SegmentCheck {
            log_id: self.log_id,
            incarnation: self.incarnation,
            opened: self.opened,
            segment_bytes: self.segment_bytes,
            index: place.index,
            end,
            held: Vec::new(),
            at: 0,
            chain: None,
            lost: None,
        }
    }
}

/// Bytes of a sealed segment that are not what was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Where in the file it starts, in bytes.
    pub offset: u64,
    /// Where in the log it starts.
    pub from: Lsn,
    /// The next position from which the log can be read again.
    pub to: Lsn,
    /// What is wrong.
    pub reason: String,
}

/// A check of one sealed segment, whose bytes are fed in order.
///
/// With a known end, every group up to it must be there. Without one (the segment after it was freed), bytes that are no
/// group count as damage only if a later group in the same segment states that they were durable: damage to the last
/// group is then taken for the end.
#[derive(Debug)]
pub struct SegmentCheck {
    log_id: u64,
    incarnation: u64,
    opened: Lsn,
    segment_bytes: u64,
    index: u64,
    end: Option<SegmentEnd>,
    /// Bytes from `at` on that were fed and not yet checked.
    held: Vec<u8>,
    /// Offset in the segment of the next group.
    at: u64,
    /// The chain value that it must name; unknown after damage.
    chain: Option<u64>,
    /// Where no group was found, and why; nothing was found since.
    lost: Option<(u64, Flaw)>,
}

impl SegmentCheck {
    /// Takes the next bytes of the segment.
    pub fn feed(&mut self, bytes: &[u8], found: &mut dyn FnMut(Damage)) {
        self.held.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(step) = self.step(used, found) {
            used += step;
            self.at += step as u64;
        }
        self.held.drain(..used);
    }

    /// After the last byte.
    pub fn finish(self, found: &mut dyn FnMut(Damage)) {
        let Some(end) = self.end else { return };
        let end_at = end.lsn.0 - self.start();
        if let Some((at, flaw)) = self.lost {
            found(self.damage(at, end_at, flaw.to_string()));
        } else if self.at < end_at {
            found(self.damage(self.at, end_at, "the file ends before the segment does".to_owned()));
        } else if self.chain.is_some_and(|chain| chain != end.chain) {
            let reason = "the segment after this one follows another history of the log (chain value)".to_owned();
            found(self.damage(end_at, end_at, reason));
        }
    }

    fn start(&self) -> u64 {
        self.index * self.segment_bytes
    }

    /// Offset up to which groups are expected.
    fn limit(&self) -> u64 {
        self.end.map_or(self.segment_bytes, |end| end.lsn.0 - self.start())
    }

    fn damage(&self, from: u64, to: u64, reason: String) -> Damage {
        Damage { offset: from, from: Lsn(self.start() + from), to: Lsn(self.start() + to), reason }
    }

    /// Checks what starts at `used` of the held bytes; how many bytes that were, `None` if more are needed first.
    fn step(&mut self, used: usize, found: &mut dyn FnMut(Damage)) -> Option<usize> {
        if self.at >= self.limit() || self.held.len() - used < BLOCK_BYTES {
            return None;
        }
        if self.at == 0 {
            self.take_header(found);
            return Some(BLOCK_BYTES);
        }
        let bytes = &self.held[used..];
        if let Some((from, flaw)) = self.lost {
            if !self.is_evidence(bytes, from) {
                return Some(BLOCK_BYTES);
            }
            found(self.damage(from, self.at, flaw.to_string()));
            self.lost = None;
            self.chain = None;
        }
        match self.group_at(bytes) {
            Ok(None) => None,
            Ok(Some(info)) => {
                self.chain = Some(info.chain_after());
                Some(info.padded_bytes() as usize)
            }
            Err(flaw) => {
                self.lost = Some((self.at, flaw));
                Some(BLOCK_BYTES)
            }
        }
    }

    fn take_header(&mut self, found: &mut dyn FnMut(Damage)) {
        let header = SegmentHeader::parse(&self.held, self.log_id, self.index);
        self.chain = header.filter(|header| header.incarnation <= self.incarnation).map(|header| header.chain);
        if self.chain.is_none() {
            found(self.damage(0, BLOCK, "the segment's header is not valid".to_owned()));
        }
    }

    /// Whether a group of this log starts here that was written when the bytes at `lost` were durable.
    fn is_evidence(&self, bytes: &[u8], lost: u64) -> bool {
        group::parse_header(bytes).is_ok_and(|info| {
            let is_here = info.log_id == self.log_id && info.lsn.0 == self.start() + self.at;
            is_here && info.incarnation <= self.incarnation && info.durable.0 > self.start() + lost
        })
    }

    /// The group that starts here; `None` if not all of it is held yet.
    fn group_at(&self, bytes: &[u8]) -> Result<Option<GroupInfo>, Flaw> {
        let info = group::parse_header(bytes)?;
        let padded_bytes = info.padded_bytes();
        if padded_bytes > GROUP_BYTES_MAX as u64 || self.at + padded_bytes > self.limit() {
            return Err(Flaw::Length);
        }
        let Some(whole) = bytes.get(..padded_bytes as usize) else { return Ok(None) };
        let expect = Expect {
            log_id: self.log_id,
            lsn: Lsn(self.start() + self.at),
            incarnation: self.incarnation,
            opened: self.opened,
            chain: self.chain.unwrap_or(info.chain),
        };
        group::check(whole, &expect).map(Some)
    }
}
