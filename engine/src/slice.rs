//! The layout of a table slice: the entries that a checkpoint writes again (`FORMAT.md`, "Table slice").
//!
//! Not here: which entries, and when (`table`, `checkpoint`).

use crate::bytesio::{take, take_u32, take_u64};
use crate::lsn::Lsn;

const TAG_WHOLE: u8 = 0;
const TAG_POINTER: u8 = 1;

/// Bytes of a slice before its first entry.
pub(crate) const HEAD_BYTES: usize = 4;

/// Most bytes of an entry beside its key and value: tag, key length, and a pointer.
pub(crate) const ENTRY_BYTES_MAX: usize = 1 + 4 + 16;

/// Where a large value lies in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pointer {
    pub(crate) lsn: Lsn,
    pub(crate) length: u32,
    pub(crate) crc: u32,
}

/// One entry of a slice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry<'a> {
    /// The value itself, and its offset within the slice.
    Whole { key: &'a [u8], value: &'a [u8], offset: usize },
    /// A value that stays where it is.
    Pointer { key: &'a [u8], pointer: Pointer },
}

/// Appends an entry with its value; returns the offset of the value in `bytes`.
pub(crate) fn emit_whole(bytes: &mut Vec<u8>, key: &[u8], value: &[u8]) -> usize {
    bytes.push(TAG_WHOLE);
    bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
    bytes.len() - value.len()
}

/// Appends an entry that points at its value.
pub(crate) fn emit_pointer(bytes: &mut Vec<u8>, key: &[u8], pointer: Pointer) {
    bytes.push(TAG_POINTER);
    bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&pointer.lsn.0.to_le_bytes());
    bytes.extend_from_slice(&pointer.length.to_le_bytes());
    bytes.extend_from_slice(&pointer.crc.to_le_bytes());
    bytes.extend_from_slice(key);
}

/// Walks the entries of a slice; `None` if its bytes are not a slice.
pub(crate) fn parse<'a>(payload: &'a [u8], visit: &mut dyn FnMut(Entry<'a>)) -> Option<()> {
    let mut rest = payload;
    for _ in 0..take_u32(&mut rest)? {
        let tag = *take(&mut rest, 1)?.first()?;
        let key_length = take_u32(&mut rest)? as usize;
        match tag {
            TAG_WHOLE => {
                let value_length = take_u32(&mut rest)? as usize;
                let key = take(&mut rest, key_length)?;
                let offset = payload.len() - rest.len();
                visit(Entry::Whole { key, value: take(&mut rest, value_length)?, offset });
            }
            TAG_POINTER => {
                let lsn = Lsn(take_u64(&mut rest)?);
                let pointer = Pointer { lsn, length: take_u32(&mut rest)?, crc: take_u32(&mut rest)? };
                visit(Entry::Pointer { key: take(&mut rest, key_length)?, pointer });
            }
            _ => return None,
        }
    }
    rest.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_reads_back_and_a_cut_one_is_refused_without_panic() {
        let mut bytes = 2u32.to_le_bytes().to_vec();
        let offset = emit_whole(&mut bytes, b"key", b"value");
        let pointer = Pointer { lsn: Lsn(77), length: 1000, crc: 5 };
        emit_pointer(&mut bytes, b"large", pointer);
        crate::fixture::assert_same("slice", &bytes);
        let mut seen = Vec::new();
        parse(&bytes, &mut |entry| seen.push(entry)).unwrap();
        let whole = Entry::Whole { key: b"key", value: b"value", offset };
        assert_eq!(seen, [whole, Entry::Pointer { key: b"large", pointer }]);
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length], &mut |_| ()), None, "length {length}");
        }
    }
}
