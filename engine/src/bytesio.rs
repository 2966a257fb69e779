//! Little-endian numbers at named ranges, for the files that own a layout.

use std::ops::Range;

pub(crate) fn get_u32(bytes: &[u8], at: Range<usize>) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at]);
    u32::from_le_bytes(raw)
}

pub(crate) fn get_u64(bytes: &[u8], at: Range<usize>) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at]);
    u64::from_le_bytes(raw)
}

pub(crate) fn put_u32(bytes: &mut [u8], at: Range<usize>, value: u32) {
    bytes[at].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(bytes: &mut [u8], at: Range<usize>, value: u64) {
    bytes[at].copy_from_slice(&value.to_le_bytes());
}

/// The first `count` bytes of `bytes`, which moves past them; `None` if there are fewer.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(count)?;
    *bytes = tail;
    Some(head)
}

/// The next number of four bytes, which `bytes` moves past.
pub(crate) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes, 4).map(|raw| get_u32(raw, 0..4))
}

/// The next number of eight bytes, which `bytes` moves past.
pub(crate) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes, 8).map(|raw| get_u64(raw, 0..8))
}
