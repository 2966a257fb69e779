//! The steps of an open: find or create the superblock, replay, and make the next incarnation durable.
//!
//! Invariant: every step can be cut off by a crash and done again. Not here: reading groups (`scan`, `recovery`).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use planted::planted;
use seam::Logged;

use crate::error::OpenError;
use crate::ledger::Ledger;
use crate::limits::{BLOCK_BYTES, SEGMENTS_MAX, SEGMENTS_MIN, SPARE_SEGMENTS_MAX, SUPERBLOCK_BYTES};
use crate::log::{Identity, Log};
use crate::lsn::Lsn;
use crate::options::{Options, segment_bytes_valid};
use crate::recovery::{Cut, RecoveryReport, replay};
use crate::segments::Segments;
use crate::storage::Storage;
use crate::superblock::{self, Anchor, Chosen, Superblock};
use crate::table::Table;
use crate::verdict::Rule;

/// A log that was opened.
pub(crate) struct Opened {
    pub(crate) log: Log,
    pub(crate) ledger: Ledger,
    pub(crate) segments: Segments,
    pub(crate) report: RecoveryReport,
    /// Files that the log does not use and does not want to keep.
    pub(crate) surplus: Vec<u32>,
}

/// Opens or creates the log.
pub(crate) fn open(
    options: &Options,
    storage: &Arc<dyn Storage>,
    table: &Table,
    owner: &mut dyn FnMut(Logged, Bytes),
) -> Result<Opened, OpenError> {
    if !segment_bytes_valid(options.segment_bytes) {
        let bytes = options.segment_bytes;
        return Err(OpenError::BadOptions(format!(
            "segment_bytes {bytes} is not a multiple of 4096 within the limits"
        )));
    }
    if !(SEGMENTS_MIN..=SEGMENTS_MAX).contains(&options.segments_max) {
        let segments = options.segments_max;
        return Err(OpenError::BadOptions(format!("a log of at most {segments} segments is not within the limits")));
    }
    let disk = storage.as_ref();
    let Chosen { mut superblock, mut write_first, rule } = find_or_create(options, disk)?;
    if superblock.owner != options.owner {
        return Err(OpenError::WrongOwner { found: superblock.owner, expected: options.owner });
    }
    let listed = superblock.segments.len();
    if listed > options.segments_max {
        let most = options.segments_max;
        return Err(OpenError::BadOptions(format!(
            "the log has {listed} segments already, and may have at most {most}: allow it at least {listed}"
        )));
    }
    let mut report = RecoveryReport::new(&superblock, rule, disk.is_direct());
    if superblock.segments.is_empty() {
        // Nothing was ever written: a start ended before its first segment, and the size that it was told binds nobody.
        superblock.segment_bytes = options.segment_bytes;
        add_first_segment(disk, &mut superblock, &mut write_first)?;
    }
    table.attach(Arc::clone(storage), superblock.segment_bytes, superblock.segments.clone());
    table.set_floor(superblock.checkpoint.begin);
    let (tail, last) = replay(storage, &superblock, table, owner, &mut report)?;
    table.set_durable(tail.lsn);

    // What was read may not be durable yet; it is handed out, so it must be.
    let tail_index = tail.lsn.segment(superblock.segment_bytes);
    for (_, &slot) in superblock.segments.range(tail_index.saturating_sub(1)..=tail_index) {
        disk.segment_sync(slot).map_err(|source| io_error(disk.segment_name(slot), "syncing the tail", source))?;
    }
    superblock.incarnation += u64::from(!planted!("opening-uncounted"));
    superblock.opened = tail.lsn;
    superblock.durable = tail.lsn;
    superblock.clean = false;
    write_both(disk, &mut superblock, &mut write_first)?;

    report.incarnation = superblock.incarnation;
    report.opening_id = disk.random_u64().max(1);
    for Cut { file, offset, from, to, reason, .. } in &report.cuts {
        tracing::warn!(
            file,
            offset,
            from = from.0,
            to = to.0,
            reason,
            "a torn tail was cut: nothing in the log says that it was acknowledged"
        );
    }
    let identity = Identity {
        log_id: superblock.log_id,
        incarnation: superblock.incarnation,
        segment_bytes: superblock.segment_bytes,
    };
    let (spares, surplus, fresh_slot) = unlisted(disk, &superblock)?;
    let ready_through = superblock.segments.keys().next_back().copied().unwrap_or(0);
    Ok(Opened {
        log: Log::new(identity, tail.lsn, tail.chain, last),
        segments: Segments::new(superblock.segment_bytes, options.segments_max, ready_through, spares, fresh_slot),
        ledger: Ledger::new(superblock, write_first),
        report,
        surplus,
    })
}

fn io_error(file: String, operation: &'static str, source: io::Error) -> OpenError {
    OpenError::io(file, operation, source)
}

/// Reads the superblock, or creates one that lists no segment yet.
fn find_or_create(options: &Options, disk: &dyn Storage) -> Result<Chosen, OpenError> {
    let name = disk.superblock_name();
    let read = disk.superblock_read().map_err(|source| io_error(name.clone(), "reading the superblock", source))?;
    let segments_exist = read.is_none() && !list(disk)?.is_empty();
    if let Some(chosen) = superblock::choose(read.as_deref(), &name, segments_exist)? {
        return Ok(chosen);
    }
    let start = Lsn(BLOCK_BYTES as u64);
    let log_id = disk.random_u64();
    let superblock = Superblock {
        log_id,
        sequence: 1,
        incarnation: 0,
        opened: start,
        owner: options.owner,
        clean: false,
        segment_bytes: options.segment_bytes,
        checkpoint: Anchor { group: start, begin: Lsn::ZERO, chain: log_id, size: 0 },
        durable: start,
        segments: BTreeMap::new(),
    };
    let copy = superblock.emit();
    assert_eq!(copy.len(), SUPERBLOCK_BYTES);
    let created = disk.superblock_create(&[copy.as_slice(), copy.as_slice()].concat());
    created.map_err(|source| io_error(name, "creating the superblock", source))?;
    Ok(Chosen { superblock, write_first: 0, rule: Rule::NewLog })
}

/// Makes the first segment of a log that was just created, or whose creation was cut off here.
fn add_first_segment(
    disk: &dyn Storage,
    superblock: &mut Superblock,
    write_first: &mut usize,
) -> Result<(), OpenError> {
    if list(disk)?.get(&0).is_some_and(|bytes| *bytes != superblock.segment_bytes) {
        let deleted = disk.segment_delete(0);
        deleted.map_err(|source| io_error(disk.segment_name(0), "deleting a segment of another size", source))?;
    }
    let created = disk.segment_create(0, superblock.segment_bytes);
    created.map_err(|source| io_error(disk.segment_name(0), "creating a segment", source))?;
    superblock.segments.insert(0, 0);
    write_both(disk, superblock, write_first)
}

/// Writes both copies, first the one that may not hold the last state.
fn write_both(disk: &dyn Storage, superblock: &mut Superblock, write_first: &mut usize) -> Result<(), OpenError> {
    superblock.sequence += 1;
    let bytes = superblock.emit();
    for copy in [*write_first, 1 - *write_first] {
        let written = disk.superblock_write(copy, &bytes);
        written.map_err(|source| io_error(disk.superblock_name(), "writing the superblock", source))?;
    }
    *write_first = 0;
    Ok(())
}

fn list(disk: &dyn Storage) -> Result<BTreeMap<u32, u64>, OpenError> {
    disk.segments().map_err(|source| io_error(disk.superblock_name(), "listing the segment files", source))
}

/// Files that the superblock does not list: spares, surplus, and the first slot number that no file has.
fn unlisted(disk: &dyn Storage, superblock: &Superblock) -> Result<(Vec<u32>, Vec<u32>, u32), OpenError> {
    let files = list(disk)?;
    let fresh_slot = files.keys().next_back().map_or(0, |slot| slot + 1);
    let (mut spares, mut surplus) = (Vec::new(), Vec::new());
    for (&slot, &bytes) in &files {
        if superblock.segments.values().any(|&listed| listed == slot) {
            continue;
        }
        if bytes == superblock.segment_bytes && spares.len() < SPARE_SEGMENTS_MAX {
            spares.push(slot);
        } else {
            surplus.push(slot);
        }
    }
    Ok((spares, surplus, fresh_slot))
}
