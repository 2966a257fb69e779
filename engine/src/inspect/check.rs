//! The steps of a verification, and what they found so far.
//!
//! Invariant: one place is told once, in the words of whoever came first: recovery. Not here: in which order (`verify`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;
use seam::Position;

use super::dump::contradiction;
use super::files::Files;
use super::verify::{Finding, OwnerRecord, Progress, Soundness, Verified};
use super::walk::{Cause, Skipped, Step, Walk};
use crate::buffer::Buffer;
use crate::error::OpenError;
use crate::group::{self, GroupInfo, RecordInGroup, RecordKind};
use crate::limits::{FINDINGS_MAX, SUPERBLOCK_BYTES};
use crate::lsn::Lsn;
use crate::recovery::History;
use crate::scan::{Scanner, Tail};
use crate::slice::{self, Entry, Pointer};
use crate::storage::Storage;
use crate::superblock::Superblock;
use crate::verdict::{Rule, Verdict};

pub(super) struct Check<'a> {
    owner: &'a mut OwnerRecord<'a>,
    progress: &'a mut dyn FnMut(Progress),
    total: u64,
    pub(super) verified: Verified,
    /// Which finding is about a file, or a place in it.
    told: BTreeMap<(String, Option<u64>), usize>,
    /// What slices point at, by where it lies.
    pointers: BTreeSet<(Lsn, u32, u32)>,
    /// Keys whose values lie in no listed segment, by key.
    unlisted: BTreeMap<Vec<u8>, Lsn>,
}

impl<'a> Check<'a> {
    pub(super) fn new(
        files: &Files,
        owner: &'a mut OwnerRecord<'_>,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Check<'a> {
        let superblock = files.superblock.as_ref().ok();
        let from = superblock.map_or(u64::MAX, |superblock| superblock.checkpoint.group.segment(files.segment_bytes));
        let read_twice = files.segments.range(from..).count();
        let verified = Verified {
            soundness: Soundness::Sound,
            findings: Vec::new(),
            findings_dropped: 0,
            strays: Vec::new(),
            log_id: files.log_id,
            owner: superblock.map(|superblock| superblock.owner),
            incarnation: superblock.map(|superblock| superblock.incarnation),
            clean: superblock.is_some_and(|superblock| superblock.clean),
            checkpoint: superblock.map(|superblock| superblock.checkpoint.group),
            tail: None,
            durable: None,
            segments: 0,
            groups: 0,
            records: 0,
            bytes: 0,
            values: 0,
            bytes_read: 0,
        };
        let total = (files.segments.len() + read_twice) as u64 * files.segment_bytes;
        Check {
            owner,
            progress,
            total,
            verified,
            told: BTreeMap::new(),
            pointers: BTreeSet::new(),
            unlisted: BTreeMap::new(),
        }
    }

    fn find(&mut self, soundness: Soundness, place: Skipped) {
        self.verified.soundness = self.verified.soundness.max(soundness);
        // A file that is missing or short is told once, whatever part of it was looked at.
        let of_file = [Cause::Rule(Rule::SegmentSize), Cause::Rule(Rule::SegmentMissing)].contains(&place.cause);
        let key = (place.file.clone(), if of_file { None } else { Some(place.offset) });
        if let Some(&first) = self.told.get(&key) {
            let told = &mut self.verified.findings[first].place;
            told.to = told.to.max(place.to);
        } else if self.verified.findings.len() < FINDINGS_MAX {
            self.told.insert(key, self.verified.findings.len());
            self.verified.findings.push(Finding { soundness, place });
        } else {
            self.verified.findings_dropped += 1;
        }
    }

    fn damage(&mut self, file: String, offset: u64, range: (Lsn, Lsn), cause: Cause, reason: String) {
        let (from, to) = range;
        let place = Skipped { file, offset, from, to, cause, reason, resumed: false };
        self.find(Soundness::Damaged, place);
    }

    fn refused(&mut self, error: &OpenError) {
        if let OpenError::Corrupt { file, offset, lsn, rule, reason } = error {
            self.damage(file.clone(), *offset, (*lsn, *lsn), Cause::Rule(*rule), reason.clone());
        }
    }

    fn read(&mut self, bytes: u64) {
        self.verified.bytes_read += bytes;
        (self.progress)(Progress { done: self.verified.bytes_read, total: self.total });
    }

    pub(super) fn superblock(&mut self, files: &Files) {
        if let Err(error) = &files.superblock {
            self.refused(error);
        }
        if let Some(copy) = files.copy_damaged {
            let reason = format!(
                "copy {copy} of the superblock is not valid; the other one holds, and the next start writes both anew"
            );
            let offset = (copy * SUPERBLOCK_BYTES) as u64;
            let cause = Cause::Rule(Rule::SuperblockOneCopy);
            self.damage(files.storage.superblock_name(), offset, (Lsn::ZERO, Lsn::ZERO), cause, reason);
        }
    }

    /// Every listed segment has a file, of the right size.
    pub(super) fn sizes(&mut self, files: &Files) {
        for (&index, slot) in &files.segments {
            let start = files.start_of(index);
            let end = Lsn(start.0 + files.segment_bytes);
            match files.sizes.get(slot) {
                Some(&bytes) if bytes == files.segment_bytes => {}
                Some(&bytes) => {
                    let reason = format!("the file has {bytes} bytes, not {}", files.segment_bytes);
                    let offset = bytes.min(files.segment_bytes);
                    let range = (Lsn(start.0 + offset), end);
                    self.damage(files.name(index), offset, range, Cause::Rule(Rule::SegmentSize), reason);
                }
                None => {
                    let reason = format!("the file of segment {index} is missing");
                    self.damage(files.name(index), 0, (start, end), Cause::Rule(Rule::SegmentMissing), reason);
                }
            }
        }
    }

    /// What recovery says: where the log ends, if it does not refuse.
    pub(super) fn recovery(
        &mut self,
        storage: &Arc<dyn Storage>,
        superblock: &Superblock,
    ) -> Result<Option<Lsn>, OpenError> {
        match self.scan(storage, superblock) {
            Ok(tail) => {
                (self.verified.tail, self.verified.durable) = (Some(tail.lsn), Some(tail.durable));
                for cut in tail.cuts.into_iter().filter(|cut| cut.rule.verdict() == Verdict::Cut) {
                    let (from, to, cause) = (cut.from, cut.to, Cause::Rule(cut.rule));
                    let (file, offset, reason) = (cut.file, cut.offset, cut.reason);
                    let place = Skipped { file, offset, from, to, cause, reason, resumed: false };
                    self.find(Soundness::TornTail, place);
                }
                Ok(Some(tail.lsn))
            }
            Err(error @ OpenError::Corrupt { .. }) => {
                self.refused(&error);
                Ok(None)
            }
            // The walk names each place that the disk does not read.
            Err(OpenError::Io { source, .. }) if source.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn scan(&mut self, storage: &Arc<dyn Storage>, superblock: &Superblock) -> Result<Tail, OpenError> {
        let mut scanner = Scanner::new(Arc::clone(storage), superblock.clone())?;
        let mut segment = None;
        while let Some(info) = scanner.next_group()? {
            let here = info.lsn.segment(superblock.segment_bytes);
            if segment.replace(here) != Some(here) {
                self.read(superblock.segment_bytes);
            }
        }
        Ok(scanner.finish())
    }

    pub(super) fn walk(&mut self, mut walk: Walk) -> Result<Files, OpenError> {
        let mut segment = None;
        // The first group of a log states the log's id as the chain value before it.
        let mut history = (walk.files.log_id, History::at_birth());
        while let Some(step) = walk.next()? {
            if segment.replace(walk.segment()) != Some(walk.segment()) {
                self.verified.segments += 1;
                self.read(walk.files.segment_bytes);
            }
            match step {
                Step::Group(info) => {
                    let last = self.group(&walk, &info);
                    last.into_iter().for_each(|last| self.history(&walk, &info, last, &mut history));
                }
                Step::Skipped(place) => self.find(Soundness::Damaged, place),
                Step::End(end) => {
                    let soundness = match end.rule.verdict() {
                        Verdict::Accept | Verdict::Ignore => continue,
                        Verdict::Cut => Soundness::TornTail,
                        Verdict::Refuse => Soundness::Damaged,
                    };
                    let to = Lsn(end.at.0 + end.begun).max(end.durable);
                    let (file, offset, from, cause) = (end.file, end.offset, end.at, end.cause);
                    let reason = end.reason;
                    self.find(soundness, Skipped { file, offset, from, to, cause, reason, resumed: false });
                }
            }
        }
        Ok(walk.files)
    }

    /// Checks the records of a group; the position of the last one, if they can be read.
    fn group(&mut self, walk: &Walk, info: &GroupInfo) -> Option<Position> {
        self.verified.groups += 1;
        self.verified.bytes += info.padded_bytes();
        let checkpoint = self.verified.checkpoint.unwrap_or_default();
        let read = group::records::<()>(walk.bytes(info), info, &mut |record| {
            let RecordInGroup { offset, kind, payload, position: _ } = record;
            self.verified.records += 1;
            let lsn = Lsn(info.lsn.0 + offset as u64);
            let flaw = match kind {
                RecordKind::Owner | RecordKind::OwnerAgain => (self.owner)(lsn, Bytes::copy_from_slice(payload))
                    .err()
                    .map(|reason| (Cause::RecordUnknown, format!("the record cannot be read: {reason}"))),
                RecordKind::TableSlice => {
                    let mut take = |entry: Entry<'_>| self.entry(&walk.files, lsn >= checkpoint, entry);
                    let cause = Cause::Rule(Rule::RecordsContradict);
                    let reason = "the table slice cannot be read".to_owned();
                    slice::parse(payload, &mut take).is_none().then_some((cause, reason))
                }
                RecordKind::CheckpointBegin | RecordKind::CheckpointEnd | RecordKind::Resumed => None,
            };
            if let Some((cause, reason)) = flaw {
                let at = lsn.offset(walk.files.segment_bytes);
                let range = (lsn, Lsn(lsn.0 + payload.len() as u64));
                self.damage(walk.files.name(walk.segment()), at, range, cause, reason);
            }
            Ok(())
        });
        if read.is_none() {
            self.find(Soundness::Damaged, contradiction(walk, info));
        }
        read.and_then(Result::ok)
    }

    /// A group that follows the one before by its chain value must follow it by its positions too.
    fn history(&mut self, walk: &Walk, info: &GroupInfo, last: Position, history: &mut (u64, History)) {
        let (chain, before) = history;
        if *chain != info.chain {
            *before = History::default();
        }
        *chain = info.chain_after();
        if let Err(reason) = before.take(info, last) {
            let at = info.lsn.offset(walk.files.segment_bytes);
            let cause = Cause::Rule(Rule::HistoryContradicts);
            self.damage(walk.files.name(walk.segment()), at, (info.lsn, info.end()), cause, reason);
        }
    }

    /// Remembers what a slice that is replayed points at.
    fn entry(&mut self, files: &Files, replayed: bool, entry: Entry<'_>) {
        let Entry::Pointer { key, pointer: Pointer { lsn, length, crc } } = entry else { return };
        if !replayed {
            return;
        }
        if files.segments.contains_key(&lsn.segment(files.segment_bytes)) {
            self.pointers.insert((lsn, length, crc));
        } else {
            self.unlisted.insert(key.to_vec(), lsn);
        }
    }

    /// Reads every value that a slice points at.
    pub(super) fn values(&mut self, files: &Files) -> Result<(), OpenError> {
        let mut buffer = Buffer::zeroed(files.segment_bytes as usize);
        let mut loaded = None;
        for (lsn, length, crc) in std::mem::take(&mut self.pointers) {
            let (index, offset) = (lsn.segment(files.segment_bytes), lsn.offset(files.segment_bytes));
            if loaded.replace(index) != Some(index) {
                files.load(index, &mut buffer)?;
                self.total += files.segment_bytes;
                self.read(files.segment_bytes);
            }
            self.verified.values += 1;
            let bytes = buffer.content().get(offset as usize..offset as usize + length as usize);
            if bytes.is_none_or(|bytes| crc32c::crc32c(bytes) != crc) {
                let reason = format!("the value of {length} bytes that the table points at is damaged");
                let range = (lsn, Lsn(lsn.0 + u64::from(length)));
                self.damage(files.name(index), offset, range, Cause::ValueDamaged, reason);
            }
        }
        Ok(())
    }

    /// A value in a segment that is not listed must have been replaced since: a record since the checkpoint writes its key.
    pub(super) fn unlisted(&mut self, storage: &Arc<dyn Storage>, superblock: &Superblock) -> Result<(), OpenError> {
        if self.unlisted.is_empty() {
            return Ok(());
        }
        let mut scanner = Scanner::new(Arc::clone(storage), superblock.clone())?;
        while let Some(info) = scanner.next_group()? {
            let _whole = group::records::<()>(scanner.bytes(&info), &info, &mut |record| {
                let RecordInGroup { offset, kind, payload, position: _ } = record;
                if kind.is_owners() {
                    let lsn = Lsn(info.lsn.0 + offset as u64);
                    let keys = (self.owner)(lsn, Bytes::copy_from_slice(payload)).unwrap_or_default();
                    keys.iter().for_each(|key| _ = self.unlisted.remove(key.as_ref()));
                }
                Ok(())
            });
        }
        for lsn in std::mem::take(&mut self.unlisted).into_values() {
            let index = lsn.segment(superblock.segment_bytes);
            let reason = format!("values live in segment {index}, which is not listed");
            let cause = Cause::Rule(Rule::SegmentUnlisted);
            self.damage(storage.superblock_name(), 0, (lsn, lsn), cause, reason);
        }
        Ok(())
    }
}
