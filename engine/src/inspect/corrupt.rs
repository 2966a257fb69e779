//! Damages a log on purpose, in one stated way, for people who test recovery. The same seed on the same directory does the
//! same.
//!
//! Invariants: the directory is locked meanwhile; what is reported is all that was changed; a target that was not given lies
//! in groups that are known to be durable and are replayed, so that recovery must refuse the log.
//! Not here: finding it again (`verify`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::Files;
use super::surgery::{self, SurgeryError};
use super::walk::{Step, Walk};
use crate::error::OpenError;
use crate::limits::{SECTOR_BYTES, TEAR_SECTORS_MAX};
use crate::lsn::Lsn;
use crate::ring::DirStorage;
use crate::storage::Storage;

const SECTOR: u64 = SECTOR_BYTES as u64;

/// How often a place that a kind can use is drawn before none is believed to exist.
const DRAWS_MAX: usize = 10_000;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Flips one bit.
    Bit,
    /// Overwrites one sector with zeros.
    Zero,
    /// Overwrites some sectors of a group with zeros, as a torn write leaves them.
    Tear,
    /// Exchanges two sectors of a file.
    Swap,
    /// Cuts a file off.
    Truncate,
    /// Removes a segment file.
    DeleteSegment,
    /// Gives a segment file the content of an older one.
    StaleSegment,
}

/// Where. What is not given is drawn.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Target {
    /// Name of a file in the directory.
    pub file: Option<String>,
    /// Offset in that file, in bytes; for `Truncate` its new size.
    pub at: Option<u64>,
}

/// Bytes that were changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where in the file, in bytes.
    pub offset: u64,
    /// Where in the log; none in the superblock or in a file that is not listed.
    pub lsn: Option<Lsn>,
    /// What stood there.
    pub before: Vec<u8>,
    /// What stands there now.
    pub after: Vec<u8>,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Corruption {
    /// Which kind.
    pub kind: Kind,
    /// The file.
    pub file: String,
    /// Its segment; none for the superblock or a file that is not listed.
    pub segment: Option<u64>,
    /// Where in the log the damage begins; none where that cannot be said.
    pub lsn: Option<Lsn>,
    /// Every changed range, if bytes were changed in place.
    pub changes: Vec<Change>,
    /// Size of the file before and after, if that changed; none after for a removed file.
    pub size: Option<(u64, Option<u64>)>,
    /// The older file whose content it has now.
    pub copied_from: Option<String>,
}

/// Why nothing was damaged.
#[derive(Debug, thiserror::Error)]
pub enum CorruptError {
    /// The directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file could not be changed.
    #[error(transparent)]
    Surgery(#[from] SurgeryError),
    /// The file is not one of the directory's.
    #[error("{0}: this directory has no such superblock or segment file")]
    NoSuchFile(String),
    /// The kind does not fit the file.
    #[error("{file}: {reason}")]
    DoesNotFit {
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
    /// There is nothing that this kind can damage.
    #[error("{dir}: {reason}")]
    Nothing {
        /// The directory.
        dir: String,
        /// Why not.
        reason: String,
    },
}

/// Damages the log in `dir`.
///
/// # Errors
/// Nothing was changed, unless a write failed half way.
pub fn corrupt(dir: &Path, seed: u64, kind: Kind, target: &Target) -> Result<Corruption, CorruptError> {
    let storage: Arc<dyn Storage> = Arc::new(DirStorage::open_offline(dir, true)?);
    let files = Files::read(storage)?;
    let mut surgeon = Surgeon { dir: dir.to_owned(), random: Random(seed), kind, groups: Vec::new(), files };
    surgeon.collect_groups(target)?;
    match kind {
        Kind::Bit => surgeon.bit(target),
        Kind::Zero => surgeon.zero(target),
        Kind::Tear => surgeon.tear(target),
        Kind::Swap => surgeon.swap(target),
        Kind::Truncate => surgeon.truncate(target),
        Kind::DeleteSegment => surgeon.delete(target),
        Kind::StaleSegment => surgeon.stale(target),
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}

/// A group: where it lies in its file, and how long it is.
#[derive(Clone, Copy)]
struct Group {
    segment: u64,
    offset: u64,
    bytes: u64,
}

/// A file and the part of it that may be drawn from.
struct Place {
    path: PathBuf,
    segment: Option<u64>,
    offset: u64,
}

struct Surgeon {
    dir: PathBuf,
    random: Random,
    kind: Kind,
    /// What is drawn from.
    groups: Vec<Group>,
    files: Files,
}

impl Surgeon {
    /// The groups to draw from: those of the file that was given, else all that are durable and replayed.
    fn collect_groups(&mut self, target: &Target) -> Result<(), CorruptError> {
        if self.files.segments.is_empty() {
            return Ok(());
        }
        let only = target.file.as_deref().map(|name| self.index_of(name)).transpose()?;
        let files = Files::read(Arc::clone(&self.files.storage))?;
        let checkpoint = files.superblock.as_ref().ok().map(|superblock| superblock.checkpoint);
        let mut walk = match (only, checkpoint) {
            (None, Some(checkpoint)) => Walk::from_group(files, checkpoint.group, checkpoint.chain)?,
            (None, None) => Walk::from_segment(files, Lsn::ZERO)?,
            (Some(None), _) => return Ok(()),
            (Some(Some(index)), _) => {
                let start = files.start_of(index);
                Walk::from_segment(files, start)?
            }
        };
        let mut durable = Lsn(u64::MAX);
        while let Some(step) = walk.next()? {
            match step {
                Step::Group(_) if only.is_some_and(|index| index != Some(walk.segment())) => break,
                Step::Group(info) => self.groups.push(Group {
                    segment: walk.segment(),
                    offset: info.lsn.offset(self.files.segment_bytes),
                    bytes: info.padded_bytes(),
                }),
                Step::Skipped(_) => {}
                Step::End(end) => durable = end.durable,
            }
        }
        if only.is_none() {
            let files = &self.files;
            self.groups.retain(|group| files.start_of(group.segment).0 + group.offset + group.bytes <= durable.0);
        }
        Ok(())
    }

    /// The segment of a file; none for the superblock and for a segment file that is not listed.
    fn index_of(&self, name: &str) -> Result<Option<u64>, CorruptError> {
        let path = self.path_of(name)?;
        let is_it = |slot: &u32| Path::new(&self.files.storage.segment_name(*slot)) == path;
        Ok(self.files.segments.iter().find(|(_, slot)| is_it(slot)).map(|(&index, _)| index))
    }

    fn path_of(&self, name: &str) -> Result<PathBuf, CorruptError> {
        let storage = &self.files.storage;
        let path = self.dir.join(name);
        let segment = self.files.sizes.keys().any(|&slot| Path::new(&storage.segment_name(slot)) == path);
        if segment || Path::new(&storage.superblock_name()) == path {
            Ok(path)
        } else {
            Err(CorruptError::NoSuchFile(path.display().to_string()))
        }
    }

    fn nothing(&self, reason: &str) -> CorruptError {
        CorruptError::Nothing { dir: self.dir.display().to_string(), reason: reason.to_owned() }
    }

    /// A byte to damage: as given, else one of a group, else one of the given file.
    fn draw(&mut self, target: &Target) -> Result<Place, CorruptError> {
        let (path, segment, drawn) = match &target.file {
            Some(name) => {
                let drawn = if self.groups.is_empty() { None } else { Some(self.draw_from_groups().1) };
                (self.path_of(name)?, self.index_of(name)?, drawn)
            }
            None if self.groups.is_empty() => {
                return Err(self.nothing("no group since the checkpoint is known to be durable; name a file"));
            }
            None => {
                let (segment, drawn) = self.draw_from_groups();
                (PathBuf::from(self.files.name(segment)), Some(segment), Some(drawn))
            }
        };
        let size = size_of(&path)?;
        let end = if self.kind == Kind::Truncate { size + 1 } else { size };
        let offset = target.at.or(drawn).unwrap_or_else(|| self.random.below(size.max(1)));
        if offset >= end {
            let reason = format!("offset {offset} lies past its end, {size} bytes");
            return Err(CorruptError::DoesNotFit { file: path.display().to_string(), reason });
        }
        Ok(Place { path, segment, offset })
    }

    fn draw_from_groups(&mut self) -> (u64, u64) {
        let total: u64 = self.groups.iter().map(|group| group.bytes).sum();
        let mut at = self.random.below(total);
        for group in &self.groups {
            if at < group.bytes {
                return (group.segment, group.offset + at);
            }
            at -= group.bytes;
        }
        unreachable!("the draw is below the sum");
    }

    /// A sector of which `is_fit` says that damage there changes something.
    fn draw_sector(
        &mut self,
        target: &Target,
        is_fit: impl Fn(&Place, &[u8]) -> bool,
    ) -> Result<(Place, Vec<u8>), CorruptError> {
        for _ in 0..if target.at.is_some() { 1 } else { DRAWS_MAX } {
            let mut place = self.draw(target)?;
            place.offset = place.offset / SECTOR * SECTOR;
            let end = (place.offset + SECTOR).min(size_of(&place.path)?);
            let bytes = surgery::read(&place.path, place.offset..end)?;
            if is_fit(&place, &bytes) {
                return Ok((place, bytes));
            }
        }
        Err(self.nothing("no sector there that this would change; choose another place or seed"))
    }

    fn lsn(&self, place: &Place, offset: u64) -> Option<Lsn> {
        place.segment.map(|index| Lsn(self.files.start_of(index).0 + offset))
    }

    /// Writes the changes, and reports them.
    fn change(&self, place: &Place, changes: Vec<(u64, Vec<u8>, Vec<u8>)>) -> Result<Corruption, CorruptError> {
        for (offset, _, after) in &changes {
            surgery::write(&place.path, *offset, after)?;
        }
        let changes: Vec<Change> = changes
            .into_iter()
            .map(|(offset, before, after)| Change { offset, lsn: self.lsn(place, offset), before, after })
            .collect();
        let lsn = changes.iter().filter_map(|change| change.lsn).min();
        Ok(Corruption { changes, lsn, ..self.report(place) })
    }

    fn report(&self, place: &Place) -> Corruption {
        Corruption {
            kind: self.kind,
            file: place.path.display().to_string(),
            segment: place.segment,
            lsn: None,
            changes: Vec::new(),
            size: None,
            copied_from: None,
        }
    }

    fn bit(&mut self, target: &Target) -> Result<Corruption, CorruptError> {
        let place = self.draw(target)?;
        let before = surgery::read(&place.path, place.offset..place.offset + 1)?;
        let after = vec![before[0] ^ 1 << self.random.below(8)];
        self.change(&place, vec![(place.offset, before, after)])
    }

    fn zero(&mut self, target: &Target) -> Result<Corruption, CorruptError> {
        let (place, before) = self.draw_sector(target, |_, bytes| !is_zero(bytes))?;
        let after = vec![0; before.len()];
        self.change(&place, vec![(place.offset, before, after)])
    }

    fn tear(&mut self, target: &Target) -> Result<Corruption, CorruptError> {
        let place = self.draw(target)?;
        let holds = |group: &&Group| {
            Some(group.segment) == place.segment && (group.offset..group.offset + group.bytes).contains(&place.offset)
        };
        let Some(group) = self.groups.iter().find(holds).copied() else {
            let reason = format!("no group lies at offset {}, and only a group can be torn", place.offset);
            return Err(CorruptError::DoesNotFit { file: place.path.display().to_string(), reason });
        };
        let bytes = surgery::read(&place.path, group.offset..group.offset + group.bytes)?;
        let written: Vec<(u64, &[u8])> =
            (0..).zip(bytes.chunks(SECTOR_BYTES)).filter(|(_, sector)| !is_zero(sector)).collect();
        let count = written.len() as u64;
        // At least one is lost; where there are several, at least one is kept.
        let (lost, kept) = (self.random.below(count), self.random.below(count));
        let is_lost: Vec<bool> =
            (0..count).map(|sector| sector == lost || (sector != kept && self.random.below(2) == 1)).collect();
        let changes = written.iter().zip(is_lost).filter(|(_, is_lost)| *is_lost).take(TEAR_SECTORS_MAX);
        let changes = changes
            .map(|((sector, before), _)| (group.offset + sector * SECTOR, before.to_vec(), vec![0; before.len()]))
            .collect();
        self.change(&place, changes)
    }

    fn swap(&mut self, target: &Target) -> Result<Corruption, CorruptError> {
        let (first, one) = self.draw_sector(target, |_, bytes| bytes.len() == SECTOR_BYTES)?;
        let same_file =
            Target { file: first.path.file_name().map(|name| name.to_string_lossy().into_owned()), at: None };
        let all = std::mem::take(&mut self.groups);
        self.groups = all.into_iter().filter(|group| Some(group.segment) == first.segment).collect();
        let is_fit = |_: &Place, bytes: &[u8]| bytes.len() == SECTOR_BYTES && *bytes != *one;
        let (second, other) = self.draw_sector(&same_file, is_fit)?;
        self.change(&first, vec![(first.offset, one.clone(), other.clone()), (second.offset, other, one)])
    }

    fn truncate(&mut self, target: &Target) -> Result<Corruption, CorruptError> {
        let place = self.draw(target)?;
        let before = size_of(&place.path)?;
        surgery::resize(&place.path.display().to_string(), place.offset)?;
        let size = Some((before, Some(place.offset)));
        Ok(Corruption { lsn: self.lsn(&place, place.offset), size, ..self.report(&place) })
    }

    fn delete(&mut self, target: &Target) -> Result<Corruption, CorruptError> {
        let place = self.draw(&Target { at: None, ..target.clone() })?;
        self.must_be_segment(&place)?;
        let before = size_of(&place.path)?;
        surgery::remove(&place.path)?;
        Ok(Corruption { lsn: self.lsn(&place, 0), size: Some((before, None)), ..self.report(&place) })
    }

    fn must_be_segment(&self, place: &Place) -> Result<(), CorruptError> {
        if place.path == Path::new(&self.files.storage.superblock_name()) {
            let reason = "this kind is for segment files; use bit, zero, swap or truncate".to_owned();
            return Err(CorruptError::DoesNotFit { file: place.path.display().to_string(), reason });
        }
        Ok(())
    }

    fn stale(&mut self, target: &Target) -> Result<Corruption, CorruptError> {
        let by_index: BTreeMap<u64, u32> =
            self.files.headers().into_iter().map(|(slot, header)| (header.index, slot)).collect();
        let first = by_index.keys().next().copied().unwrap_or(u64::MAX);
        if target.file.is_none() {
            self.groups.retain(|group| group.segment > first);
            if self.groups.is_empty() {
                return Err(self.nothing("no segment that is replayed has an older one; write more, or name a file"));
            }
        }
        let place = self.draw(&Target { at: None, ..target.clone() })?;
        self.must_be_segment(&place)?;
        let Some(older) = place.segment.and_then(|index| by_index.range(..index).next_back()).map(|(_, &slot)| slot)
        else {
            let reason = "there is no older segment whose content it could have".to_owned();
            return Err(CorruptError::DoesNotFit { file: place.path.display().to_string(), reason });
        };
        let from = self.files.storage.segment_name(older);
        let before = size_of(&place.path)?;
        surgery::replace(Path::new(&from), &place.path)?;
        let after = size_of(&place.path)?;
        let size = (before != after).then_some((before, Some(after)));
        Ok(Corruption { lsn: self.lsn(&place, 0), size, copied_from: Some(from), ..self.report(&place) })
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn size_of(path: &Path) -> Result<u64, SurgeryError> {
    let metadata = std::fs::metadata(path);
    metadata.map(|metadata| metadata.len()).map_err(|source| SurgeryError {
        file: path.display().to_string(),
        operation: "reading the size",
        source,
    })
}
