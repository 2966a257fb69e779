//! Opening an existing log: replay from the checkpoint, then make the next incarnation durable.
//!
//! Invariant: nothing is written before the whole log was read and found good. Not here: how groups are found (`scan`).

use std::sync::Arc;

use bytes::Bytes;

use crate::error::OpenError;
use crate::group::{self, RecordKind};
use crate::lsn::Lsn;
use crate::scan::{Scanner, Tail};
use crate::storage::Storage;
use crate::superblock::Superblock;
use crate::table::Table;

/// A group at the log's end that was never acknowledged and is cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// Where it starts.
    pub from: Lsn,
    /// The position just past what it claims to be, or past its first block.
    pub to: Lsn,
    /// Why it is not valid.
    pub reason: String,
}

/// What opening a log found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    /// The log did not exist before.
    pub created: bool,
    /// The log was closed cleanly before.
    pub clean: bool,
    /// How often the log was opened, this time included.
    pub incarnation: u64,
    /// Where replay started.
    pub from: Lsn,
    /// Where the log ends, and new groups go.
    pub tail: Lsn,
    /// Groups read.
    pub groups: u64,
    /// Owner records handed out.
    pub records: u64,
    /// Bytes of log read from `from` to `tail`.
    pub bytes: u64,
    /// A group that was cut.
    pub torn: Option<TornTail>,
    /// One copy of the superblock was damaged or torn; the other held, and both are written anew.
    pub superblock_copy_damaged: bool,
    /// Groups bypass the page cache.
    pub direct: bool,
}

/// Hands out all records from the checkpoint to the tail.
pub(crate) fn replay(
    storage: &Arc<dyn Storage>,
    superblock: &Superblock,
    table: &Table,
    owner: &mut dyn FnMut(Lsn, Bytes),
    report: &mut RecoveryReport,
) -> Result<Tail, OpenError> {
    let mut scanner = Scanner::new(Arc::clone(storage), superblock.clone())?;
    let mut records = 0;
    while let Some(info) = scanner.next_group()? {
        report.groups += 1;
        report.bytes += info.padded_bytes();
        let mut take = |offset: usize, kind: RecordKind, payload: &[u8]| {
            let lsn = Lsn(info.lsn.0 + offset as u64);
            if lsn < superblock.checkpoint.begin {
                return Ok(());
            }
            match kind {
                RecordKind::Owner => {
                    records += 1;
                    owner(lsn, Bytes::copy_from_slice(payload));
                    Ok(())
                }
                RecordKind::TableSlice => table.load(lsn, payload).ok_or(lsn),
                // The superblock says which checkpoint holds; another one in the log is unfinished or its superblock
                // was not written, and its slices repeat what the table holds already.
                RecordKind::CheckpointBegin | RecordKind::CheckpointEnd => Ok(()),
            }
        };
        match group::records(scanner.bytes(&info), &info, &mut take) {
            Some(Ok(())) => {}
            Some(Err(lsn)) => return Err(scanner.corrupt(lsn, "the table slice cannot be read".to_owned())),
            None => return Err(scanner.corrupt(info.lsn, "the group's records contradict its header".to_owned())),
        }
    }
    report.records = records;
    let tail = scanner.finish();
    if let Some(index) = table.missing_segment() {
        return Err(OpenError::Corrupt {
            file: storage.superblock_name(),
            offset: 0,
            lsn: Lsn(index * superblock.segment_bytes),
            reason: format!("values live in segment {index}, which is not listed"),
        });
    }
    Ok(tail)
}
