//! `FORMAT.md` once more, row by row, and nothing of the decoders.

use std::collections::BTreeSet;

use crate::bytesio::{get_u32, get_u64};
use crate::group::{Expect, Flaw};

const BLOCK: usize = 4096;
const COPY: usize = 64 << 10;

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The crc of log id and LSN, then all bytes from 88 to the end of the padding.
pub(super) fn payload_crc(id_and_lsn: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c(&[id_and_lsn, payload].concat())
}

/// "A group at position P is valid if and only if, checked in this order".
pub(super) fn group(bytes: &[u8], expect: &Expect) -> Result<(), Flaw> {
    if bytes.len() < 88 {
        return Err(Flaw::Length);
    }
    if &bytes[..8] != b"asntGRP\x02" {
        if get_u64(bytes, 8..16) == expect.log_id && get_u64(bytes, 16..24) == expect.lsn.0 {
            return Err(Flaw::HeaderCrc);
        }
        return Err(if is_zero(&bytes[..bytes.len().min(BLOCK)]) { Flaw::Zeros } else { Flaw::NoMagic });
    }
    if crc32c::crc32c(&bytes[..84]) != get_u32(bytes, 84..88) {
        return Err(Flaw::HeaderCrc);
    }
    let (lsn, durable) = (get_u64(bytes, 16..24), get_u64(bytes, 48..56));
    let (length, records) = (get_u32(bytes, 32..36), get_u32(bytes, 36..40));
    let holds = if bytes[56] == 1 { length > 0 || records > 0 } else { length == 0 && records == 0 };
    if !(1..=3).contains(&bytes[56]) || !is_zero(&bytes[57..64]) || durable > lsn || !holds {
        return Err(Flaw::HeaderFields);
    }
    if get_u64(bytes, 8..16) != expect.log_id {
        return Err(Flaw::OtherLog);
    }
    if lsn != expect.lsn.0 {
        return Err(Flaw::OtherLsn(lsn));
    }
    let incarnation = get_u64(bytes, 24..32);
    if incarnation > expect.incarnation {
        return Err(Flaw::LaterIncarnation);
    }
    let right =
        if lsn >= expect.opened.0 { incarnation == expect.incarnation } else { incarnation < expect.incarnation };
    if !right {
        return Err(Flaw::OtherIncarnation);
    }
    if get_u64(bytes, 40..48) != expect.chain {
        return Err(Flaw::Chain);
    }
    let end = (88 + length as usize).next_multiple_of(BLOCK);
    if end > 4 << 20 || end > bytes.len() {
        return Err(Flaw::Length);
    }
    let crc = payload_crc(&bytes[8..24], &bytes[88..end]);
    if crc == get_u32(bytes, 80..84) { Ok(()) } else { Err(Flaw::PayloadCrc) }
}

/// Whether so many records, each of a length, a known kind and a payload, fill these bytes; then the index and the hash after the
/// last one.
pub(super) fn last_of(payload: &[u8], records: u32, before: (u64, u64)) -> Option<(u64, u64)> {
    let (mut at, (mut index, mut hash)) = (0, before);
    for _ in 0..records {
        if at + 5 > payload.len() || !(1..=6).contains(&payload[at + 4]) {
            return None;
        }
        let length = get_u32(payload, at..at + 4) as usize;
        let record = payload.get(at + 5..at + 5 + length)?;
        match payload[at + 4] {
            1 => (index, hash) = (index.checked_add(1)?, hash_after(hash, record)),
            6 if length != 8 || get_u64(record, 0..8) < index => return None,
            6 => (index, hash) = (get_u64(record, 0..8), hash_after(hash, record)),
            _ => {}
        }
        at += 5 + length;
    }
    (at == payload.len()).then_some((index, hash))
}

/// "Position".
fn hash_after(before: u64, record: &[u8]) -> u64 {
    let crc_and_length = (u128::from(crc32c::crc32c(record)) << 32) as u64 | record.len() as u64;
    let x = before.rotate_left(23) ^ crc_and_length;
    let x = (u128::from(x) * 0x9e37_79b9_7f4a_7c15) as u64;
    let x = x ^ x >> 29;
    if x == 0 { 1 } else { x }
}

/// Whether the block is the header of a segment of this log.
pub(super) fn segment_header(block: &[u8], log_id: u64) -> bool {
    block.len() >= BLOCK
        && &block[..8] == b"asntSEG\x01"
        && get_u64(block, 8..16) == log_id
        && is_zero(&block[48..4092])
        && crc32c::crc32c(&block[..4092]) == get_u32(block, 4092..4096)
}

/// What a copy of the superblock is.
pub(super) struct Copy {
    pub(super) valid: bool,
    /// Its version, if that is all that is wrong.
    pub(super) other: Option<u32>,
    pub(super) sequence: u64,
}

/// The copy with this number.
pub(super) fn superblock_copy(file: &[u8], number: usize) -> Copy {
    let whole = file.get(number * COPY..(number + 1) * COPY);
    let sealed =
        |copy: &&[u8]| &copy[..8] == b"asntSUP\x01" && crc32c::crc32c(&copy[..65532]) == get_u32(copy, 65532..65536);
    let Some(copy) = whole.filter(sealed) else { return Copy { valid: false, other: None, sequence: 0 } };
    let version = get_u32(copy, 8..12);
    let other = (version != 2).then_some(version);
    let valid = version == 2 && superblock_fields(copy);
    Copy { valid, other, sequence: get_u64(copy, 24..32) }
}

fn superblock_fields(copy: &[u8]) -> bool {
    let segment_bytes = get_u64(copy, 56..64);
    let count = get_u32(copy, 104..108) as usize;
    if count > 5400 || !(64 << 10..=1 << 30).contains(&segment_bytes) || !segment_bytes.is_multiple_of(4096) {
        return false;
    }
    let (list, rest) = copy[120..65532].split_at(12 * count);
    let entries: Vec<(u64, u32)> = list.chunks(12).map(|entry| (get_u64(entry, 0..8), get_u32(entry, 8..12))).collect();
    let slots: BTreeSet<u32> = entries.iter().map(|(_, slot)| *slot).collect();
    let zero = [&copy[12..16], &copy[42..44], &copy[108..112], rest].into_iter().all(is_zero);
    // The two segments after the last one have positions too.
    let in_range = entries.iter().all(|(index, _)| *index < u64::MAX / segment_bytes - 2);
    zero && copy[41] <= 1 && in_range && slots.len() == count && entries.is_sorted_by(|a, b| a.0 < b.0)
}
