//! How messages travel: a header, then a batch of messages back to back.
//!
//! ```text
//! offset  size  field
//!      0     4  magic "asnt"
//!      4     2  version
//!      6     2  reserved, 0
//!      8     4  payload length in bytes, 1..=FRAME_BYTES_MAX
//!     12     4  crc32c of the payload
//!     16     4  crc32c of bytes 0..16
//! ```
//! A frame is valid if and only if magic, version, reserved bytes and header checksum are right,
//! the length is within its limit, the payload's checksum is right, and the payload is whole
//! messages. The header's checksum is checked before its version and length are believed.
//! Whatever else arrives, the connection is closed; messages that stood whole before a malformed
//! one count as if they had come in a frame of their own.

use bytes::{Buf, Bytes, BytesMut};

use crate::codec::{Malformed, Reader};
use crate::limits::{FRAME_BYTES_MAX, FRAME_BYTES_TARGET};
use crate::message::Message;

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 20;

/// The version of the frames: how messages travel, and what stands before their fields. Which messages there are has a version
/// of its own, which hellos agree on ([`crate::message::Speaks`]).
pub const FRAME_VERSION: u16 = 5;

const MAGIC: [u8; 4] = *b"asnt";

/// Why bytes are not a frame. The peer that sent them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Something else speaks here.
    #[error("this is not the assent protocol: a frame begins with {0:02x?}")]
    NotOurs([u8; 4]),
    /// Another version speaks here.
    #[error(
        "the peer sends frames of version {0}, this node of version {FRAME_VERSION}; run the same version of assent at both"
    )]
    Version(u16),
    /// Bytes that this version leaves at zero hold something.
    #[error("the frame header's reserved bytes hold {0:#06x} instead of zero")]
    Reserved(u16),
    /// The header was damaged.
    #[error("the frame header's checksum is wrong")]
    HeaderChecksum,
    /// The frame is too long, or empty.
    #[error("a frame of {0} bytes; 1 to {FRAME_BYTES_MAX} are allowed")]
    Length(usize),
    /// The payload was damaged.
    #[error("the frame's checksum is wrong")]
    Checksum,
    /// A message in the frame is malformed.
    #[error("malformed message: {0}")]
    Malformed(#[from] Malformed),
}

/// Puts a header before `payload`, which begins [`FRAME_HEADER_BYTES`] into `frame`.
///
/// # Panics
/// If the payload is empty or too long.
pub fn seal(frame: &mut [u8]) {
    let (header, payload) = frame.split_at_mut(FRAME_HEADER_BYTES);
    assert!(!payload.is_empty() && payload.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", payload.len());
    header[0..4].copy_from_slice(&MAGIC);
    header[4..6].copy_from_slice(&FRAME_VERSION.to_le_bytes());
    header[6..8].copy_from_slice(&[0, 0]);
    header[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[12..16].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let checksum = crc32c::crc32c(&header[..16]);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
}

/// A frame of its own for one message.
#[must_use]
pub fn single(message: &Message) -> Vec<u8> {
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    message.encode(&mut frame);
    seal(&mut frame);
    frame
}

/// Cuts frames out of a stream of bytes.
#[derive(Debug, Default)]
pub struct FrameReader {
    received: BytesMut,
}

impl FrameReader {
    /// Takes bytes as they arrive.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their frame.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.received.len()
    }

    /// The payload of the next whole frame, if it has arrived.
    ///
    /// # Errors
    /// If what has arrived is not a frame. The stream cannot be read on.
    pub fn next_payload(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(header) = self.received.first_chunk::<FRAME_HEADER_BYTES>() else {
            return self.check_beginning().map(|()| None);
        };
        let (length, checksum) = parse_header(header)?;
        if self.received.len() < FRAME_HEADER_BYTES + length {
            return Ok(None);
        }
        self.received.advance(FRAME_HEADER_BYTES);
        let payload = self.received.split_to(length).freeze();
        if self.received.is_empty() && length > FRAME_BYTES_TARGET {
            // An idle connection does not keep the buffer of one large frame.
            self.received = BytesMut::new();
        }
        if crc32c::crc32c(&payload) != checksum { Err(FrameError::Checksum) } else { Ok(Some(payload)) }
    }

    /// A peer that speaks something else may never send a whole header.
    fn check_beginning(&self) -> Result<(), FrameError> {
        match self.received.first_chunk::<4>() {
            Some(magic) if *magic != MAGIC => Err(FrameError::NotOurs(*magic)),
            Some(_) | None => Ok(()),
        }
    }

    /// Hands out the messages of all whole frames, in order.
    ///
    /// # Errors
    /// At the first frame or message that is not valid; the messages before it were handed out.
    /// The stream cannot be read on.
    pub fn drain(&mut self, mut take: impl FnMut(Message)) -> Result<(), FrameError> {
        while let Some(payload) = self.next_payload()? {
            let mut reader = Reader::new(payload);
            while reader.remaining() > 0 {
                if let Some(message) = Message::decode(&mut reader)? {
                    take(message);
                }
            }
        }
        Ok(())
    }
}

fn parse_header(header: &[u8; FRAME_HEADER_BYTES]) -> Result<(usize, u32), FrameError> {
    let mut fields = Bytes::copy_from_slice(header);
    let mut magic = [0; 4];
    fields.copy_to_slice(&mut magic);
    if magic != MAGIC {
        return Err(FrameError::NotOurs(magic));
    }
    let version = fields.get_u16_le();
    let reserved = fields.get_u16_le();
    let length = fields.get_u32_le() as usize;
    let checksum = fields.get_u32_le();
    if fields.get_u32_le() != crc32c::crc32c(&header[..16]) {
        return Err(FrameError::HeaderChecksum);
    }
    if version != FRAME_VERSION {
        return Err(FrameError::Version(version));
    }
    if reserved != 0 {
        return Err(FrameError::Reserved(reserved));
    }
    if length == 0 || length > FRAME_BYTES_MAX {
        return Err(FrameError::Length(length));
    }
    Ok((length, checksum))
}
