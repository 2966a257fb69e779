//! Opening an existing log: replay from the checkpoint, then make the next incarnation durable.
//!
//! Invariant: nothing is written before the whole log was read and found good. Not here: how groups are found (`scan`).

use std::sync::Arc;

use bytes::Bytes;
use planted::planted;
use seam::{Logged, Position};

use crate::error::OpenError;
use crate::group::{self, GroupInfo, RecordInGroup, RecordKind};
use crate::lsn::Lsn;
use crate::options::Owner;
use crate::scan::{Scanner, Tail};
use crate::storage::Storage;
use crate::superblock::Superblock;
use crate::table::Table;
use crate::verdict::Rule;

/// Bytes at the log's end that nothing in the log says to have been acknowledged, and that are cut off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The file.
    pub file: String,
    /// Where in the file they start, in bytes.
    pub offset: u64,
    /// Where they start.
    pub from: Lsn,
    /// The position just past what they claim to be, or past their first block.
    pub to: Lsn,
    /// The row of the decision table.
    pub rule: Rule,
    /// Why they are not valid.
    pub reason: String,
}

/// What opening a log found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveryReport {
    /// Random number that names the log.
    pub log_id: u64,
    /// Drawn at random at this opening; not 0.
    pub opening_id: u64,
    /// Whose log it is.
    pub owner: Owner,
    /// The log did not exist before.
    pub created: bool,
    /// The log was closed cleanly before.
    pub clean: bool,
    /// How often the log was opened, this time included.
    pub incarnation: u64,
    /// What the superblock's two copies came to.
    pub superblock: Rule,
    /// Where replay started.
    pub from: Lsn,
    /// Where the log ends, and new groups go.
    pub tail: Lsn,
    /// Why it ends there.
    pub ended_by: Rule,
    /// The largest position that anything in the log stated to be durable.
    pub durable: Lsn,
    /// What stated it.
    pub durable_by: String,
    /// Segments read.
    pub segments: u64,
    /// Groups read.
    pub groups: u64,
    /// Owner records handed out.
    pub records: u64,
    /// Bytes of log read from `from` to `tail`.
    pub bytes: u64,
    /// What was cut off.
    pub cuts: Vec<Cut>,
    /// Groups bypass the page cache.
    pub direct: bool,
}

impl RecoveryReport {
    /// The report of a log that was found, before anything was read.
    pub(crate) fn new(superblock: &Superblock, rule: Rule, direct: bool) -> RecoveryReport {
        RecoveryReport {
            log_id: superblock.log_id,
            opening_id: 0,
            owner: superblock.owner,
            created: rule == Rule::NewLog,
            clean: superblock.clean && rule != Rule::NewLog,
            incarnation: superblock.incarnation,
            superblock: rule,
            from: superblock.checkpoint.group,
            tail: superblock.checkpoint.group,
            ended_by: Rule::EndOfLog,
            durable: superblock.durable,
            durable_by: String::new(),
            segments: 0,
            groups: 0,
            records: 0,
            bytes: 0,
            cuts: Vec::new(),
            direct,
        }
    }
}

/// Checks that the groups of a log agree on the positions of the records before them.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct History {
    /// After the last group, if it is known.
    last: Option<Position>,
}

impl History {
    /// Of a log that is read from its first group on, which no record stands before.
    pub(crate) fn at_birth() -> History {
        History { last: Some(Position::UNKNOWN) }
    }

    /// Of a log that is read from this checkpoint on.
    pub(crate) fn from(superblock: &Superblock) -> History {
        if superblock.checkpoint.begin == Lsn::ZERO { History::at_birth() } else { History::default() }
    }

    /// Takes the next group, whose last record with a position is at `last`; why not, if it contradicts the one before.
    pub(crate) fn take(&mut self, info: &GroupInfo, last: Position) -> Result<(), String> {
        let before = self.last.replace(last);
        match before.filter(|before| *before != info.before) {
            None => Ok(()),
            Some(before) => Err(format!(
                "the group says that it follows the record at position {}, and the log before it ends with the one at {before}",
                info.before
            )),
        }
    }

    /// The position of the last record.
    pub(crate) fn last(&self) -> Position {
        self.last.unwrap_or_default()
    }
}

/// Hands out all records from the checkpoint to the tail. Returns the position of the last one, too.
pub(crate) fn replay(
    storage: &Arc<dyn Storage>,
    superblock: &Superblock,
    table: &Table,
    owner: &mut dyn FnMut(Logged, Bytes),
    report: &mut RecoveryReport,
) -> Result<(Tail, Position), OpenError> {
    let mut scanner = Scanner::new(Arc::clone(storage), superblock.clone())?;
    let mut records = 0;
    let mut history = History::from(superblock);
    let mut earlier: Option<(Logged, Bytes)> = None;
    while let Some(info) = scanner.next_group()? {
        report.groups += 1;
        report.bytes += info.padded_bytes();
        let group = scanner.bytes(&info);
        let mut take = |RecordInGroup { offset, kind, position, payload }: RecordInGroup<'_>| {
            let lsn = Lsn(info.lsn.0 + offset as u64);
            if lsn < superblock.checkpoint.begin {
                return Ok(());
            }
            match kind {
                RecordKind::Owner | RecordKind::OwnerAgain => {
                    records += 1;
                    let (at, payload) = (Logged { position, place: lsn.into() }, Bytes::copy_from_slice(payload));
                    owner(at, payload.clone());
                    if planted!("record-replayed-twice")
                        && let Some((at, payload)) = earlier.replace((at, payload))
                    {
                        owner(at, payload);
                    }
                    Ok(())
                }
                RecordKind::TableSlice => table.load(lsn, payload).ok_or(lsn),
                // The superblock says which checkpoint holds; another one in the log is unfinished or its superblock
                // was not written, and its slices repeat what the table holds already.
                RecordKind::CheckpointBegin | RecordKind::CheckpointEnd | RecordKind::Resumed => Ok(()),
            }
        };
        match group::records(group, &info, &mut take) {
            Some(Ok(last)) => {
                let taken = history.take(&info, last);
                taken.map_err(|reason| scanner.corrupt(info.lsn, Rule::HistoryContradicts, reason))?;
            }
            Some(Err(lsn)) => {
                let reason = "the table slice cannot be read".to_owned();
                return Err(scanner.corrupt(lsn, Rule::RecordsContradict, reason));
            }
            None => {
                let reason = "the group's records contradict its header".to_owned();
                return Err(scanner.corrupt(info.lsn, Rule::RecordsContradict, reason));
            }
        }
    }
    report.records = records;
    let tail = scanner.finish();
    report.tail = tail.lsn;
    report.ended_by = tail.ended_by;
    report.durable = tail.durable;
    report.durable_by.clone_from(&tail.durable_by);
    report.segments = tail.segments;
    report.cuts.clone_from(&tail.cuts);
    if let Some(index) = table.missing_segment() {
        return Err(OpenError::Corrupt {
            file: storage.superblock_name(),
            offset: 0,
            lsn: Lsn(index * superblock.segment_bytes),
            rule: Rule::SegmentUnlisted,
            reason: format!("values live in segment {index}, which is not listed"),
        });
    }
    Ok((tail, history.last()))
}
