//! The layout of a group and of the records in it (`FORMAT.md`, "Group").
//!
//! Invariant: the header's crc is checked before any other field is used, and the length before anything is read by it.
//! Not here: where groups lie (`log`, `scan`).

use std::ops::Range;

use planted::planted;

use crate::bytesio::{get_u32, get_u64, put_u32, put_u64, take, take_u32};
use crate::limits::{BLOCK_BYTES, GROUP_BYTES_MAX};
use crate::lsn::Lsn;
use crate::{Index, Position};

const MAGIC: u64 = u64::from_le_bytes(*b"asntGRP\x02");

const AT_MAGIC: Range<usize> = 0..8;
const AT_LOG_ID: Range<usize> = 8..16;
const AT_LSN: Range<usize> = 16..24;
const AT_INCARNATION: Range<usize> = 24..32;
const AT_LENGTH: Range<usize> = 32..36;
const AT_RECORDS: Range<usize> = 36..40;
const AT_CHAIN: Range<usize> = 40..48;
const AT_DURABLE: Range<usize> = 48..56;
const AT_KIND: usize = 56;
const AT_RESERVED: Range<usize> = 57..64;
const AT_INDEX: Range<usize> = 64..72;
const AT_HASH: Range<usize> = 72..80;
const AT_PAYLOAD_CRC: Range<usize> = 80..84;
const AT_HEADER_CRC: Range<usize> = 84..88;

/// Size of a group's header.
pub(crate) const HEADER_BYTES: usize = 88;

/// Size of the head of a record: length and kind.
pub(crate) const RECORD_HEAD_BYTES: usize = 5;

const _: () = assert!(AT_HEADER_CRC.end == HEADER_BYTES && HEADER_BYTES <= BLOCK_BYTES);

/// What a group is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupKind {
    /// It carries records.
    Data,
    /// It is empty and raises the durable mark over the group before.
    Seal,
    /// It is empty and the last group before a clean stop.
    CleanSeal,
}

impl GroupKind {
    fn code(self) -> u8 {
        match self {
            GroupKind::Data => 1,
            GroupKind::Seal => 2,
            GroupKind::CleanSeal => 3,
        }
    }

    fn from_code(code: u8) -> Option<GroupKind> {
        match code {
            1 => Some(GroupKind::Data),
            2 => Some(GroupKind::Seal),
            3 => Some(GroupKind::CleanSeal),
            _ => None,
        }
    }
}

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordKind {
    /// The owner's bytes.
    Owner,
    /// A part of the table, written by a checkpoint.
    TableSlice,
    /// A checkpoint starts here.
    CheckpointBegin,
    /// The checkpoint whose begin it names is whole.
    CheckpointEnd,
    /// The owner's bytes, which a checkpoint made it log again: it has no position.
    OwnerAgain,
    /// A repaired log goes on after the index that it names.
    Resumed,
}

impl RecordKind {
    /// Whether the owner wrote its bytes.
    #[must_use]
    pub fn is_owners(self) -> bool {
        matches!(self, RecordKind::Owner | RecordKind::OwnerAgain)
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            RecordKind::Owner => 1,
            RecordKind::TableSlice => 2,
            RecordKind::CheckpointBegin => 3,
            RecordKind::CheckpointEnd => 4,
            RecordKind::OwnerAgain => 5,
            RecordKind::Resumed => 6,
        }
    }

    fn from_code(code: u8) -> Option<RecordKind> {
        match code {
            1 => Some(RecordKind::Owner),
            2 => Some(RecordKind::TableSlice),
            3 => Some(RecordKind::CheckpointBegin),
            4 => Some(RecordKind::CheckpointEnd),
            5 => Some(RecordKind::OwnerAgain),
            6 => Some(RecordKind::Resumed),
            _ => None,
        }
    }
}

/// The header of a group, as it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupInfo {
    /// Where the group starts.
    pub lsn: Lsn,
    /// Which opening of the log wrote it.
    pub incarnation: u64,
    /// Bytes of its records, without header and padding.
    pub length: u32,
    /// Number of its records.
    pub records: u32,
    /// The durable mark when it was issued.
    pub durable: Lsn,
    /// What it is for.
    pub kind: GroupKind,
    /// The position of the last record before it that has one.
    pub before: Position,
    pub(crate) log_id: u64,
    pub(crate) chain: u64,
    payload_crc: u32,
    header_crc: u32,
}

impl GroupInfo {
    /// Bytes that the group takes in the log, with header and padding.
    #[must_use]
    pub fn padded_bytes(&self) -> u64 {
        padded(HEADER_BYTES + self.length as usize) as u64
    }

    /// The position just past the group.
    #[must_use]
    pub fn end(&self) -> Lsn {
        Lsn(self.lsn.0 + self.padded_bytes())
    }

    /// The chain value that the next group states.
    pub(crate) fn chain_after(&self) -> u64 {
        chain_next(self.chain, self.header_crc, self.payload_crc)
    }
}

/// `bytes` rounded up to whole blocks.
pub(crate) fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// Binds a group to all before it.
fn chain_next(chain: u64, header_crc: u32, payload_crc: u32) -> u64 {
    let mixed = chain.rotate_left(23) ^ (u64::from(header_crc) << 32 | u64::from(payload_crc));
    let mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

/// The payload's crc32c starts from the log's id and the position, so that bytes of another place do not pass.
pub(crate) fn payload_seed(log_id: u64, lsn: Lsn) -> u32 {
    let mut seed = [0; 16];
    put_u64(&mut seed, 0..8, log_id);
    put_u64(&mut seed, 8..16, lsn.0);
    crc32c::crc32c(&seed)
}

fn payload_crc(log_id: u64, lsn: Lsn, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(payload_seed(log_id, lsn), payload)
}

/// Follows the positions of a log record by record (`FORMAT.md`, "Position").
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Follower {
    last: Position,
}

impl Follower {
    /// After the record at `last`.
    pub(crate) fn after(last: Position) -> Follower {
        Follower { last }
    }

    /// The position of the last record that has one.
    pub(crate) fn last(&self) -> Position {
        self.last
    }

    /// The position of the next record, or behind which one it stands if it is of a kind that has none; `None` if there cannot
    /// be such a record here.
    pub(crate) fn follow(&mut self, kind: RecordKind, payload: &[u8]) -> Option<Position> {
        match kind {
            RecordKind::Owner => {
                self.last = (self.last.index < Index(u64::MAX)).then(|| self.last.next(payload))?;
                Some(self.last)
            }
            RecordKind::Resumed => {
                let last = Index(u64::from_le_bytes(payload.try_into().ok()?));
                self.last = (last >= self.last.index).then(|| self.last.resumed(last))?;
                Some(self.last.behind())
            }
            RecordKind::OwnerAgain
            | RecordKind::TableSlice
            | RecordKind::CheckpointBegin
            | RecordKind::CheckpointEnd => Some(self.last.behind()),
        }
    }
}

/// What the writer knows when it closes a group.
pub(crate) struct Emit {
    pub(crate) log_id: u64,
    pub(crate) lsn: Lsn,
    pub(crate) incarnation: u64,
    pub(crate) length: u32,
    pub(crate) records: u32,
    pub(crate) chain: u64,
    pub(crate) durable: Lsn,
    pub(crate) kind: GroupKind,
    pub(crate) before: Position,
}

/// Fills in the header of a padded group in place; returns the chain value after it.
pub(crate) fn emit(group: &mut [u8], fields: &Emit) -> u64 {
    let crc = payload_crc(fields.log_id, fields.lsn, &group[HEADER_BYTES..HEADER_BYTES + fields.length as usize]);
    emit_followed(group, fields, crc)
}

/// The same for who has followed the payload's crc up to the end of the last record.
pub(crate) fn emit_followed(group: &mut [u8], fields: &Emit, crc: u32) -> u64 {
    assert_eq!(group.len(), padded(HEADER_BYTES + fields.length as usize));
    assert!(group.len() <= GROUP_BYTES_MAX && fields.durable <= fields.lsn);
    let payload_crc = crc32c::crc32c_append(crc, &group[HEADER_BYTES + fields.length as usize..]);
    debug_assert_eq!(payload_crc, self::payload_crc(fields.log_id, fields.lsn, &group[HEADER_BYTES..]));
    put_u64(group, AT_MAGIC, MAGIC);
    put_u64(group, AT_LOG_ID, fields.log_id);
    put_u64(group, AT_LSN, fields.lsn.0);
    put_u64(group, AT_INCARNATION, fields.incarnation);
    put_u32(group, AT_LENGTH, fields.length);
    put_u32(group, AT_RECORDS, fields.records);
    put_u64(group, AT_CHAIN, fields.chain);
    put_u64(group, AT_DURABLE, fields.durable.0);
    group[AT_KIND] = fields.kind.code();
    group[AT_RESERVED].fill(0);
    put_u64(group, AT_INDEX, fields.before.index.0);
    put_u64(group, AT_HASH, fields.before.hash);
    put_u32(group, AT_PAYLOAD_CRC, payload_crc);
    let header_crc = crc32c::crc32c(&group[..AT_HEADER_CRC.start]);
    put_u32(group, AT_HEADER_CRC, header_crc);
    chain_next(fields.chain, header_crc, payload_crc)
}

/// Why bytes are not a valid group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("the block is all zeros where a group should start")]
    Zeros,
    #[error("no group starts here")]
    NoMagic,
    #[error("the group header's checksum does not match")]
    HeaderCrc,
    #[error("the group header's fields contradict each other")]
    HeaderFields,
    #[error("the group is of another log")]
    OtherLog,
    #[error("the group says it is at LSN {0}")]
    OtherLsn(u64),
    #[error("the group is not of the opening of the log that wrote here")]
    OtherIncarnation,
    #[error("the group is of an opening of the log that the superblock does not know of")]
    LaterIncarnation,
    #[error("the group does not follow the one before (chain value)")]
    Chain,
    #[error("the group's length exceeds its segment")]
    Length,
    #[error("the segment ends here")]
    SegmentEnd,
    #[error("the group's payload checksum does not match")]
    PayloadCrc,
}

/// Reads a header by itself: magic, crc, and what it says of itself.
pub(crate) fn parse_header(bytes: &[u8]) -> Result<GroupInfo, Flaw> {
    let Some(head) = bytes.get(..HEADER_BYTES) else { return Err(Flaw::Length) };
    if get_u64(head, AT_MAGIC) != MAGIC {
        let block = &bytes[..bytes.len().min(BLOCK_BYTES)];
        return Err(if block.iter().all(|&byte| byte == 0) { Flaw::Zeros } else { Flaw::NoMagic });
    }
    let header_crc = get_u32(head, AT_HEADER_CRC);
    if crc32c::crc32c(&head[..AT_HEADER_CRC.start]) != header_crc {
        return Err(Flaw::HeaderCrc);
    }
    let kind = GroupKind::from_code(head[AT_KIND]).ok_or(Flaw::HeaderFields)?;
    let info = GroupInfo {
        lsn: Lsn(get_u64(head, AT_LSN)),
        incarnation: get_u64(head, AT_INCARNATION),
        length: get_u32(head, AT_LENGTH),
        records: get_u32(head, AT_RECORDS),
        durable: Lsn(get_u64(head, AT_DURABLE)),
        kind,
        before: Position { index: Index(get_u64(head, AT_INDEX)), hash: get_u64(head, AT_HASH) },
        log_id: get_u64(head, AT_LOG_ID),
        chain: get_u64(head, AT_CHAIN),
        payload_crc: get_u32(head, AT_PAYLOAD_CRC),
        header_crc,
    };
    let empty = info.records == 0 && info.length == 0;
    let reserved = head[AT_RESERVED].iter().all(|&byte| byte == 0);
    let sane = reserved && info.durable <= info.lsn && empty == (kind != GroupKind::Data);
    if sane { Ok(info) } else { Err(Flaw::HeaderFields) }
}

/// What a reader expects at a position.
pub(crate) struct Expect {
    pub(crate) log_id: u64,
    pub(crate) lsn: Lsn,
    /// The last opening of the log, and where its groups start. What an earlier one left there was cut, and must not
    /// come back when later writes happen to supply the sectors that it lacked.
    pub(crate) incarnation: u64,
    pub(crate) opened: Lsn,
    pub(crate) chain: u64,
}

/// Whether a header that lost its magic names the log and the position that are expected: it was written for here.
fn is_named(bytes: &[u8], expect: &Expect) -> bool {
    let named = |head: &[u8]| (get_u64(head, AT_LOG_ID), Lsn(get_u64(head, AT_LSN))) == (expect.log_id, expect.lsn);
    bytes.get(..HEADER_BYTES).is_some_and(|head| get_u64(head, AT_MAGIC) != MAGIC && named(head))
}

/// Checks that `bytes`, which reach to the end of the segment, start with the group that is expected.
pub(crate) fn check(bytes: &[u8], expect: &Expect) -> Result<GroupInfo, Flaw> {
    if planted!("length-trusted") {
        let _ = payload_crc(expect.log_id, expect.lsn, &bytes[HEADER_BYTES..][..get_u32(bytes, AT_LENGTH) as usize]);
    }
    let info = parse_header(bytes).map_err(|flaw| if is_named(bytes, expect) { Flaw::HeaderCrc } else { flaw })?;
    if info.log_id != expect.log_id {
        return Err(Flaw::OtherLog);
    }
    if info.lsn != expect.lsn {
        return Err(Flaw::OtherLsn(info.lsn.0));
    }
    if info.incarnation > expect.incarnation {
        return Err(Flaw::LaterIncarnation);
    }
    let of_last_opening = info.lsn >= expect.opened;
    if (info.incarnation == expect.incarnation) != of_last_opening {
        return Err(Flaw::OtherIncarnation);
    }
    if info.chain != expect.chain {
        return Err(Flaw::Chain);
    }
    let bytes_padded = padded(HEADER_BYTES + info.length as usize);
    if bytes_padded > GROUP_BYTES_MAX || bytes_padded > bytes.len() {
        return Err(Flaw::Length);
    }
    if payload_crc(info.log_id, info.lsn, &bytes[HEADER_BYTES..bytes_padded]) != info.payload_crc
        && !planted!("payload-unchecked")
    {
        return Err(Flaw::PayloadCrc);
    }
    Ok(info)
}

/// Starts a record at the end of `bytes`; the payload follows, then [`end_record`].
pub(crate) fn begin_record(bytes: &mut Vec<u8>, kind: RecordKind) {
    bytes.extend_from_slice(&[0, 0, 0, 0, kind.code()]);
}

/// Fills in the length of the record whose head is at `at`; the payload reaches to the end of `bytes`.
pub(crate) fn end_record(bytes: &mut [u8], at: usize) -> usize {
    let length = bytes.len() - at - RECORD_HEAD_BYTES;
    put_u32(bytes, at..at + 4, length as u32);
    length
}

/// A record in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordInGroup<'a> {
    /// Where its payload starts in the group.
    pub(crate) offset: usize,
    pub(crate) kind: RecordKind,
    pub(crate) position: Position,
    pub(crate) payload: &'a [u8],
}

/// Walks the records of a valid group. Returns the position of the last one that has one, or what `visit` failed with;
/// `None` if the records contradict the header: the writer was wrong, or a crc collided.
pub(crate) fn records<'a, E>(
    group: &'a [u8],
    info: &GroupInfo,
    visit: &mut dyn FnMut(RecordInGroup<'a>) -> Result<(), E>,
) -> Option<Result<Position, E>> {
    let end = HEADER_BYTES + info.length as usize;
    let mut rest = group.get(HEADER_BYTES..end)?;
    let mut follower = Follower::after(info.before);
    for _ in 0..info.records {
        let length = take_u32(&mut rest)? as usize;
        let kind = RecordKind::from_code(*take(&mut rest, 1)?.first()?)?;
        let offset = end - rest.len();
        let payload = take(&mut rest, length)?;
        let position = follower.follow(kind, payload)?;
        if let Err(error) = visit(RecordInGroup { offset, kind, position, payload }) {
            return Some(Err(error));
        }
    }
    rest.is_empty().then(|| Ok(follower.last()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Position = Position { index: Index(5), hash: 55 };
    const OWNERS: [&[u8]; 3] = [b"one", b"", b"three"];

    fn sample() -> (Vec<u8>, Expect) {
        let mut bytes = vec![0; HEADER_BYTES];
        let again = (RecordKind::OwnerAgain, &b"one"[..]);
        let resumed = (RecordKind::Resumed, &[9, 0, 0, 0, 0, 0, 0, 0][..]);
        for (kind, payload) in OWNERS.map(|payload| (RecordKind::Owner, payload)).into_iter().chain([again, resumed]) {
            let at = bytes.len();
            begin_record(&mut bytes, kind);
            bytes.extend_from_slice(payload);
            end_record(&mut bytes, at);
        }
        let length = (bytes.len() - HEADER_BYTES) as u32;
        bytes.resize(padded(bytes.len()), 0);
        let expect = Expect { log_id: 7, lsn: Lsn(8192), incarnation: 3, opened: Lsn(8192), chain: 99 };
        let (kind, durable, before) = (GroupKind::Data, Lsn(8192), BEFORE);
        emit(
            &mut bytes,
            &Emit { log_id: 7, lsn: expect.lsn, incarnation: 3, length, records: 5, chain: 99, durable, kind, before },
        );
        (bytes, expect)
    }

    #[test]
    fn a_group_reads_back_as_it_was_written() {
        let (bytes, expect) = sample();
        let info = check(&bytes, &expect).unwrap();
        assert_eq!((info.records, info.end(), info.before), (5, Lsn(8192 + 4096), BEFORE));
        let mut seen = Vec::new();
        let walked = records::<()>(&bytes, &info, &mut |record| {
            seen.push(record);
            Ok(())
        });
        let [one, nothing, three] = OWNERS;
        let first = BEFORE.next(one);
        let last = first.next(nothing).next(three);
        assert_eq!(walked, Some(Ok(last.resumed(Index(9)))));
        let record = |offset, kind, position, payload| RecordInGroup { offset, kind, position, payload };
        let owner = RecordKind::Owner;
        let owners = [(93, first, one), (101, first.next(nothing), nothing), (106, last, three)];
        assert_eq!(seen[..3], owners.map(|(offset, position, payload)| record(offset, owner, position, payload)));
        assert_eq!(seen[3], record(116, RecordKind::OwnerAgain, last.behind(), one));
        assert_eq!(
            seen[4],
            record(124, RecordKind::Resumed, Position { index: Index(9), hash: 0 }, &[9, 0, 0, 0, 0, 0, 0, 0])
        );
    }

    #[test]
    fn the_format_of_a_group_stands_still() {
        let (bytes, _) = sample();
        crate::fixture::assert_same("group", &bytes);
    }

    #[test]
    fn every_flipped_bit_of_a_group_is_noticed() {
        let (bytes, expect) = sample();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&flipped, &expect).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_group_of_another_place_log_opening_or_history_is_refused() {
        let (bytes, expect) = sample();
        let with = |change: fn(&mut Expect)| {
            let mut other = Expect { ..expect };
            change(&mut other);
            check(&bytes, &other)
        };
        assert_eq!(with(|e| e.log_id = 8), Err(Flaw::OtherLog));
        assert_eq!(with(|e| e.lsn = Lsn(4096)), Err(Flaw::OtherLsn(8192)));
        assert_eq!(with(|e| e.incarnation = 2), Err(Flaw::LaterIncarnation));
        // Cut by the fourth opening, which starts here; or written by the third before it started.
        assert_eq!(with(|e| e.incarnation = 4), Err(Flaw::OtherIncarnation));
        assert_eq!(with(|e| e.opened = Lsn(12288)), Err(Flaw::OtherIncarnation));
        assert_eq!(with(|e| e.chain = 98), Err(Flaw::Chain));
        assert_eq!(check(&bytes[..4095], &expect), Err(Flaw::Length));
        assert_eq!(check(&[0; 4096], &expect), Err(Flaw::Zeros));
    }

    #[test]
    fn no_index_comes_twice_and_the_last_one_is_followed_by_none() {
        let mut follower = Follower::after(BEFORE);
        let index = |index: u64| index.to_le_bytes();
        assert_eq!(follower.follow(RecordKind::Resumed, &index(4)), None);
        assert_eq!(follower.follow(RecordKind::Resumed, &index(9)[..7]), None);
        assert_eq!(follower.last(), BEFORE);
        assert_eq!(follower.follow(RecordKind::Resumed, &index(5)), Some(BEFORE.behind()));
        assert_eq!(follower.last(), BEFORE.resumed(Index(5)));
        assert_eq!(
            follower.follow(RecordKind::Resumed, &index(u64::MAX)),
            Some(Position { index: Index(u64::MAX), hash: 0 })
        );
        assert_eq!(follower.follow(RecordKind::Owner, b"one"), None);
    }

    #[test]
    fn the_chain_stands_still() {
        assert_eq!(chain_next(0x0123_4567_89ab_cdef, 0x99aa_bbcc, 0xddee_ff11), 0xda3e_1d32_149b_2109);
    }

    /// A header whose fields are changed after it was written, and its checksum made right again.
    fn contradicting(change: &dyn Fn(&mut [u8])) -> Vec<u8> {
        let (mut bytes, _) = sample();
        change(&mut bytes);
        let header_crc = crc32c::crc32c(&bytes[..AT_HEADER_CRC.start]);
        put_u32(&mut bytes, AT_HEADER_CRC, header_crc);
        bytes
    }

    #[test]
    fn each_contradiction_of_a_header_is_noticed() {
        let flaw = |change: &dyn Fn(&mut [u8])| parse_header(&contradicting(change)).err();
        assert_eq!(flaw(&|_| {}), None);
        assert_eq!(flaw(&|bytes| bytes[AT_RESERVED.start] = 1), Some(Flaw::HeaderFields));
        assert_eq!(flaw(&|bytes| put_u64(bytes, AT_DURABLE, 8193)), Some(Flaw::HeaderFields));
        assert_eq!(flaw(&|bytes| bytes[AT_KIND] = GroupKind::Seal.code()), Some(Flaw::HeaderFields));
        let seal_of_no_records = |bytes: &mut [u8]| {
            bytes[AT_KIND] = GroupKind::Seal.code();
            put_u32(bytes, AT_RECORDS, 0);
        };
        assert_eq!(flaw(&seal_of_no_records), Some(Flaw::HeaderFields), "it has bytes");
    }

    #[test]
    fn a_group_may_be_as_long_as_groups_may_be_and_no_longer() {
        let (_, expect) = sample();
        let (log_id, chain, kind, before) = (expect.log_id, expect.chain, GroupKind::Data, BEFORE);
        let length = (GROUP_BYTES_MAX - HEADER_BYTES) as u32;
        let fields = Emit {
            log_id,
            lsn: expect.lsn,
            incarnation: 3,
            length,
            records: 1,
            chain,
            durable: expect.lsn,
            kind,
            before,
        };
        let mut bytes = vec![0; GROUP_BYTES_MAX];
        emit(&mut bytes, &fields);
        bytes.resize(GROUP_BYTES_MAX + BLOCK_BYTES, 0);
        assert_eq!(check(&bytes, &expect).map(|info| info.padded_bytes()), Ok(GROUP_BYTES_MAX as u64));
        put_u32(&mut bytes, AT_LENGTH, length + 1);
        let header_crc = crc32c::crc32c(&bytes[..AT_HEADER_CRC.start]);
        put_u32(&mut bytes, AT_HEADER_CRC, header_crc);
        assert_eq!(check(&bytes, &expect), Err(Flaw::Length));
    }
}
