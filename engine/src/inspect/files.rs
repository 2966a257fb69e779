//! The segment files of a log, as the superblock lists them or, without one, as their headers say; and reading one that
//! may be damaged, short or unreadable in places.
//!
//! Not here: what the groups in them say (`walk`).

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::buffer::Buffer;
use crate::error::OpenError;
use crate::group::{self, Expect, Flaw, GroupInfo};
use crate::limits::{BLOCK_BYTES, INSPECT_READ_BYTES};
use crate::lsn::Lsn;
use crate::options::segment_bytes_valid;
use crate::segment::SegmentHeader;
use crate::storage::Storage;
use crate::superblock::{self, Superblock};
use crate::verdict::Rule;

pub(super) const BLOCK: u64 = BLOCK_BYTES as u64;

/// Which file is which segment.
pub(super) struct Files {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) log_id: u64,
    pub(super) segment_bytes: u64,
    /// Segment index to slot.
    pub(super) segments: BTreeMap<u64, u32>,
    /// Slot to size in bytes, for every segment file.
    pub(super) sizes: BTreeMap<u32, u64>,
    /// The superblock that holds, or why there is none.
    pub(super) superblock: Result<Superblock, OpenError>,
    /// The copy of the superblock (0 or 1) that is damaged although the other one holds.
    pub(super) copy_damaged: Option<usize>,
    /// The copy that does not hold the last state, or may not.
    pub(super) write_first: usize,
}

/// What could be read of a segment.
#[derive(Clone, Default, Debug)]
pub(super) struct Loaded {
    /// Bytes of the file; what lies past them is zero in the buffer. `None` if there is no file.
    pub(super) size: Option<u64>,
    /// Offsets that the disk refused, and what it said.
    pub(super) unreadable: Vec<(Range<u64>, String)>,
}

impl Files {
    /// Finds the segments. Without a valid superblock their headers tell.
    pub(super) fn read(storage: Arc<dyn Storage>) -> Result<Files, OpenError> {
        let name = storage.superblock_name();
        let io = |operation| {
            let file = name.clone();
            move |source| OpenError::io(file, operation, source)
        };
        let bytes = storage.superblock_read().map_err(io("reading the superblock"))?;
        let sizes = storage.segments().map_err(io("listing the segment files"))?;
        match superblock::choose(bytes.as_deref(), &name, !sizes.is_empty()) {
            Ok(Some(chosen)) => {
                let write_first = chosen.write_first;
                let copy_damaged = (chosen.rule == Rule::SuperblockOneCopy).then_some(write_first);
                let superblock = chosen.superblock;
                let (log_id, segment_bytes) = (superblock.log_id, superblock.segment_bytes);
                let segments = superblock.segments.clone();
                let superblock = Ok(superblock);
                Ok(Files { storage, log_id, segment_bytes, segments, sizes, superblock, copy_damaged, write_first })
            }
            Ok(None) => Err(io("reading the superblock")(io::ErrorKind::NotFound.into())),
            Err(error @ OpenError::Corrupt { .. }) => Ok(Files::by_headers(storage, sizes, error)),
            Err(error) => Err(error),
        }
    }

    /// Takes log, order and indices from what most files say of themselves.
    fn by_headers(storage: Arc<dyn Storage>, sizes: BTreeMap<u32, u64>, refused: OpenError) -> Files {
        let segment_bytes = most(sizes.values().copied().filter(|&bytes| segment_bytes_valid(bytes))).unwrap_or(0);
        let mut found: Vec<(u32, SegmentHeader)> = Vec::new();
        for (&slot, _) in sizes.iter().filter(|_| segment_bytes != 0) {
            let mut block = Buffer::zeroed(BLOCK_BYTES);
            let read = storage.segment_read(slot, 0, block.content_mut());
            let header = read.ok().and_then(|()| SegmentHeader::parse_own(block.content()));
            let header = header.or_else(|| by_groups(storage.as_ref(), slot, sizes[&slot], segment_bytes));
            found.extend(header.filter(|header| header.index < u64::MAX / segment_bytes).map(|header| (slot, header)));
        }
        let log_id = most(found.iter().map(|(_, header)| header.log_id)).unwrap_or(0);
        found.retain(|(_, header)| header.log_id == log_id);
        // A file that was used again under the same index by a later opening is the newer one.
        found.sort_by_key(|(_, header)| header.incarnation);
        let segments = found.into_iter().map(|(slot, header)| (header.index, slot)).collect();
        let superblock = Err(refused);
        Files { storage, log_id, segment_bytes, segments, sizes, superblock, copy_damaged: None, write_first: 0 }
    }

    pub(super) fn start_of(&self, index: u64) -> Lsn {
        Lsn(index * self.segment_bytes)
    }

    /// The name of a segment's file.
    pub(super) fn name(&self, index: u64) -> String {
        let slot = self.segments.get(&index);
        slot.map_or_else(|| format!("segment {index}"), |&slot| self.storage.segment_name(slot))
    }

    /// The segment listed after `index`.
    pub(super) fn next(&self, index: u64) -> Option<u64> {
        self.segments.range(index + 1..).next().map(|(&index, _)| index)
    }

    /// The header of a listed segment, if it is valid.
    pub(super) fn header(&self, index: u64) -> Option<SegmentHeader> {
        let mut block = Buffer::zeroed(BLOCK_BYTES);
        self.storage.segment_read(*self.segments.get(&index)?, 0, block.content_mut()).ok()?;
        SegmentHeader::parse(block.content(), self.log_id, index)
    }

    /// The valid headers of all files of this log, listed or not, by slot.
    pub(super) fn headers(&self) -> Vec<(u32, SegmentHeader)> {
        let mut block = Buffer::zeroed(BLOCK_BYTES);
        let mut read = |&slot: &u32| {
            self.storage.segment_read(slot, 0, block.content_mut()).ok()?;
            let header = SegmentHeader::parse_any(block.content(), self.log_id)?;
            (header.index < u64::MAX / self.segment_bytes - 2).then_some((slot, header))
        };
        self.sizes.keys().filter_map(&mut read).collect()
    }

    /// What stands where the header of segment `index` should be.
    pub(super) fn stranger(&self, index: u64) -> String {
        match self.headers().into_iter().find(|(slot, _)| self.segments.get(&index) == Some(slot)) {
            Some((_, other)) => format!("the file's header is that of segment {}, not {index}", other.index),
            None => "the segment's header is not valid".to_owned(),
        }
    }

    /// Reads a segment into `buffer`, which is as long as a segment: what cannot be read is zero there.
    ///
    /// # Errors
    /// Only what is no damage: a file that may not be read.
    pub(super) fn load(&self, index: u64, buffer: &mut Buffer) -> Result<Loaded, OpenError> {
        buffer.content_mut().fill(0);
        let Some(slot) = self.segments.get(&index) else { return Ok(Loaded::default()) };
        let size = self.sizes.get(slot).copied();
        let mut loaded = Loaded { size, unreadable: Vec::new() };
        let whole = size.unwrap_or(0).min(self.segment_bytes) / BLOCK * BLOCK;
        let mut at = 0;
        while at < whole {
            let end = (at + INSPECT_READ_BYTES as u64).min(whole);
            let read = self.storage.segment_read(*slot, at, &mut buffer.content_mut()[at as usize..end as usize]);
            match read.map_err(|error| (error.kind(), error)) {
                Ok(()) => {}
                Err((io::ErrorKind::NotFound, _)) => return Ok(Loaded::default()),
                Err((io::ErrorKind::PermissionDenied, source)) => {
                    return Err(OpenError::Io { file: self.name(index), operation: "reading a segment", source });
                }
                Err(_) => self.load_blocks(*slot, at..end, buffer, &mut loaded),
            }
            at = end;
        }
        Ok(loaded)
    }

    /// Reads block by block where a larger piece failed.
    fn load_blocks(&self, slot: u32, range: Range<u64>, buffer: &mut Buffer, loaded: &mut Loaded) {
        for at in range.step_by(BLOCK_BYTES) {
            let block = &mut buffer.content_mut()[at as usize..at as usize + BLOCK_BYTES];
            if let Err(error) = self.storage.segment_read(slot, at, block) {
                block.fill(0);
                match loaded.unreadable.last_mut() {
                    Some((last, _)) if last.end == at => last.end = at + BLOCK,
                    _ => loaded.unreadable.push((at..at + BLOCK, error.to_string())),
                }
            }
        }
    }

    /// Where the last group ends that was begun in a segment, as far as headers tell; its start if there is none.
    pub(super) fn written_to(&self, index: u64, content: &[u8]) -> Lsn {
        let start = self.start_of(index);
        let begun = (BLOCK..self.segment_bytes).step_by(BLOCK_BYTES).filter_map(|at| {
            let info = group::parse_header(&content[at as usize..]).ok()?;
            ((info.log_id, info.lsn.0) == (self.log_id, start.0 + at)).then(|| info.end())
        });
        begun.max().unwrap_or(start).min(Lsn(start.0 + self.segment_bytes))
    }

    /// Checks the group at `lsn`, whose bytes reach to the end of the segment, after `chain`; with none, by itself.
    pub(super) fn check(&self, bytes: &[u8], lsn: Lsn, chain: Option<u64>) -> Result<GroupInfo, Flaw> {
        let chain = match chain {
            Some(chain) => chain,
            None => group::parse_header(bytes)?.chain,
        };
        // Without a superblock nobody says which opening wrote where: any may have.
        let any = (u64::MAX, Lsn(u64::MAX));
        let (incarnation, opened) =
            self.superblock.as_ref().map_or(any, |superblock| (superblock.incarnation, superblock.opened));
        group::check(bytes, &Expect { log_id: self.log_id, lsn, incarnation, opened, chain })
    }
}

/// What the first valid group of a file says, where its header does not.
fn by_groups(storage: &dyn Storage, slot: u32, size: u64, segment_bytes: u64) -> Option<SegmentHeader> {
    let mut block = Buffer::zeroed(BLOCK_BYTES);
    let mut at = BLOCK;
    while at + BLOCK <= size.min(segment_bytes) {
        let read = storage.segment_read(slot, at, block.content_mut());
        let info = read.ok().and_then(|()| group::parse_header(block.content()).ok());
        if let Some(info) = info.filter(|info| info.lsn.offset(segment_bytes) == at) {
            let (index, incarnation) = (info.lsn.segment(segment_bytes), info.incarnation);
            return Some(SegmentHeader {
                log_id: info.log_id,
                index,
                incarnation,
                final_lsn: info.durable,
                chain: info.chain,
            });
        }
        at += BLOCK;
    }
    None
}

/// The value that occurs most often.
fn most(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    counts.into_iter().max_by_key(|&(_, count)| count).map(|(value, _)| value)
}
