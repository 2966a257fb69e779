//! Up to where a damaged log is sound, where it can be cut, and what is lost there.
//!
//! Nothing is written here. Not here: the steps (`repair`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::dump::{DumpItem, contradiction, read_group};
use super::files::Files;
use super::surgery::SurgeryError;
use super::walk::{Skipped, Step as Walked, Walk};
use crate::buffer::Buffer;
use crate::error::OpenError;
use crate::group::{self, GroupInfo, RecordKind};
use crate::limits::SEGMENTS_MAX;
use crate::lsn::Lsn;
use crate::scan::Scanner;
use crate::slice;
use crate::superblock::Superblock;
use crate::verdict::Rule;

/// Why a log is not repaired. Nothing was written, except where said.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The directory cannot be used at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nothing says which segments belong to the log and where replay starts.
    #[error(
        "{0}; without a superblock a log cannot be repaired: restore it from a backup, `wal dump` shows what is there"
    )]
    NoSuperblock(String),
    /// The log is damaged before the position that was accepted.
    #[error(
        "LSN {asked} lies past the first damage ({place}); \
         at most LSN {possible} can be kept: --accept-loss-after {possible}"
    )]
    PastDamage {
        /// What was asked for.
        asked: Lsn,
        /// The greatest position that is possible.
        possible: Lsn,
        /// The first damage.
        place: String,
    },
    /// There is a superblock and no segment.
    #[error("the log has no segment yet: its creation was cut off, and the node's next start finishes it")]
    NotBegun,
    /// No log comes that far, and this one is sound.
    #[error(
        "the log is sound up to its end, LSN {end}, and no log reaches LSN {asked}: nothing is to be repaired; to accept that \
         others have heard of more than it holds, name the LSN that the node's error names"
    )]
    NoSuchPosition {
        /// What was asked for.
        asked: Lsn,
        /// Where the log ends.
        end: Lsn,
    },
    /// Replay starts at the checkpoint and needs all of it.
    #[error(
        "LSN {asked} lies before the end of the last checkpoint, LSN {least}: replay starts at LSN {checkpoint} and needs \
         the whole checkpoint, older log is not replayed; accept a loss after LSN {least} or later"
    )]
    BeforeCheckpoint {
        /// What was asked for.
        asked: Lsn,
        /// The least position that is possible.
        least: Lsn,
        /// Where replay starts.
        checkpoint: Lsn,
    },
    /// The checkpoint itself is damaged.
    #[error(
        "the last checkpoint (LSN {checkpoint} to {end}) is damaged ({place}): nothing can be rebuilt from what follows; \
         restore this directory from a backup"
    )]
    CheckpointDamaged {
        /// Where replay starts.
        checkpoint: Lsn,
        /// Where the checkpoint ends.
        end: Lsn,
        /// The first damage.
        place: String,
    },
    /// A segment that holds older values is missing or short.
    #[error(
        "{file}: segment {index} holds values from before the checkpoint and is missing or short; cutting the log does not \
         bring them back: restore this file from a backup"
    )]
    OlderSegment {
        /// The file.
        file: String,
        /// Its segment.
        index: u64,
    },
    /// The superblock has no room for the segment in which the log would go on.
    #[error("the log has {SEGMENTS_MAX} segments, the most that it can have: there is no room for the one to go on in")]
    NoRoom,
    /// The backup or a step failed.
    #[error(transparent)]
    Surgery(#[from] SurgeryError),
    /// The repaired log does not read as planned.
    #[error("the repaired log is not as planned: {0}; restore the backup {1} and report this")]
    NotAsPlanned(String, String),
}

/// A part of a file that is dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// The file.
    pub file: String,
    /// Where in the file it starts, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// Where in the log it starts.
    pub from: Lsn,
    /// Where in the log it ends.
    pub to: Lsn,
    /// The segment file leaves the log.
    pub whole_file: bool,
}

/// What a repair keeps and what it drops.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where replay starts.
    pub checkpoint: Lsn,
    /// Everything before is kept.
    pub keep_to: Lsn,
    /// The greatest position that could be kept.
    pub possible: Lsn,
    /// The first damage; none if the log is sound: then nothing of it is dropped, and what is given up is not in it.
    pub damage: Option<String>,
    /// Groups kept since the checkpoint.
    pub groups_kept: u64,
    /// Records kept since the checkpoint.
    pub records_kept: u64,
    /// What is dropped, by file.
    pub lost: Vec<Lost>,
    /// Groups dropped, as far as they can be read.
    pub groups_lost: u64,
    /// Records in them.
    pub records_lost: u64,
    /// Dropped parts that cannot be read.
    pub unreadable: Vec<Skipped>,
    /// The largest position that anything states to have been durable.
    pub durable: Lsn,
    /// The opening that the repair counts as.
    pub incarnation: u64,
    /// Where the repaired log goes on.
    pub goes_on_at: Lsn,
    /// The file of the segment there.
    pub new_file: String,
}

/// A part of a log from its checkpoint on.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// Where it ends, and the chain value there.
    pub(super) end: Lsn,
    pub(super) chain: u64,
    /// What lies in it.
    pub(super) groups: u64,
    pub(super) records: u64,
}

impl Part {
    fn add(&mut self, info: &GroupInfo) {
        (self.end, self.chain) = (info.end(), info.chain_after());
        self.groups += 1;
        self.records += u64::from(info.records);
    }
}

/// The sound part of a log from its checkpoint on.
pub(super) struct Sound {
    pub(super) files: Files,
    /// All of it.
    pub(super) all: Part,
    /// What ends at or before the position asked for.
    pub(super) before: Part,
    /// The first position at which the log can be cut.
    pub(super) least: Lsn,
    /// Up to where the owner has accepted a loss before.
    pub(super) accepted: Lsn,
    /// What ended it.
    pub(super) damage: Option<Skipped>,
}

/// What the owner makes of a record: up to where a loss is accepted by it, if it is one that says so.
pub type Accepts<'a> = &'a mut dyn FnMut(&[u8]) -> Option<Lsn>;

pub(super) fn said(place: &Skipped) -> String {
    format!("{}: offset {} (LSN {}): {}: {}", place.file, place.offset, place.from, place.cause, place.reason)
}

/// Why recovery refuses the log; `None` if it does not.
pub(super) fn refusal(files: &Files, superblock: &Superblock) -> Result<Option<String>, OpenError> {
    if superblock.segments.is_empty() {
        return Ok(None);
    }
    let read = || -> Result<(), OpenError> {
        let mut scanner = Scanner::new(Arc::clone(&files.storage), superblock.clone())?;
        while let Some(info) = scanner.next_group()? {
            if !is_whole(scanner.bytes(&info), &info) {
                return Err(scanner.corrupt(
                    info.lsn,
                    Rule::RecordsContradict,
                    "the group's records cannot be read".to_owned(),
                ));
            }
        }
        Ok(())
    };
    match read() {
        Ok(()) => Ok(None),
        Err(OpenError::Corrupt { file, offset, lsn, rule, reason }) => {
            Ok(Some(format!("{file}: offset {offset} (LSN {lsn}): {rule}: {reason}")))
        }
        Err(OpenError::Io { file, operation, source }) if source.kind() != std::io::ErrorKind::PermissionDenied => {
            Ok(Some(format!("{file}: {operation} failed: {source}")))
        }
        Err(error) => Err(error),
    }
}

/// Whether the records fill the group, and slices can be read.
fn is_whole(bytes: &[u8], info: &GroupInfo) -> bool {
    let read = group::records(bytes, info, &mut |_, kind, payload| match kind {
        RecordKind::TableSlice => slice::parse(payload, &mut |_| ()).ok_or(()),
        RecordKind::Owner | RecordKind::CheckpointBegin | RecordKind::CheckpointEnd => Ok(()),
    });
    read == Some(Ok(()))
}

/// The segments before the one in which replay starts must be there: they are not part of what can be cut.
pub(super) fn check_older(files: &Files, superblock: &Superblock) -> Result<(), RepairError> {
    let from = superblock.checkpoint.group.segment(files.segment_bytes);
    for (&index, slot) in files.segments.range(..from) {
        if files.sizes.get(slot) != Some(&files.segment_bytes) {
            return Err(RepairError::OlderSegment { file: files.name(index), index });
        }
    }
    Ok(())
}

/// Reads the sound part of the log.
pub(super) fn measure(
    files: Files,
    superblock: &Superblock,
    asked: Lsn,
    accepts: Accepts<'_>,
) -> Result<Sound, OpenError> {
    let checkpoint = superblock.checkpoint;
    let checkpoint_end = checkpoint.begin.0 + checkpoint.size;
    let mut least = (checkpoint_end == 0).then_some(checkpoint.group);
    let mut all = Part { end: checkpoint.group, chain: checkpoint.chain, groups: 0, records: 0 };
    let (mut before, mut accepted, mut damage) = (all, Lsn::ZERO, None);
    let mut walk = Walk::from_group(files, checkpoint.group, checkpoint.chain)?;
    while let Some(step) = walk.next()? {
        match step {
            Walked::Group(info) if is_whole(walk.bytes(&info), &info) => {
                all.add(&info);
                least = least.or_else(|| (all.end.0 >= checkpoint_end).then_some(all.end));
                if all.end <= asked {
                    before = all;
                }
                accepted = accepted.max(accepted_in(walk.bytes(&info), &info, checkpoint.begin, accepts));
            }
            Walked::Group(info) => {
                damage = Some(contradiction(&walk, &info));
                break;
            }
            Walked::Skipped(place) => {
                damage = Some(place);
                break;
            }
            Walked::End(_) => break,
        }
    }
    let least = least.unwrap_or(Lsn(checkpoint_end));
    Ok(Sound { files: walk.files, all, before, least, accepted, damage })
}

/// Up to where records of a group accept a loss, without those before the checkpoint, which are not replayed.
fn accepted_in(bytes: &[u8], info: &GroupInfo, begin: Lsn, accepts: Accepts<'_>) -> Lsn {
    let mut accepted = Lsn::ZERO;
    let read = group::records::<()>(bytes, info, &mut |offset, kind, payload| {
        if kind == RecordKind::Owner && info.lsn.0 + offset as u64 >= begin.0 {
            accepted = accepted.max(accepts(payload).unwrap_or_default());
        }
        Ok(())
    });
    assert_eq!(read, Some(Ok(())), "the group is whole");
    accepted
}

/// A damaged log can be cut there.
pub(super) fn check_position(
    sound: &Sound,
    superblock: &Superblock,
    asked: Lsn,
    damage: &str,
) -> Result<(), RepairError> {
    let checkpoint = superblock.checkpoint.group;
    let place = damage.to_owned();
    if sound.all.end < sound.least {
        Err(RepairError::CheckpointDamaged { checkpoint, end: sound.least, place })
    } else if asked > sound.all.end {
        Err(RepairError::PastDamage { asked, possible: sound.all.end, place })
    } else if sound.before.end < sound.least || asked < checkpoint {
        Err(RepairError::BeforeCheckpoint { asked, least: sound.least, checkpoint })
    } else {
        Ok(())
    }
}

/// The highest index and incarnation that any file of this log names.
pub(super) fn newest(files: &Files, superblock: &Superblock) -> (u64, u64) {
    let mut index = superblock.segments.keys().next_back().copied().unwrap_or(0);
    let mut incarnation = superblock.incarnation;
    for (_, header) in files.headers() {
        index = index.max(header.index);
        incarnation = incarnation.max(header.incarnation);
    }
    (index, incarnation)
}

/// The bytes past `keep_to` that were written for where they lie or stated to be durable, by file.
pub(super) fn lost_ranges(files: &Files, tail: u64, keep_to: Lsn, durable: Lsn) -> Result<Vec<Lost>, OpenError> {
    let mut ranges = Vec::new();
    let mut buffer = Buffer::zeroed(files.segment_bytes as usize);
    for &index in files.segments.range(tail..).map(|(index, _)| index) {
        files.load(index, &mut buffer)?;
        let start = files.start_of(index);
        let from = start.max(keep_to);
        let to = files.written_to(index, buffer.content()).max(stated_to(files, index, durable));
        if to > from {
            let (offset, bytes, file) = (from.0 - start.0, to.0 - from.0, files.name(index));
            ranges.push(Lost { file, offset, bytes, from, to, whole_file: index != tail });
        }
    }
    Ok(ranges)
}

/// Where the log ends in a segment, as far as it is stated: `durable` lies there, or the next segment's header says so.
fn stated_to(files: &Files, index: u64, durable: Lsn) -> Lsn {
    let (start, end) = (files.start_of(index), files.start_of(index + 1));
    if durable <= end {
        return durable;
    }
    match files.next(index).and_then(|next| files.header(next)) {
        Some(header) if header.final_lsn > start => header.final_lsn.min(end),
        Some(_) => start,
        None => end,
    }
}

/// Reads what is dropped, as far as it can be read.
pub(super) fn collect_lost(
    files: Files,
    keep_to: Lsn,
    chain: u64,
    plan: &mut Plan,
    lost: &mut dyn FnMut(DumpItem),
) -> Result<Files, OpenError> {
    let mut walk = Walk::from_group(files, keep_to, chain)?;
    let mut items = VecDeque::new();
    while let Some(step) = walk.next()? {
        match step {
            Walked::Group(info) => {
                plan.groups_lost += 1;
                plan.records_lost += u64::from(info.records);
                plan.durable = plan.durable.max(info.end());
                read_group(&walk, &info, &mut items);
                items.drain(..).for_each(&mut *lost);
            }
            Walked::Skipped(place) => {
                plan.unreadable.push(place.clone());
                lost(DumpItem::Skipped(place));
            }
            Walked::End(end) => plan.durable = plan.durable.max(end.durable),
        }
    }
    Ok(walk.files)
}
