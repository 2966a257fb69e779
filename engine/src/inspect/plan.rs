//! Up to where a damaged log is sound, where it can be cut, and what is lost there.
//!
//! Nothing is written here. Not here: the steps (`repair`).

use std::collections::VecDeque;
use std::sync::Arc;

use seam::{Index, Position};

use super::dump::{DumpItem, contradiction, read_group};
use super::files::Files;
use super::surgery::SurgeryError;
use super::walk::{Cause, Skipped, Step as Walked, Walk};
use crate::buffer::Buffer;
use crate::error::OpenError;
use crate::group::{self, GroupInfo, RecordInGroup, RecordKind};
use crate::limits::SEGMENTS_MAX;
use crate::lsn::Lsn;
use crate::recovery::History;
use crate::scan::{Scanner, Tail};
use crate::slice;
use crate::storage::Storage;
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
    /// An index does not say where a damaged log can be cut.
    #[error(
        "the log is damaged ({place}): name the LSN after which it is given up; \
         at most LSN {possible} can be kept: --accept-loss-after {possible}"
    )]
    Damaged {
        /// The greatest LSN that is possible.
        possible: Lsn,
        /// The first damage.
        place: String,
    },
    /// There is nothing to cut off.
    #[error(
        "the log is sound up to its end, LSN {end}: nothing is to be cut off; to accept that others have heard of more than \
         it holds, name the index that the node's error names: --accept-loss-until INDEX"
    )]
    Sound {
        /// Where the log ends.
        end: Lsn,
    },
    /// No log comes that far, and this one is sound.
    #[error(
        "the log is sound, its last record has index {last}, and no log reaches index {asked}; to accept that others have \
         heard of more than it holds, name the index that the node's error names"
    )]
    NoSuchIndex {
        /// What was asked for.
        asked: Index,
        /// The last record.
        last: Index,
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
    /// The first index that it gives out then. No lost record can have had it or a later one.
    pub goes_on_with: Index,
    /// The file of the segment there.
    pub new_file: String,
}

/// A part of a log from its checkpoint on.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// Where it ends, the chain value there, and the position of the last record.
    pub(super) end: Lsn,
    pub(super) chain: u64,
    pub(super) last: Position,
    /// What lies in it.
    pub(super) groups: u64,
    pub(super) records: u64,
}

impl Part {
    fn add(&mut self, info: &GroupInfo, last: Position) {
        (self.end, self.chain, self.last) = (info.end(), info.chain_after(), last);
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
    /// The latest record by which the owner has accepted a loss.
    pub(super) accepted: Accepted,
    /// What ended it.
    pub(super) damage: Option<Skipped>,
}

/// Up to which index a loss was accepted, and where the log says so.
#[derive(Clone, Copy, Default)]
pub(super) struct Accepted {
    pub(super) until: Index,
    pub(super) at: Lsn,
}

/// What the owner makes of a record: before which index a loss is accepted by it, if it is one that says so.
pub type Accepts<'a> = &'a mut dyn FnMut(&[u8]) -> Option<Index>;

pub(super) fn said(place: &Skipped) -> String {
    format!("{}: offset {} (LSN {}): {}: {}", place.file, place.offset, place.from, place.cause, place.reason)
}

/// Reads a log as recovery does, without its owner; where it ends.
pub(super) fn read_through(storage: Arc<dyn Storage>, superblock: &Superblock) -> Result<Tail, OpenError> {
    let mut scanner = Scanner::new(storage, superblock.clone())?;
    let mut history = History::from(superblock);
    while let Some(info) = scanner.next_group()? {
        let Some(last) = last_of(scanner.bytes(&info), &info) else {
            let reason = "the group's records cannot be read".to_owned();
            return Err(scanner.corrupt(info.lsn, Rule::RecordsContradict, reason));
        };
        let taken = history.take(&info, last);
        taken.map_err(|reason| scanner.corrupt(info.lsn, Rule::HistoryContradicts, reason))?;
    }
    Ok(scanner.finish())
}

/// Why recovery refuses the log; `None` if it does not.
pub(super) fn refusal(files: &Files, superblock: &Superblock) -> Result<Option<String>, OpenError> {
    if superblock.segments.is_empty() {
        return Ok(None);
    }
    match read_through(Arc::clone(&files.storage), superblock) {
        Ok(_) => Ok(None),
        Err(OpenError::Corrupt { file, offset, lsn, rule, reason }) => {
            Ok(Some(format!("{file}: offset {offset} (LSN {lsn}): {rule}: {reason}")))
        }
        Err(OpenError::Io { file, operation, source }) if source.kind() != std::io::ErrorKind::PermissionDenied => {
            Ok(Some(format!("{file}: {operation} failed: {source}")))
        }
        Err(error) => Err(error),
    }
}

/// The position of the last record of a group; `None` if the records do not fill it, or a slice cannot be read.
fn last_of(bytes: &[u8], info: &GroupInfo) -> Option<Position> {
    let read = group::records(bytes, info, &mut |RecordInGroup { kind, payload, .. }| match kind {
        RecordKind::TableSlice => slice::parse(payload, &mut |_| ()).ok_or(()),
        RecordKind::Owner
        | RecordKind::OwnerAgain
        | RecordKind::CheckpointBegin
        | RecordKind::CheckpointEnd
        | RecordKind::Resumed => Ok(()),
    });
    read.and_then(Result::ok)
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
    cut: Lsn,
    accepts: Accepts<'_>,
) -> Result<Sound, OpenError> {
    let checkpoint = superblock.checkpoint;
    let checkpoint_end = checkpoint.begin.0 + checkpoint.size;
    let mut least = (checkpoint_end == 0).then_some(checkpoint.group);
    let start = (checkpoint.group, checkpoint.chain);
    let mut all = Part { end: start.0, chain: start.1, last: Position::UNKNOWN, groups: 0, records: 0 };
    let (mut before, mut accepted, mut damage) = (all, Accepted::default(), None);
    let mut history = History::from(superblock);
    let mut walk = Walk::from_group(files, checkpoint.group, checkpoint.chain)?;
    while let Some(step) = walk.next()? {
        match step {
            Walked::Group(info) => {
                let last = last_of(walk.bytes(&info), &info);
                let Some(last) = last else {
                    damage = Some(contradiction(&walk, &info));
                    break;
                };
                if let Err(reason) = history.take(&info, last) {
                    let cause = Cause::Rule(Rule::HistoryContradicts);
                    damage = Some(Skipped { cause, reason, ..contradiction(&walk, &info) });
                    break;
                }
                all.add(&info, last);
                least = least.or_else(|| (all.end.0 >= checkpoint_end).then_some(all.end));
                if all.end <= cut {
                    before = all;
                }
                accepted_in(walk.bytes(&info), &info, checkpoint.begin, accepts, &mut accepted);
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

/// Takes what records of a group accept, without those before the checkpoint, which are not replayed.
fn accepted_in(bytes: &[u8], info: &GroupInfo, begin: Lsn, accepts: Accepts<'_>, accepted: &mut Accepted) {
    let read = group::records::<()>(bytes, info, &mut |RecordInGroup { offset, kind, payload, .. }| {
        let at = Lsn(info.lsn.0 + offset as u64);
        if kind.is_owners()
            && at >= begin
            && let Some(until) = accepts(payload)
        {
            *accepted = Accepted { until: accepted.until.max(until), at };
        }
        Ok(())
    });
    assert!(matches!(read, Some(Ok(_))), "the group is whole");
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

/// Reads what is dropped, as far as it can be read. The last index that it says to have been given out is returned too.
pub(super) fn collect_lost(
    files: Files,
    kept: Part,
    plan: &mut Plan,
    lost: &mut dyn FnMut(DumpItem),
) -> Result<(Files, Index), OpenError> {
    let mut walk = Walk::from_group(files, kept.end, kept.chain)?;
    let (mut items, mut last) = (VecDeque::new(), kept.last.index);
    while let Some(step) = walk.next()? {
        match step {
            Walked::Group(info) => {
                plan.groups_lost += 1;
                plan.records_lost += u64::from(info.records);
                plan.durable = plan.durable.max(info.end());
                let stated = last_of(walk.bytes(&info), &info).unwrap_or(info.before);
                last = last.max(stated.index).max(Index(info.before.index.0.saturating_add(info.records.into())));
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
    Ok((walk.files, last))
}
