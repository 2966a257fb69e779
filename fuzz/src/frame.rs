//! Frames and the messages in them.
//!
//! The first byte of an input says whether the rest is a stream as it arrives or a payload that gets a valid header; the
//! second one, in what pieces it arrives.

use bytes::Bytes;
use protocol::codec::Reader;
use protocol::frame::{FRAME_HEADER_BYTES, FrameError, FrameReader, seal};
use protocol::limits::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};
use protocol::{HandshakeMessage, Message};

/// What must hold of every input; whether it is a stream without fault.
pub fn check(input: &[u8]) -> bool {
    let [mode, piece_bytes, rest @ ..] = input else { return false };
    let mut stream = rest.to_vec();
    if mode & 1 == 1 && !rest.is_empty() && rest.len() <= FRAME_BYTES_MAX {
        stream.splice(..0, [0; FRAME_HEADER_BYTES]);
        seal(&mut stream);
    }
    let whole = drain(&stream, stream.len().max(1));
    let pieces = drain(&stream, usize::from(*piece_bytes) + 1);
    assert_eq!(whole, pieces, "the pieces in which a stream arrives matter");
    payloads_read_back(&stream);
    if mode & 2 == 2 {
        damage_is_noticed(stream);
    }
    whole.1.is_ok()
}

/// The messages of a stream that arrives in pieces, encoded again, and how it ends.
fn drain(stream: &[u8], piece_bytes: usize) -> (Vec<u8>, Result<(), FrameError>) {
    let mut reader = FrameReader::default();
    let mut messages = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        reader.extend(piece);
        if let Err(error) = reader.drain(|message| message.encode(&mut messages)) {
            return (messages, Err(error));
        }
        assert!(reader.waiting_bytes() <= stream.len());
    }
    (messages, Ok(()))
}

/// A valid frame, and each valid message in it, is written with the same bytes again.
fn payloads_read_back(stream: &[u8]) {
    let mut reader = FrameReader::default();
    reader.extend(stream);
    let mut at = 0;
    while let Ok(Some(payload)) = reader.next_payload() {
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        frame.extend_from_slice(&payload);
        seal(&mut frame);
        assert!(frame == stream[at..at + frame.len()], "a valid frame is written otherwise");
        at += frame.len();
        messages_read_back(&payload);
    }
    assert!(at + reader.waiting_bytes() <= stream.len());
}

fn messages_read_back(payload: &Bytes) {
    let mut reader = Reader::new(payload.clone());
    while reader.remaining() > 0 {
        let at = payload.len() - reader.remaining();
        let message = match Message::decode(&mut reader) {
            Ok(Some(message)) => message,
            Ok(None) => continue,
            Err(_) => return,
        };
        let found = &payload[at..payload.len() - reader.remaining()];
        let mut again = Vec::new();
        message.encode(&mut again);
        // What a later build says more in its hello is not understood here.
        let is_longer =
            matches!(message, Message::Handshake(HandshakeMessage::Hello(_))) && found[4..].starts_with(&again[4..]);
        assert!((again == found || is_longer) && again.len() <= MESSAGE_BYTES_MAX, "{message:?} is written otherwise");
        assert_eq!(Message::decode(&mut Reader::new(again.into())), Ok(Some(message)));
    }
}

/// Up to 32 flipped bits in a row in a valid frame are noticed: no checksum of this length misses them.
fn damage_is_noticed(mut stream: Vec<u8>) {
    let first = |stream: &[u8]| {
        let mut reader = FrameReader::default();
        reader.extend(stream);
        reader.next_payload()
    };
    let Ok(Some(payload)) = first(&stream) else { return };
    let frame_bytes = FRAME_HEADER_BYTES + payload.len();
    let sum: usize = stream.iter().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let mask = (sum >> 32) as u32 | 1;
    for (byte, mask) in stream[sum % frame_bytes..frame_bytes].iter_mut().zip(mask.to_le_bytes()) {
        *byte ^= mask;
    }
    assert!(first(&stream).is_err(), "damage at byte {} of a frame is not noticed", sum % frame_bytes);
}
