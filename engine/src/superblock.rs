//! The layout of the superblock, and how its two copies are chosen from (`FORMAT.md`, "Superblock").
//!
//! Invariant: a state counts as durable only when both copies hold it, so damage to either one loses nothing, and a
//! torn write leaves the other. Not here: when it is written (`store`), who writes it (`worker`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::bytesio::{get_u32, get_u64, put_u32, put_u64};
use crate::error::OpenError;
use crate::limits::{SEGMENTS_MAX, SUPERBLOCK_BYTES};
use crate::lsn::Lsn;
use crate::options::{Owner, segment_bytes_valid};

const MAGIC: u64 = u64::from_le_bytes(*b"asntSUP\x01");

/// The format that this release writes and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

const AT_MAGIC: Range<usize> = 0..8;
const AT_VERSION: Range<usize> = 8..12;
const AT_LOG_ID: Range<usize> = 16..24;
const AT_SEQUENCE: Range<usize> = 24..32;
const AT_INCARNATION: Range<usize> = 32..40;
const AT_ROLE: usize = 40;
const AT_CLEAN: usize = 41;
const AT_NODE: Range<usize> = 44..48;
const AT_CLUSTER: Range<usize> = 48..56;
const AT_SEGMENT_BYTES: Range<usize> = 56..64;
const AT_CHECKPOINT_GROUP: Range<usize> = 64..72;
const AT_CHECKPOINT_BEGIN: Range<usize> = 72..80;
const AT_CHECKPOINT_CHAIN: Range<usize> = 80..88;
const AT_CHECKPOINT_SIZE: Range<usize> = 88..96;
const AT_DURABLE: Range<usize> = 96..104;
const AT_SEGMENTS: Range<usize> = 104..108;
const AT_OPENED: Range<usize> = 112..120;
const AT_LIST: usize = 120;
const ENTRY_BYTES: usize = 12;
const AT_CRC: Range<usize> = SUPERBLOCK_BYTES - 4..SUPERBLOCK_BYTES;

const _: () = assert!(AT_LIST + SEGMENTS_MAX * ENTRY_BYTES <= AT_CRC.start);

/// Where replay starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Anchor {
    /// The start of the group that holds the begin record.
    pub(crate) group: Lsn,
    /// The begin record; records of the group before it are skipped.
    pub(crate) begin: Lsn,
    /// The chain value before the group.
    pub(crate) chain: u64,
    /// Bytes of the checkpoint's own records.
    pub(crate) size: u64,
}

/// What is true of the whole log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Superblock {
    pub(crate) log_id: u64,
    pub(crate) sequence: u64,
    /// How often the log was opened, and where the groups of the last opening start.
    pub(crate) incarnation: u64,
    pub(crate) opened: Lsn,
    pub(crate) owner: Owner,
    pub(crate) clean: bool,
    pub(crate) segment_bytes: u64,
    pub(crate) checkpoint: Anchor,
    pub(crate) durable: Lsn,
    /// Segment index to file slot. The truth about which file is which segment.
    pub(crate) segments: BTreeMap<u64, u32>,
}

impl Superblock {
    /// The bytes of one copy.
    pub(crate) fn emit(&self) -> Vec<u8> {
        assert!(self.segments.len() <= SEGMENTS_MAX && segment_bytes_valid(self.segment_bytes));
        let mut bytes = vec![0; SUPERBLOCK_BYTES];
        put_u64(&mut bytes, AT_MAGIC, MAGIC);
        put_u32(&mut bytes, AT_VERSION, VERSION);
        put_u64(&mut bytes, AT_LOG_ID, self.log_id);
        put_u64(&mut bytes, AT_SEQUENCE, self.sequence);
        put_u64(&mut bytes, AT_INCARNATION, self.incarnation);
        bytes[AT_ROLE] = self.owner.role;
        bytes[AT_CLEAN] = u8::from(self.clean);
        put_u32(&mut bytes, AT_NODE, self.owner.node);
        put_u64(&mut bytes, AT_CLUSTER, self.owner.cluster);
        put_u64(&mut bytes, AT_SEGMENT_BYTES, self.segment_bytes);
        put_u64(&mut bytes, AT_CHECKPOINT_GROUP, self.checkpoint.group.0);
        put_u64(&mut bytes, AT_CHECKPOINT_BEGIN, self.checkpoint.begin.0);
        put_u64(&mut bytes, AT_CHECKPOINT_CHAIN, self.checkpoint.chain);
        put_u64(&mut bytes, AT_CHECKPOINT_SIZE, self.checkpoint.size);
        put_u64(&mut bytes, AT_DURABLE, self.durable.0);
        put_u64(&mut bytes, AT_OPENED, self.opened.0);
        put_u32(&mut bytes, AT_SEGMENTS, self.segments.len() as u32);
        for (entry, (&index, &slot)) in self.segments.iter().enumerate() {
            let at = AT_LIST + entry * ENTRY_BYTES;
            put_u64(&mut bytes, at..at + 8, index);
            put_u32(&mut bytes, at + 8..at + 12, slot);
        }
        let crc = crc32c::crc32c(&bytes[..AT_CRC.start]);
        put_u32(&mut bytes, AT_CRC, crc);
        bytes
    }

    /// Reads one copy.
    fn parse(bytes: &[u8]) -> Result<Superblock, CopyFlaw> {
        let crc_matches = crc32c::crc32c(&bytes[..AT_CRC.start]) == get_u32(bytes, AT_CRC);
        if get_u64(bytes, AT_MAGIC) != MAGIC || !crc_matches {
            return Err(CopyFlaw::Damaged);
        }
        let version = get_u32(bytes, AT_VERSION);
        if version > VERSION {
            return Err(CopyFlaw::Newer(version));
        }
        let count = get_u32(bytes, AT_SEGMENTS) as usize;
        if count > SEGMENTS_MAX || !segment_bytes_valid(get_u64(bytes, AT_SEGMENT_BYTES)) {
            return Err(CopyFlaw::Damaged);
        }
        let entries = bytes[AT_LIST..AT_LIST + count * ENTRY_BYTES].chunks_exact(ENTRY_BYTES);
        let segments: BTreeMap<u64, u32> = entries.map(|entry| (get_u64(entry, 0..8), get_u32(entry, 8..12))).collect();
        let slots: BTreeSet<u32> = segments.values().copied().collect();
        let segment_bytes = get_u64(bytes, AT_SEGMENT_BYTES);
        let index_max = u64::MAX / segment_bytes - 2;
        let listed = segments.len() == count && slots.len() == count && segments.keys().all(|&k| k < index_max);
        if !listed {
            return Err(CopyFlaw::Damaged);
        }
        Ok(Superblock {
            log_id: get_u64(bytes, AT_LOG_ID),
            sequence: get_u64(bytes, AT_SEQUENCE),
            incarnation: get_u64(bytes, AT_INCARNATION),
            opened: Lsn(get_u64(bytes, AT_OPENED)),
            owner: Owner { role: bytes[AT_ROLE], node: get_u32(bytes, AT_NODE), cluster: get_u64(bytes, AT_CLUSTER) },
            clean: bytes[AT_CLEAN] == 1,
            segment_bytes,
            checkpoint: Anchor {
                group: Lsn(get_u64(bytes, AT_CHECKPOINT_GROUP)),
                begin: Lsn(get_u64(bytes, AT_CHECKPOINT_BEGIN)),
                chain: get_u64(bytes, AT_CHECKPOINT_CHAIN),
                size: get_u64(bytes, AT_CHECKPOINT_SIZE),
            },
            durable: Lsn(get_u64(bytes, AT_DURABLE)),
            segments,
        })
    }
}

enum CopyFlaw {
    Damaged,
    Newer(u32),
}

/// The superblock that holds, and what was found on the way.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) superblock: Superblock,
    /// The copy to write first next time: the one that does not hold this state.
    pub(crate) write_first: usize,
    /// Whether a copy had to be left out.
    pub(crate) copy_damaged: bool,
}

/// Chooses from the bytes of the superblock file: the valid copy with the higher sequence.
pub(crate) fn choose(file: &[u8], name: &str) -> Result<Chosen, OpenError> {
    let mut best: Option<(usize, Superblock)> = None;
    let mut copy_damaged = false;
    for copy in 0..2 {
        let Some(bytes) = file.get(copy * SUPERBLOCK_BYTES..(copy + 1) * SUPERBLOCK_BYTES) else {
            copy_damaged = true;
            continue;
        };
        match Superblock::parse(bytes) {
            Ok(found) => {
                if best.as_ref().is_none_or(|(_, held)| found.sequence > held.sequence) {
                    best = Some((copy, found));
                }
            }
            Err(CopyFlaw::Damaged) => copy_damaged = true,
            Err(CopyFlaw::Newer(found)) => {
                return Err(OpenError::NewerFormat { file: name.to_owned(), found, supported: VERSION });
            }
        }
    }
    let Some((copy, superblock)) = best else {
        return Err(OpenError::Corrupt {
            file: name.to_owned(),
            offset: 0,
            lsn: Lsn::ZERO,
            reason: "neither copy of the superblock is valid".to_owned(),
        });
    };
    Ok(Chosen { superblock, write_first: 1 - copy, copy_damaged })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sequence: u64) -> Superblock {
        Superblock {
            log_id: 11,
            sequence,
            incarnation: 3,
            opened: Lsn(8192),
            owner: Owner { role: 1, node: 2, cluster: 3 },
            clean: true,
            segment_bytes: 1 << 20,
            checkpoint: Anchor { group: Lsn(4096), begin: Lsn(4173), chain: 9, size: 10 },
            durable: Lsn(8192),
            segments: BTreeMap::from([(0, 4), (7, 1)]),
        }
    }

    #[test]
    fn the_format_of_a_superblock_stands_still() {
        crate::fixture::assert_same("superblock", &sample(6).emit());
    }

    #[test]
    fn the_valid_copy_with_the_higher_sequence_is_chosen() {
        let file = [sample(5).emit(), sample(6).emit()].concat();
        let chosen = choose(&file, "superblock").unwrap();
        assert_eq!((chosen.superblock, chosen.write_first, chosen.copy_damaged), (sample(6), 0, false));
    }

    #[test]
    fn every_flipped_bit_of_a_copy_falls_back_to_the_other() {
        let mut file = [sample(6).emit(), sample(6).emit()].concat();
        for bit in (0..200 * 8).chain((SUPERBLOCK_BYTES - 8) * 8..SUPERBLOCK_BYTES * 8) {
            file[bit / 8] ^= 1 << (bit % 8);
            let chosen = choose(&file, "superblock").unwrap();
            assert_eq!((chosen.superblock, chosen.write_first), (sample(6), 0), "bit {bit}");
            assert!(chosen.copy_damaged);
            file[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn two_damaged_copies_are_corruption_and_a_newer_format_is_named() {
        let mut file = [sample(6).emit(), sample(6).emit()].concat();
        file[100] ^= 1;
        file[SUPERBLOCK_BYTES + 100] ^= 1;
        assert!(matches!(choose(&file, "superblock"), Err(OpenError::Corrupt { .. })));
        assert!(matches!(choose(&[], "superblock"), Err(OpenError::Corrupt { .. })));
        let mut copy = sample(6).emit();
        put_u32(&mut copy, AT_VERSION, 2);
        let crc = crc32c::crc32c(&copy[..AT_CRC.start]);
        put_u32(&mut copy, AT_CRC, crc);
        let file = [copy.clone(), copy].concat();
        assert!(matches!(choose(&file, "superblock"), Err(OpenError::NewerFormat { found: 2, .. })));
    }
}
