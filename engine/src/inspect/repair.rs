//! Cuts a damaged log back to a point up to which it is sound, so that it opens again. What is lost is accepted by whoever
//! asks, listed, and kept in a backup. Of a sound log nothing is cut off: what is accepted then is a loss that others know of.
//!
//! Invariants: at every moment the directory holds the damaged log or the repaired one. So evidence is destroyed only when
//! the superblock itself states it: first both copies of the superblock name as durable what the lost groups proved, then
//! the tail is overwritten, and last the superblock of the repaired log is written. A repaired log gives out no LSN and no
//! index a second time: it goes on in a segment past every one that the lost part can have had, which begins with a record
//! that names the last index that it can have had, and with one of the owner.
//!
//! Not here: the report of what was lost in the owner's terms (the caller writes it, [`Repair::apply`] stores it).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seam::{Index, Position};

use super::dump::DumpItem;
use super::files::{BLOCK, Files};
use super::plan::{
    Accepts, Part, Plan, RepairError, Sound, check_older, check_position, collect_lost, lost_ranges, measure, newest,
    read_through, refusal, said,
};
use super::surgery::{self, SurgeryError};
use crate::group::{self, Emit, GroupKind, HEADER_BYTES, RECORD_HEAD_BYTES, RecordKind};
use crate::limits::{BLOCK_BYTES, SEGMENTS_MAX};
use crate::lsn::Lsn;
use crate::options::Owner;
use crate::ring::DirStorage;
use crate::segment::SegmentHeader;
use crate::storage::Storage;
use crate::superblock::Superblock;

/// One step of a repair, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Copies the directory.
    Backup,
    /// Stores the caller's report.
    Report,
    /// States in a copy of the superblock what was durable: the one that does not hold.
    StateEvidence,
    /// States it in the other copy.
    StateEvidenceAgain,
    /// Makes the segment in which the log goes on: its header names the cut, and the first records follow.
    NewSegment,
    /// Overwrites the dropped part of the last kept segment with zeros.
    ZeroTail,
    /// Writes the superblock of the repaired log to one copy.
    Superblock,
    /// Writes it to the other copy.
    SuperblockAgain,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Step; 8] = [
        Step::Backup,
        Step::Report,
        Step::StateEvidence,
        Step::StateEvidenceAgain,
        Step::NewSegment,
        Step::ZeroTail,
        Step::Superblock,
        Step::SuperblockAgain,
    ];
}

/// Indices from here on are not taken for ones that a log was told of.
const ACCEPTED_MAX: Index = Index(1 << 56);

/// Which loss is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accept {
    /// Of a damaged log: everything from this LSN on.
    After(Lsn),
    /// Of a sound log: what others have heard of and it does not hold, up to this index.
    Until(Index),
}

/// A repair that was planned. Holds the directory's lock.
pub struct Repair {
    dir: PathBuf,
    storage: Arc<DirStorage>,
    plan: Plan,
    /// The damaged log's, with what was durable stated; and the repaired log's.
    evidence: Superblock,
    repaired: Superblock,
    write_first: usize,
    new_slot: u32,
    /// The chain value at the cut, and the position of the last record before it.
    chain: u64,
    last: Position,
    /// The new segment's header and first records.
    new_blocks: Vec<u8>,
    /// Kept segments whose files get the right size again.
    resized: Vec<u32>,
    tail_slot: u32,
    /// From where on the last kept segment is overwritten.
    zero_from: u64,
}

impl Repair {
    /// Finds out what would be kept and lost if this loss is accepted. Every item that would be lost and can be read is given
    /// to `lost`; `accepts` reads the owner's records. Of a sound log all is kept: the owner learns that the loss is accepted
    /// by the record of [`Repair::begin_with`]. `None` if the log is sound and says already that this loss was accepted.
    ///
    /// # Errors
    /// It is not possible, or not there: see [`RepairError`].
    pub fn plan(
        dir: &Path,
        accept: Accept,
        accepts: Accepts<'_>,
        lost: &mut dyn FnMut(DumpItem),
    ) -> Result<Option<Repair>, RepairError> {
        let storage = Arc::new(DirStorage::open_offline(dir, true)?);
        let files = Files::read(storage.clone())?;
        let superblock = match &files.superblock {
            Ok(superblock) => superblock.clone(),
            Err(error) => return Err(RepairError::NoSuperblock(error.to_string())),
        };
        if superblock.segments.is_empty() {
            return Err(RepairError::NotBegun);
        }
        let refused = refusal(&files, &superblock)?;
        check_older(&files, &superblock)?;
        let cut = match accept {
            Accept::After(lsn) => lsn,
            Accept::Until(_) => Lsn(u64::MAX),
        };
        let sound = measure(files, &superblock, cut, accepts)?;
        let damage = refused.map(|refused| sound.damage.as_ref().map_or(refused, said));
        match (&damage, accept) {
            (Some(damage), Accept::After(asked)) => check_position(&sound, &superblock, asked, damage)?,
            (Some(damage), Accept::Until(_)) => {
                let possible = sound.all.end;
                check_position(&sound, &superblock, possible, damage)?;
                return Err(RepairError::Damaged { possible, place: damage.clone() });
            }
            (None, Accept::After(asked)) if asked < sound.accepted.at => return Ok(None),
            (None, Accept::After(_)) => return Err(RepairError::Sound { end: sound.all.end }),
            (None, Accept::Until(asked)) if asked < sound.accepted.until => return Ok(None),
            (None, Accept::Until(asked)) if asked >= ACCEPTED_MAX => {
                return Err(RepairError::NoSuchIndex { asked, last: sound.all.last.index });
            }
            (None, Accept::Until(_)) => {}
        }
        Repair::prepare(dir, storage, &superblock, accept, sound, damage, lost).map(Some)
    }

    fn prepare(
        dir: &Path,
        storage: Arc<DirStorage>,
        superblock: &Superblock,
        accept: Accept,
        sound: Sound,
        damage: Option<String>,
        lost: &mut dyn FnMut(DumpItem),
    ) -> Result<Repair, RepairError> {
        let Sound { files, all, before, .. } = sound;
        let kept = if damage.is_some() { before } else { all };
        let Part { end: keep_to, chain, last, groups, records } = kept;
        let (segment_bytes, write_first) = (files.segment_bytes, files.write_first);
        let (last_index, last_incarnation) = newest(&files, superblock);
        let tail = Lsn(keep_to.0 - 1).segment(segment_bytes);
        let mut plan = Plan {
            checkpoint: superblock.checkpoint.group,
            keep_to,
            possible: all.end,
            damage,
            groups_kept: groups,
            records_kept: records,
            lost: Vec::new(),
            groups_lost: 0,
            records_lost: 0,
            unreadable: Vec::new(),
            durable: superblock.durable,
            incarnation: last_incarnation + 1,
            goes_on_at: Lsn::ZERO,
            goes_on_with: Index::ZERO,
            new_file: String::new(),
        };
        let (files, last_stated) = collect_lost(files, kept, &mut plan, lost)?;
        plan.lost = lost_ranges(&files, tail, keep_to, plan.durable)?;
        let sizes = &files.sizes;
        let new_index = last_index.max(plan.durable.max(all.end).segment(segment_bytes)) + 1;
        let new_slot = sizes.keys().next_back().map_or(0, |slot| slot + 1);
        let opened = Lsn(new_index * segment_bytes + BLOCK);
        plan.goes_on_at = Lsn(opened.0 + BLOCK);
        let asked = match accept {
            Accept::After(_) => Index::ZERO,
            Accept::Until(index) => index,
        };
        let possible = Index(last.index.0 + (opened.0 - keep_to.0) / RECORD_HEAD_BYTES as u64);
        plan.goes_on_with = Index(possible.max(last_stated).max(asked).0 + 1);
        plan.new_file = storage.segment_name(new_slot);

        let evidence =
            Superblock { sequence: superblock.sequence + 1, durable: plan.durable, clean: false, ..superblock.clone() };
        let mut segments: BTreeMap<u64, u32> =
            superblock.segments.range(..=tail).map(|(&k, &slot)| (k, slot)).collect();
        let from = superblock.checkpoint.group.segment(segment_bytes);
        let is_resized = |slot: &&u32| sizes.get(slot) != Some(&segment_bytes);
        let resized = segments.range(from..).map(|(_, slot)| slot).filter(is_resized).copied().collect();
        let tail_slot = segments[&tail];
        segments.insert(new_index, new_slot);
        if segments.len() > SEGMENTS_MAX {
            return Err(RepairError::NoRoom);
        }
        let repaired = Superblock {
            sequence: superblock.sequence + 2,
            incarnation: plan.incarnation,
            opened,
            clean: false,
            durable: plan.goes_on_at,
            segments,
            ..superblock.clone()
        };
        let zero_from = keep_to.0 - tail * segment_bytes;
        let dir = dir.to_owned();
        let mut repair = Repair {
            dir,
            storage,
            plan,
            evidence,
            repaired,
            write_first,
            new_slot,
            chain,
            last,
            new_blocks: Vec::new(),
            resized,
            tail_slot,
            zero_from,
        };
        repair.new_blocks = repair.first_blocks(None);
        Ok(repair)
    }

    /// Whose log it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.repaired.owner
    }

    /// Lets the repaired log begin, where it goes on, with a record of its owner.
    ///
    /// # Panics
    /// The record does not fit into a block with its head.
    pub fn begin_with(&mut self, payload: &[u8]) {
        self.new_blocks = self.first_blocks(Some(payload));
    }

    /// The header of the segment in which the log goes on, which names the cut, and its first group.
    fn first_blocks(&self, payload: Option<&[u8]>) -> Vec<u8> {
        let Superblock { log_id, incarnation, opened: lsn, segment_bytes, .. } = self.repaired;
        let (index, final_lsn, chain) = (lsn.segment(segment_bytes), self.plan.keep_to, self.chain);
        let mut header = vec![0; BLOCK_BYTES];
        SegmentHeader { log_id, index, incarnation, final_lsn, chain }.emit(&mut header);
        let mut group = vec![0; HEADER_BYTES];
        let last = (self.plan.goes_on_with.0 - 1).to_le_bytes();
        let first = [(RecordKind::Resumed, &last[..])].into_iter();
        let mut records = 0;
        for (kind, payload) in first.chain(payload.map(|payload| (RecordKind::Owner, payload))) {
            let at = group.len();
            group::begin_record(&mut group, kind);
            group.extend_from_slice(payload);
            group::end_record(&mut group, at);
            records += 1;
        }
        assert!(group.len() <= BLOCK_BYTES, "a first record of {} bytes", group.len());
        let length = (group.len() - HEADER_BYTES) as u32;
        group.resize(BLOCK_BYTES, 0);
        let (kind, before) = (GroupKind::Data, self.last);
        let fields = Emit { log_id, lsn, incarnation, length, records, chain, durable: final_lsn, kind, before };
        group::emit(&mut group, &fields);
        [header, group].concat()
    }

    /// What it keeps and what it drops.
    #[must_use]
    pub fn plan_made(&self) -> &Plan {
        &self.plan
    }

    /// Does it: copies the directory to `backup`, stores `report` under `report_name` in the directory, and repairs.
    /// `done` is told of each step. A repair that was cut off is begun anew.
    ///
    /// # Errors
    /// A step failed; the log is as damaged as before, or repaired.
    pub fn apply(
        &self,
        backup: &Path,
        report_name: &str,
        report: &[u8],
        done: &mut dyn FnMut(Step),
    ) -> Result<(), RepairError> {
        for step in Step::ALL {
            self.apply_step(step, backup, report_name, report)?;
            done(step);
        }
        let not_as_planned = |reason: String| RepairError::NotAsPlanned(reason, backup.display().to_string());
        let files = Files::read(self.storage.clone())?;
        let superblock = files.superblock.map_err(|error| not_as_planned(error.to_string()))?;
        let tail = read_through(files.storage, &superblock).map_err(|error| not_as_planned(error.to_string()))?;
        if tail.lsn == self.plan.goes_on_at && tail.cuts.is_empty() {
            Ok(())
        } else {
            Err(not_as_planned(format!("it ends at LSN {}, not at {}", tail.lsn, self.plan.goes_on_at)))
        }
    }

    /// Does one step, after all before it; for those who test what a crash between them leaves.
    ///
    /// # Errors
    /// It failed.
    pub fn apply_step(&self, step: Step, backup: &Path, report_name: &str, report: &[u8]) -> Result<(), RepairError> {
        let segment_bytes = self.repaired.segment_bytes;
        match step {
            Step::Backup => surgery::copy_directory(&self.dir, backup)?,
            Step::Report => surgery::store(&self.dir, report_name, report)?,
            Step::StateEvidence => self.write_superblock(self.write_first, &self.evidence)?,
            Step::StateEvidenceAgain => self.write_superblock(1 - self.write_first, &self.evidence)?,
            Step::NewSegment => {
                self.storage.segment_create(self.new_slot, segment_bytes).map_err(|source| SurgeryError {
                    file: self.plan.new_file.clone(),
                    operation: "creating the segment",
                    source,
                })?;
                surgery::write(Path::new(&self.plan.new_file), 0, &self.new_blocks)?;
            }
            Step::ZeroTail => {
                for &slot in &self.resized {
                    surgery::resize(&self.storage.segment_name(slot), segment_bytes)?;
                }
                surgery::zero(&self.storage.segment_name(self.tail_slot), self.zero_from..segment_bytes)?;
            }
            Step::Superblock => self.write_superblock(self.write_first, &self.repaired)?,
            Step::SuperblockAgain => self.write_superblock(1 - self.write_first, &self.repaired)?,
        }
        Ok(())
    }

    fn write_superblock(&self, copy: usize, superblock: &Superblock) -> Result<(), SurgeryError> {
        self.storage.superblock_write(copy, &superblock.emit()).map_err(|source| SurgeryError {
            file: self.storage.superblock_name(),
            operation: "writing the superblock",
            source,
        })
    }
}
