//! Frames in a stream: whatever the chunks, the same messages; whatever the damage, none.

use proptest::prelude::*;
use protocol::frame::{FRAME_HEADER_BYTES, FRAME_VERSION, FrameError, FrameReader, seal, single};
use protocol::limits::FRAME_BYTES_MAX;
use protocol::{AdminMessage, Message};

use crate::samples::{encode_message, messages};
use crate::strategies;

/// One frame that holds all of `messages`.
pub(crate) fn frame_of(messages: &[Message]) -> Vec<u8> {
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    messages.iter().for_each(|message| message.encode(&mut frame));
    seal(&mut frame);
    frame
}

/// What a reader makes of bytes that arrive at once.
pub(crate) fn read(bytes: &[u8]) -> (Vec<Message>, Result<(), FrameError>) {
    let mut reader = FrameReader::default();
    let mut taken = Vec::new();
    reader.extend(bytes);
    let outcome = reader.drain(|message| taken.push(message));
    (taken, outcome)
}

/// A sealed header over `payload` with one field of the header replaced before its checksum.
fn with_header_field(payload: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    frame.extend_from_slice(payload);
    seal(&mut frame);
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    let checksum = crc32c::crc32c(&frame[..16]);
    frame[16..20].copy_from_slice(&checksum.to_le_bytes());
    frame
}

#[test]
fn bytes_that_come_one_by_one_make_the_same_messages() {
    let stream =
        [frame_of(&messages()), single(&Message::Admin(AdminMessage::AskStats)), frame_of(&messages())].concat();
    let mut reader = FrameReader::default();
    let mut taken = Vec::new();
    for byte in stream {
        reader.extend(&[byte]);
        reader.drain(|message| taken.push(message)).unwrap();
    }
    assert_eq!(taken, [messages(), vec![Message::Admin(AdminMessage::AskStats)], messages()].concat());
    assert_eq!(reader.waiting_bytes(), 0);
}

#[test]
fn a_whole_frame_is_needed() {
    let frame = frame_of(&messages());
    for length in 0..frame.len() {
        assert_eq!(read(&frame[..length]), (Vec::new(), Ok(())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn chunks_of_any_size_make_the_same_messages(
        batches in proptest::collection::vec(proptest::collection::vec(strategies::message(), 1..5), 1..5),
        cuts in proptest::collection::vec(1usize..3_000, 1..20),
    ) {
        let stream: Vec<u8> = batches.iter().flat_map(|batch| frame_of(batch)).collect();
        let (mut reader, mut taken, mut rest) = (FrameReader::default(), Vec::new(), &stream[..]);
        for cut in cuts.iter().cycle() {
            let (chunk, left) = rest.split_at((*cut).min(rest.len()));
            reader.extend(chunk);
            prop_assert_eq!(reader.drain(|message| taken.push(message)), Ok(()));
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(taken, batches.concat());
        prop_assert_eq!(reader.waiting_bytes(), 0);
    }
}

#[test]
fn no_flipped_bit_anywhere_gets_through() {
    for message in messages() {
        let frame = single(&message);
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (taken, outcome) = read(&damaged);
            assert_eq!(taken, [], "bit {bit} of {message:?}");
            assert!(outcome.is_err(), "bit {bit} of {message:?} left {outcome:?}");
        }
    }
}

#[test]
fn a_frame_that_begins_with_something_else_is_refused_at_its_fourth_byte() {
    assert_eq!(read(b"GET"), (Vec::new(), Ok(())));
    assert_eq!(read(b"GET "), (Vec::new(), Err(FrameError::NotOurs(*b"GET "))));
    let frame = with_header_field(&encode_message(&Message::Admin(AdminMessage::AskStats)), 0, b"ASNT");
    assert_eq!(read(&frame), (Vec::new(), Err(FrameError::NotOurs(*b"ASNT"))));
}

#[test]
fn another_version_is_named() {
    for version in [0, FRAME_VERSION + 1, u16::MAX] {
        let frame =
            with_header_field(&encode_message(&Message::Admin(AdminMessage::AskStats)), 4, &version.to_le_bytes());
        assert_eq!(read(&frame), (Vec::new(), Err(FrameError::Version(version))));
    }
}

#[test]
fn reserved_bytes_are_not_taken_for_another_version() {
    let frame = with_header_field(&encode_message(&Message::Admin(AdminMessage::AskStats)), 6, &1u16.to_le_bytes());
    assert_eq!(read(&frame), (Vec::new(), Err(FrameError::Reserved(1))));
}

#[test]
fn a_length_out_of_bounds_is_refused_at_the_header() {
    for length in [0, FRAME_BYTES_MAX + 1, u32::MAX as usize] {
        let frame = with_header_field(&[1], 8, &(length as u32).to_le_bytes());
        let mut reader = FrameReader::default();
        reader.extend(&frame[..FRAME_HEADER_BYTES]);
        assert_eq!(reader.next_payload(), Err(FrameError::Length(length)));
        assert_eq!(reader.waiting_bytes(), FRAME_HEADER_BYTES);
    }
}

#[test]
fn a_length_is_not_believed_before_its_checksum() {
    let mut frame = single(&Message::Admin(AdminMessage::AskStats));
    frame[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(read(&frame), (Vec::new(), Err(FrameError::HeaderChecksum)));
}

#[test]
fn a_frame_of_the_longest_length_is_cut_out() {
    let mut frame = vec![0xa5; FRAME_HEADER_BYTES + FRAME_BYTES_MAX];
    seal(&mut frame);
    let mut reader = FrameReader::default();
    frame.chunks(64 << 10).for_each(|chunk| reader.extend(chunk));
    let payload = reader.next_payload().unwrap().unwrap();
    assert_eq!(payload, frame[FRAME_HEADER_BYTES..]);
}

#[test]
fn messages_before_a_malformed_one_count_and_none_after_it() {
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    Message::Admin(AdminMessage::AskStats).encode(&mut frame);
    frame.extend_from_slice(&[2, 0, 0, 0, 0xee, 1]);
    Message::Admin(AdminMessage::AskStats).encode(&mut frame);
    seal(&mut frame);
    let (taken, outcome) = read(&frame);
    assert_eq!(taken, [Message::Admin(AdminMessage::AskStats)]);
    assert_eq!(outcome.unwrap_err().to_string(), "malformed message: a message of the unknown family 238, kind 1");
}

#[test]
fn a_message_never_goes_on_in_the_next_frame() {
    let message = encode_message(&messages()[0]);
    let (head, tail) = message.split_at(5);
    let frames = [head, tail].map(|part| {
        let mut frame = [&[0; FRAME_HEADER_BYTES], part].concat();
        seal(&mut frame);
        frame
    });
    let (taken, outcome) = read(&frames.concat());
    assert_eq!(taken, []);
    assert!(matches!(outcome, Err(FrameError::Malformed(_))));
}

#[test]
#[should_panic(expected = "a frame of 0 bytes")]
fn an_empty_frame_is_never_sealed() {
    seal(&mut [0; FRAME_HEADER_BYTES]);
}

#[test]
#[should_panic(expected = "a frame of 4194305 bytes")]
fn a_frame_that_is_too_long_is_never_sealed() {
    seal(&mut vec![0; FRAME_HEADER_BYTES + FRAME_BYTES_MAX + 1]);
}
