//! What must hold of every input of the private decoders: the bodies of the fuzz targets in `fuzz/`, run on their corpus by the
//! ordinary tests too. Hidden, because it is no part of the library: the properties stand here so that the layouts need
//! not be public.
//!
//! Each input starts with flags that say which fields are made right, checksums among them, so that the fields behind are
//! reached. Each decoder is compared with what `FORMAT.md` says, written down a second time, in `oracle`.
//! Not here: messages and records of the owner (`fuzz/src`).

mod oracle;

use seam::Position;

use crate::bytesio::{get_u32, get_u64, put_u32, put_u64};
use crate::error::OpenError;
use crate::group::{self, Emit, Expect, Flaw, GroupInfo, GroupKind, HEADER_BYTES, RecordInGroup, RecordKind};
use crate::limits::{BLOCK_BYTES, GROUP_BYTES_MAX, SUPERBLOCK_BYTES};
use crate::lsn::Lsn;
use crate::segment::SegmentHeader;
use crate::slice;
use crate::superblock;
use crate::verdict::Rule;

const LOG_ID: u64 = 7;
const POSITION: Lsn = Lsn(8192);
const INCARNATION: u64 = 3;
const CHAIN: u64 = 99;
const SEGMENT_BYTES: u64 = 64 << 10;

/// Takes the flags off an input.
fn split(input: &[u8]) -> Option<(Flags, &[u8])> {
    let (flags, body) = input.split_first_chunk()?;
    Some((Flags(u16::from_le_bytes(*flags)), body))
}

#[derive(Clone, Copy)]
struct Flags(u16);

impl Flags {
    fn has(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }
}

/// A group's header, payload and records. Each of these functions says whether the decoder accepted the input.
pub fn group(input: &[u8]) -> bool {
    let Some((flags, body)) = split(input) else { return false };
    if flags.has(15) {
        return damaged_group(body);
    }
    let opened = if flags.has(9) { Lsn(POSITION.0 + 4096) } else { POSITION };
    let expect = Expect { log_id: LOG_ID, lsn: POSITION, incarnation: INCARNATION, opened, chain: CHAIN };
    let mut bytes = body.to_vec();
    if flags.has(8) {
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    }
    if bytes.len() >= HEADER_BYTES {
        make_right(flags, &mut bytes);
    }
    let checked = group::check(&bytes, &expect);
    assert_eq!(checked.map(|_| ()), oracle::group(&bytes, &expect));
    if let Ok(info) = checked {
        reads_back(&bytes[..info.padded_bytes() as usize], &info);
    }
    // As the scan does, which looks at every block.
    for at in (0..bytes.len()).step_by(BLOCK_BYTES) {
        if let Ok(info) = group::parse_header(&bytes[at..]) {
            assert!(info.durable <= info.lsn && crc32c::crc32c(&bytes[at..at + 84]) == get_u32(&bytes[at..], 84..88));
        }
    }
    slice_reads_back(body);
    checked.is_ok()
}

fn make_right(flags: Flags, bytes: &mut [u8]) {
    let numbers = [(0, 0..8, u64::from_le_bytes(*b"asntGRP\x02")), (1, 8..16, LOG_ID), (2, 16..24, POSITION.0)];
    let more = [(3, 24..32, INCARNATION), (4, 40..48, CHAIN), (5, 48..56, POSITION.0)];
    for (bit, at, number) in numbers.into_iter().chain(more) {
        if flags.has(bit) {
            put_u64(bytes, at, number);
        }
    }
    if flags.has(10) {
        bytes[57..64].fill(0);
    }
    if flags.has(11) {
        let length = bytes.len() - HEADER_BYTES;
        put_u32(bytes, 32..36, length as u32);
    }
    let end = (HEADER_BYTES + get_u32(bytes, 32..36) as usize).next_multiple_of(BLOCK_BYTES);
    if flags.has(6) && end <= bytes.len() {
        let crc = oracle::payload_crc(&bytes[8..24], &bytes[HEADER_BYTES..end]);
        put_u32(bytes, 80..84, crc);
    }
    if flags.has(7) {
        let crc = crc32c::crc32c(&bytes[..84]);
        put_u32(bytes, 84..88, crc);
    }
}

/// A valid group is what its fields make again, and so are its records if they are valid.
fn reads_back(bytes: &[u8], info: &GroupInfo) {
    assert!(bytes.len() <= GROUP_BYTES_MAX && bytes.len().is_multiple_of(BLOCK_BYTES));
    let mut again = bytes.to_vec();
    again[..HEADER_BYTES].fill(0);
    let GroupInfo { log_id, lsn, incarnation, length, records, chain, durable, kind, before, .. } = *info;
    let fields = Emit { log_id, lsn, incarnation, length, records, chain, durable, kind, before };
    let after = group::emit(&mut again, &fields);
    assert!(again == bytes && after == info.chain_after(), "a valid group is written otherwise");
    let mut records = vec![0; HEADER_BYTES];
    let walked = group::records::<()>(bytes, info, &mut |RecordInGroup { offset, kind, payload, .. }| {
        let at = records.len();
        group::begin_record(&mut records, kind);
        assert_eq!(offset, records.len());
        records.extend_from_slice(payload);
        group::end_record(&mut records, at);
        if kind == RecordKind::TableSlice {
            slice_reads_back(payload);
        }
        Ok(())
    });
    let last = walked.map(|last| last.map(|last| (last.index.0, last.hash)));
    let before = (before.index.0, before.hash);
    assert_eq!(last, oracle::last_of(&bytes[HEADER_BYTES..][..length as usize], info.records, before).map(Ok));
    if walked.is_some() {
        assert!(records[HEADER_BYTES..] == bytes[HEADER_BYTES..records.len()], "valid records are written otherwise");
    }
}

fn slice_reads_back(payload: &[u8]) {
    let mut count = 0_u32;
    let mut again = vec![0; slice::HEAD_BYTES];
    let parsed = slice::parse(payload, &mut |entry| {
        count += 1;
        match entry {
            slice::Entry::Whole { key, value, offset } => {
                assert_eq!(offset, slice::emit_whole(&mut again, key, value));
            }
            slice::Entry::Pointer { key, pointer } => slice::emit_pointer(&mut again, key, pointer),
        }
    });
    if parsed.is_some() {
        again[..slice::HEAD_BYTES].copy_from_slice(&count.to_le_bytes());
        assert!(again == payload, "a valid table slice is written otherwise");
    }
}

/// A valid group with the bytes of the input as its record, damaged: up to 32 bits in a row, or cut.
fn damaged_group(body: &[u8]) -> bool {
    let Some((place, payload)) = body.split_first_chunk::<8>() else { return false };
    let mut bytes = vec![0; HEADER_BYTES];
    group::begin_record(&mut bytes, RecordKind::Owner);
    bytes.extend_from_slice(payload);
    group::end_record(&mut bytes, HEADER_BYTES);
    let length = (bytes.len() - HEADER_BYTES) as u32;
    bytes.resize(group::padded(bytes.len()), 0);
    let (lsn, durable, kind) = (POSITION, POSITION, GroupKind::Data);
    let (log_id, incarnation, chain, before) = (LOG_ID, INCARNATION, CHAIN, Position::UNKNOWN);
    group::emit(&mut bytes, &Emit { log_id, lsn, incarnation, length, records: 1, chain, durable, kind, before });
    let expect = Expect { log_id, lsn, incarnation, opened: lsn, chain };
    assert!(group::check(&bytes, &expect).is_ok());
    let at = get_u32(place, 0..4) as usize % bytes.len();
    assert_eq!(group::check(&bytes[..at], &expect).err(), Some(Flaw::Length));
    let is_damaged = damage(&mut bytes, at, &place[4..]);
    assert_eq!(group::check(&bytes, &expect).is_err(), is_damaged, "damage at byte {at}");
    !is_damaged
}

/// Flips the bits of `mask` in the bytes from `at` on, without those past the end; whether there were any.
fn damage(bytes: &mut [u8], at: usize, mask: &[u8]) -> bool {
    bytes[at..].iter_mut().zip(mask).fold(false, |any, (byte, mask)| {
        *byte ^= mask;
        any || *mask != 0
    })
}

/// A segment's header.
pub fn segment_header(input: &[u8]) -> bool {
    let Some((flags, body)) = split(input) else { return false };
    let mut block = body.to_vec();
    if !flags.has(4) {
        block.resize(BLOCK_BYTES, 0);
    }
    if block.len() >= BLOCK_BYTES {
        if flags.has(0) {
            put_u64(&mut block, 0..8, u64::from_le_bytes(*b"asntSEG\x01"));
        }
        if flags.has(1) {
            put_u64(&mut block, 8..16, LOG_ID);
        }
        if flags.has(2) {
            let crc = crc32c::crc32c(&block[..BLOCK_BYTES - 4]);
            put_u32(&mut block, BLOCK_BYTES - 4..BLOCK_BYTES, crc);
        }
    }
    let parsed = SegmentHeader::parse_any(&block, LOG_ID);
    assert_eq!(parsed.is_some(), oracle::segment_header(&block, LOG_ID));
    let Some(header) = parsed else { return false };
    let mut again = vec![0xff; BLOCK_BYTES];
    header.emit(&mut again);
    assert!(again == block[..BLOCK_BYTES], "a valid segment header is written otherwise");
    assert_eq!(SegmentHeader::parse(&block, LOG_ID, header.index), Some(header));
    assert_eq!(SegmentHeader::parse(&block, LOG_ID, !header.index), None);
    assert_eq!(SegmentHeader::parse_any(&block, !LOG_ID), None);
    let at = get_u64(&block, 16..24) as usize % BLOCK_BYTES;
    let mask = [block[24], block[32], block[40], block[41]];
    if damage(&mut block[..BLOCK_BYTES], at, &mask) {
        assert_eq!(SegmentHeader::parse_any(&block, LOG_ID), None, "damage at byte {at} is not noticed");
    }
    true
}

/// The superblock file: the beginnings of its two copies, half of the input each.
pub fn superblock(input: &[u8]) -> bool {
    let Some((flags, body)) = split(input) else { return false };
    let (first, second) = body.split_at(body.len() / 2);
    let mut file = [superblock_copy(flags, 0, first), superblock_copy(flags, 4, second)].concat();
    if flags.has(8) {
        // The second copy is a later or an earlier state of the first.
        file.copy_within(..SUPERBLOCK_BYTES, SUPERBLOCK_BYTES);
        let copy = &mut file[SUPERBLOCK_BYTES..];
        copy[24] ^= second.first().copied().unwrap_or(1);
        seal_superblock(copy);
    }
    if flags.has(9) {
        let length = body.iter().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        file.truncate(length % file.len());
    }
    let copies = [0, 1].map(|copy| oracle::superblock_copy(&file, copy));
    let other = copies.iter().find_map(|copy| copy.other);
    let valid = || copies.iter().enumerate().filter(|(_, copy)| copy.valid);
    let chosen = superblock::choose(Some(&file), "superblock", flags.has(10));
    let is_accepted = chosen.is_ok();
    match chosen {
        Ok(Some(chosen)) => {
            let copy = 1 - chosen.write_first;
            let again = chosen.superblock.emit();
            assert!(file[copy * SUPERBLOCK_BYTES..][..SUPERBLOCK_BYTES] == again, "a valid copy is written otherwise");
            assert!(other.is_none() && copies[copy].valid);
            let best = valid().map(|(copy, found)| (found.sequence, 1 - copy)).max();
            assert_eq!(best, Some((chosen.superblock.sequence, chosen.write_first)));
            let rule = if valid().count() == 2 { Rule::SuperblockSound } else { Rule::SuperblockOneCopy };
            assert_eq!(chosen.rule, rule);
        }
        Ok(None) => panic!("a file that is there is a log or damaged"),
        Err(OpenError::OtherFormat { found, .. }) => assert_eq!(Some(found), other),
        Err(OpenError::Corrupt { file, rule, .. }) => {
            assert!(other.is_none() && valid().count() == 0, "a valid copy is refused");
            assert_eq!((file.as_str(), rule), ("superblock", Rule::SuperblockDamaged));
        }
        Err(other) => panic!("{other}"),
    }
    is_accepted
}

fn superblock_copy(flags: Flags, first_bit: u32, beginning: &[u8]) -> Vec<u8> {
    let mut copy = vec![0; SUPERBLOCK_BYTES];
    let beginning = &beginning[..beginning.len().min(SUPERBLOCK_BYTES)];
    copy[..beginning.len()].copy_from_slice(beginning);
    if flags.has(first_bit) {
        put_u64(&mut copy, 0..8, u64::from_le_bytes(*b"asntSUP\x01"));
    }
    if flags.has(first_bit + 1) {
        put_u32(&mut copy, 8..12, superblock::VERSION);
    }
    if flags.has(first_bit + 2) {
        put_u64(&mut copy, 56..64, SEGMENT_BYTES);
    }
    if flags.has(first_bit + 3) {
        seal_superblock(&mut copy);
    }
    copy
}

fn seal_superblock(copy: &mut [u8]) {
    let crc = crc32c::crc32c(&copy[..SUPERBLOCK_BYTES - 4]);
    put_u32(copy, SUPERBLOCK_BYTES - 4..SUPERBLOCK_BYTES, crc);
}
