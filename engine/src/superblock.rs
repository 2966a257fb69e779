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
use crate::verdict::{self, CopyState, Rule, Verdict};

const MAGIC: u64 = u64::from_le_bytes(*b"asntSUP\x01");

/// The format version of the whole log: the one that this release writes, and the only one that it reads.
pub(crate) const VERSION: u32 = 2;

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
        if version != VERSION {
            return Err(CopyFlaw::OtherVersion(version));
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
        let superblock = Superblock {
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
        };
        // No writer writes anything else: zeros where nothing stands, entries in order.
        if superblock.emit() == bytes { Ok(superblock) } else { Err(CopyFlaw::Damaged) }
    }
}

enum CopyFlaw {
    Damaged,
    OtherVersion(u32),
}

/// The superblock that holds, and what was found on the way.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) superblock: Superblock,
    /// The copy to write first next time: the one that does not hold this state.
    pub(crate) write_first: usize,
    /// What the two copies came to.
    pub(crate) rule: Rule,
}

/// Chooses from the bytes of the superblock file, `None` if there is none: the valid copy with the higher sequence.
/// `Ok(None)` if there is no log yet.
pub(crate) fn choose(file: Option<&[u8]>, name: &str, segments_exist: bool) -> Result<Option<Chosen>, OpenError> {
    let copy = |bytes: &[u8], copy: usize| {
        let bytes = bytes.get(copy * SUPERBLOCK_BYTES..(copy + 1) * SUPERBLOCK_BYTES);
        bytes.map_or(Err(CopyFlaw::Damaged), Superblock::parse)
    };
    let copies = file.map(|bytes| [copy(bytes, 0), copy(bytes, 1)]);
    let rule =
        verdict::superblock(copies.as_ref().map(|copies| [state(&copies[0]), state(&copies[1])]), segments_exist);
    let refuse = |reason: &str| {
        let (file, reason) = (name.to_owned(), reason.to_owned());
        Err(OpenError::Corrupt { file, offset: 0, lsn: Lsn::ZERO, rule, reason })
    };
    match (rule.verdict(), copies) {
        (Verdict::Refuse, None) => refuse("the superblock is missing although segments exist"),
        (Verdict::Refuse, Some([Err(CopyFlaw::OtherVersion(found)), _] | [_, Err(CopyFlaw::OtherVersion(found))])) => {
            Err(OpenError::OtherFormat { file: name.to_owned(), found, supported: VERSION })
        }
        (Verdict::Refuse, Some(_)) => refuse("neither copy of the superblock is valid"),
        (Verdict::Accept | Verdict::Ignore | Verdict::Cut, copies) => {
            let sound = copies.into_iter().flatten().enumerate().filter_map(|(at, copy)| Some((at, copy.ok()?)));
            // Of two equal ones the first.
            let best = sound.reduce(|best, other| if other.1.sequence > best.1.sequence { other } else { best });
            Ok(best.map(|(copy, superblock)| Chosen { superblock, write_first: 1 - copy, rule }))
        }
    }
}

fn state(copy: &Result<Superblock, CopyFlaw>) -> CopyState {
    match copy {
        Ok(_) => CopyState::Sound,
        Err(CopyFlaw::Damaged) => CopyState::Damaged,
        Err(CopyFlaw::OtherVersion(_)) => CopyState::OtherVersion,
    }
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

    fn chosen(file: &[u8]) -> Result<Chosen, OpenError> {
        choose(Some(file), "superblock", true).map(|chosen| chosen.expect("there is a file"))
    }

    #[test]
    fn the_format_of_a_superblock_stands_still() {
        crate::fixture::assert_same("superblock", &sample(6).emit());
    }

    #[test]
    fn the_valid_copy_with_the_higher_sequence_is_chosen() {
        let file = [sample(5).emit(), sample(6).emit()].concat();
        let chosen = chosen(&file).unwrap();
        assert_eq!((chosen.superblock, chosen.write_first, chosen.rule), (sample(6), 0, Rule::SuperblockSound));
    }

    #[test]
    fn of_two_copies_that_are_the_same_the_second_is_written_first() {
        let file = [sample(6).emit(), sample(6).emit()].concat();
        assert_eq!(chosen(&file).unwrap().write_first, 1);
    }

    #[test]
    fn every_flipped_bit_of_a_copy_falls_back_to_the_other() {
        let mut file = [sample(6).emit(), sample(6).emit()].concat();
        for bit in (0..200 * 8).chain((SUPERBLOCK_BYTES - 8) * 8..SUPERBLOCK_BYTES * 8) {
            file[bit / 8] ^= 1 << (bit % 8);
            let chosen = chosen(&file).unwrap();
            assert_eq!((chosen.superblock, chosen.write_first), (sample(6), 0), "bit {bit}");
            assert_eq!(chosen.rule, Rule::SuperblockOneCopy);
            file[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn two_damaged_copies_are_corruption_and_another_version_is_named() {
        let mut file = [sample(6).emit(), sample(6).emit()].concat();
        file[100] ^= 1;
        file[SUPERBLOCK_BYTES + 100] ^= 1;
        assert!(matches!(chosen(&file), Err(OpenError::Corrupt { .. })));
        assert!(matches!(chosen(&[]), Err(OpenError::Corrupt { .. })));
        for version in [0, 1, 3] {
            let mut copy = sample(6).emit();
            put_u32(&mut copy, AT_VERSION, version);
            let crc = crc32c::crc32c(&copy[..AT_CRC.start]);
            put_u32(&mut copy, AT_CRC, crc);
            // One copy is enough: the other one may be torn, or the last that an earlier release wrote.
            for file in [[copy.clone(), sample(6).emit()], [sample(7).emit(), copy.clone()], [copy.clone(), copy]] {
                let refused = chosen(&file.concat());
                assert!(
                    matches!(refused, Err(OpenError::OtherFormat { found, .. }) if found == version),
                    "{refused:?}"
                );
            }
        }
    }

    #[test]
    fn a_superblock_lists_as_many_segments_as_a_log_may_have_and_no_more() {
        let segments = (0..SEGMENTS_MAX as u32).map(|slot| (u64::from(slot), slot)).collect();
        let full = Superblock { segments, ..sample(6) };
        assert!(Superblock::parse(&full.emit()).is_ok_and(|read| read == full));
        let damaged = |change: &dyn Fn(&mut [u8])| {
            let mut copy = full.emit();
            change(&mut copy);
            let crc = crc32c::crc32c(&copy[..AT_CRC.start]);
            put_u32(&mut copy, AT_CRC, crc);
            matches!(Superblock::parse(&copy), Err(CopyFlaw::Damaged))
        };
        assert!(!damaged(&|_| {}));
        for count in [SEGMENTS_MAX as u32 + 1, u32::MAX] {
            assert!(damaged(&|copy| put_u32(copy, AT_SEGMENTS, count)), "{count} segments");
        }
        let entry = |at: usize| AT_LIST + at * ENTRY_BYTES;
        assert!(damaged(&|copy| put_u32(copy, entry(0) + 8..entry(0) + 12, 1)), "two segments in one file");
        let last = entry(SEGMENTS_MAX - 1);
        let index_max = u64::MAX / full.segment_bytes - 2;
        assert!(damaged(&|copy| put_u64(copy, last..last + 8, index_max)), "positions have an end");
        assert!(!damaged(&|copy| put_u64(copy, last..last + 8, index_max - 1)));
        for bytes in [0, 4097, u64::MAX] {
            assert!(damaged(&|copy| put_u64(copy, AT_SEGMENT_BYTES, bytes)), "segments of {bytes} bytes");
        }
    }
}
