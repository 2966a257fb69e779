//! The layout of a segment's first block (`FORMAT.md`, "Segment header").
//!
//! It is written in the same write as the segment's first group. Not here: which file is which segment (`superblock`).

use std::ops::Range;

use crate::bytesio::{get_u32, get_u64, put_u32, put_u64};
use crate::limits::BLOCK_BYTES;
use crate::lsn::Lsn;

const MAGIC: u64 = u64::from_le_bytes(*b"asntSEG\x01");

const AT_MAGIC: Range<usize> = 0..8;
const AT_LOG_ID: Range<usize> = 8..16;
const AT_INDEX: Range<usize> = 16..24;
const AT_INCARNATION: Range<usize> = 24..32;
const AT_FINAL: Range<usize> = 32..40;
const AT_CHAIN: Range<usize> = 40..48;
const AT_CRC: Range<usize> = BLOCK_BYTES - 4..BLOCK_BYTES;

/// What a segment says of itself and of the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) log_id: u64,
    pub(crate) index: u64,
    pub(crate) incarnation: u64,
    /// Where the last group of the segment before ends; all before it was durable when this was written.
    pub(crate) final_lsn: Lsn,
    /// The chain value there.
    pub(crate) chain: u64,
}

impl SegmentHeader {
    /// Writes the header over the first block of `block`.
    pub(crate) fn emit(&self, block: &mut [u8]) {
        let block = &mut block[..BLOCK_BYTES];
        block.fill(0);
        put_u64(block, AT_MAGIC, MAGIC);
        put_u64(block, AT_LOG_ID, self.log_id);
        put_u64(block, AT_INDEX, self.index);
        put_u64(block, AT_INCARNATION, self.incarnation);
        put_u64(block, AT_FINAL, self.final_lsn.0);
        put_u64(block, AT_CHAIN, self.chain);
        let crc = crc32c::crc32c(&block[..AT_CRC.start]);
        put_u32(block, AT_CRC, crc);
    }

    /// Reads the header of segment `index` of log `log_id`; `None` if the block is anything else.
    pub(crate) fn parse(block: &[u8], log_id: u64, index: u64) -> Option<SegmentHeader> {
        SegmentHeader::parse_any(block, log_id).filter(|header| header.index == index)
    }

    /// Reads the header of any segment of log `log_id`; `None` if the block is anything else.
    pub(crate) fn parse_any(block: &[u8], log_id: u64) -> Option<SegmentHeader> {
        SegmentHeader::parse_own(block).filter(|header| header.log_id == log_id)
    }

    /// Reads the header of any segment of whatever log; `None` if the block is anything else.
    pub(crate) fn parse_own(block: &[u8]) -> Option<SegmentHeader> {
        let block = block.get(..BLOCK_BYTES)?;
        let crc = get_u32(block, AT_CRC);
        let reserved = block[AT_CHAIN.end..AT_CRC.start].iter().all(|&byte| byte == 0);
        if get_u64(block, AT_MAGIC) != MAGIC || crc32c::crc32c(&block[..AT_CRC.start]) != crc || !reserved {
            return None;
        }
        Some(SegmentHeader {
            log_id: get_u64(block, AT_LOG_ID),
            index: get_u64(block, AT_INDEX),
            incarnation: get_u64(block, AT_INCARNATION),
            final_lsn: Lsn(get_u64(block, AT_FINAL)),
            chain: get_u64(block, AT_CHAIN),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_a_segment_header_stands_still() {
        let mut block = vec![0; BLOCK_BYTES];
        SegmentHeader { log_id: 1, index: 2, incarnation: 3, final_lsn: Lsn(4), chain: 5 }.emit(&mut block);
        crate::fixture::assert_same("segment-header", &block);
    }

    #[test]
    fn a_segment_header_reads_back_and_every_flipped_bit_is_noticed() {
        let header = SegmentHeader { log_id: 1, index: 2, incarnation: 3, final_lsn: Lsn(4), chain: 5 };
        let mut block = vec![0xff; BLOCK_BYTES];
        header.emit(&mut block);
        assert_eq!(SegmentHeader::parse(&block, 1, 2), Some(header));
        assert_eq!(SegmentHeader::parse(&block, 2, 2), None);
        assert_eq!(SegmentHeader::parse(&block, 1, 3), None);
        for bit in 0..block.len() * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::parse(&block, 1, 2), None, "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
