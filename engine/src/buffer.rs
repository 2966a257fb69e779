//! A byte buffer whose data starts at a block boundary in memory, as O_DIRECT asks, without `unsafe`.
//!
//! Invariant: the bytes before `start` are filler and are never written out; `start` is aligned as long as the vector
//! did not move, which [`Buffer::realign`] restores.

use crate::limits::BLOCK_BYTES;

/// An aligned buffer. Its content starts at [`Buffer::start`] of the inner vector.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// An empty buffer that holds `capacity` bytes without moving.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Buffer {
        let mut buffer = Buffer { bytes: Vec::with_capacity(capacity + BLOCK_BYTES), start: 0 };
        buffer.clear();
        buffer
    }

    /// A buffer of `length` zero bytes.
    #[must_use]
    pub fn zeroed(length: usize) -> Buffer {
        let mut bytes = vec![0; length + BLOCK_BYTES];
        let start = filler(&bytes);
        bytes.truncate(start + length);
        Buffer { bytes, start }
    }

    /// Takes a buffer back from the form that [`Buffer::into_parts`] gave.
    #[must_use]
    pub fn from_parts(bytes: Vec<u8>, start: usize) -> Buffer {
        assert!(start <= bytes.len());
        Buffer { bytes, start }
    }

    /// The inner vector and where the content starts in it.
    #[must_use]
    pub fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.start)
    }

    /// Drops the content, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = filler(&self.bytes);
        self.bytes.resize(self.start, 0);
    }

    /// Whether the content starts at a block boundary in memory.
    #[must_use]
    pub fn is_aligned(&self) -> bool {
        self.content().as_ptr().addr().is_multiple_of(BLOCK_BYTES)
    }

    /// Moves the content to a block boundary, if the vector moved since it was filled.
    pub fn realign(&mut self) {
        if !self.is_aligned() {
            let mut moved = Buffer::with_capacity(self.len());
            moved.bytes.extend_from_slice(self.content());
            *self = moved;
        }
    }

    /// A buffer with the same content and no room for more.
    pub(crate) fn to_smallest(&self) -> Buffer {
        let mut small = Buffer::with_capacity(self.len());
        small.bytes.extend_from_slice(self.content());
        small
    }

    /// The content.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The content, to be changed in place.
    pub fn content_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// Length of the content in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether there is no content.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends zeros up to `length` bytes of content.
    pub fn pad_to(&mut self, length: usize) {
        assert!(length >= self.len());
        self.bytes.resize(self.start + length, 0);
    }

    /// Cuts the content to `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        assert!(length <= self.len());
        self.bytes.truncate(self.start + length);
    }

    /// The inner vector, to append to.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

/// Bytes from the vector's first byte to the next block boundary.
fn filler(bytes: &[u8]) -> usize {
    let address = bytes.as_ptr().addr();
    address.next_multiple_of(BLOCK_BYTES) - address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_starts_at_a_block_boundary_and_is_moved_back_to_one() {
        let mut buffer = Buffer::with_capacity(8);
        assert!(buffer.is_aligned() && buffer.is_empty());
        buffer.tail().extend_from_slice(&[7; 3 * BLOCK_BYTES]);
        buffer.realign();
        assert!(buffer.is_aligned());
        assert_eq!(buffer.content(), [7; 3 * BLOCK_BYTES]);
        assert!(Buffer::zeroed(5).is_aligned());
        assert_eq!(Buffer::zeroed(5).content(), [0; 5]);
    }
}
