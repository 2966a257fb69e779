//! That hostile bytes do not make a decoder allocate: a process of its own, because it measures
//! the process.

use bytes::Bytes;
use protocol::codec::Reader;
use protocol::frame::{FRAME_HEADER_BYTES, FrameReader, seal, single};
use protocol::limits::{FRAME_BYTES_MAX, FRAME_BYTES_TARGET, VALUE_BYTES_MAX};
use protocol::message::Submit;
use protocol::{ClientMessage, Message, Operation, Record, TxnId};

/// The most memory that the process ever held, in bytes.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("the status of this process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak of its memory");
    let kib: usize = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
    kib << 10
}

/// A length of which half were believed would show at once.
const ALLOWED_BYTES: usize = 16 << 20;

#[test]
fn stated_lengths_and_counts_allocate_nothing() {
    let before = peak_bytes();
    // Each kind, then ones: every length and count that follows is the largest there is.
    for kind in 0..=u8::MAX {
        for length in 0..200 {
            let mut bytes = vec![u8::MAX; length + 1];
            bytes[0] = kind;
            let bytes = Bytes::from(bytes);
            let _ = (Message::decode(&mut Reader::new(bytes.clone())), Record::decode(bytes));
        }
    }
    // Headers that are valid and promise the longest payload, which never comes.
    let mut longest = vec![0; FRAME_HEADER_BYTES + FRAME_BYTES_MAX];
    seal(&mut longest);
    longest.truncate(FRAME_HEADER_BYTES);
    longest.shrink_to_fit();
    let before_headers = peak_bytes();
    let mut readers: Vec<FrameReader> = (0..10_000).map(|_| FrameReader::default()).collect();
    for reader in &mut readers {
        reader.extend(&longest);
        assert_eq!(reader.next_payload(), Ok(None));
    }
    let after = peak_bytes();
    assert!(before_headers - before < FRAME_BYTES_MAX + ALLOWED_BYTES, "{} bytes", before_headers - before);
    assert!(after - before_headers < ALLOWED_BYTES, "{} bytes for 10,000 headers", after - before_headers);

    // A connection that has had one large frame, and nothing since, gives its memory back.
    let values = vec![Operation::Put { key: Bytes::new(), value: Bytes::from(vec![0; VALUE_BYTES_MAX]) }];
    let large =
        single(&Message::Client(ClientMessage::Submit(Submit { txn: TxnId(1), deadline_ms: 1, operations: values })));
    assert!(large.len() > FRAME_BYTES_TARGET);
    for reader in &mut readers[..100] {
        *reader = FrameReader::default();
        reader.extend(&large);
        let mut messages = 0;
        reader.drain(|_| messages += 1).expect("a valid frame");
        assert_eq!(messages, 1);
    }
    let idle = peak_bytes() - after;
    assert!(idle < ALLOWED_BYTES, "{idle} bytes for 100 idle connections");
}
