//! Records of the nodes' logs, each input one record.

use bytes::Bytes;
use protocol::Record;
use protocol::limits::RECORD_BYTES_MAX;

/// Kinds that are read and not written any more (`RECORDS.md`): such a record is written as its successor.
const RETIRED_KINDS: [u8; 5] = [3, 5, 6, 7, 8];

/// What must hold of every input; whether it is a record.
pub fn check(input: &[u8]) -> bool {
    let Ok(record) = Record::decode(Bytes::copy_from_slice(input)) else { return false };
    let mut again = Vec::new();
    record.encode(&mut again);
    let is_retired = RETIRED_KINDS.contains(&input[0]);
    assert!((is_retired || again == input) && again.len() <= RECORD_BYTES_MAX, "{record:?} is written otherwise");
    if let Record::Prepared(promise) | Record::CommittedOnePhase(promise) = &record {
        assert_eq!(promise.encoded_bytes(), input.len());
        // Where the engine finds the values again.
        for (write, at) in promise.writes.iter().zip(promise.value_offsets()) {
            let value = write.value.as_deref().unwrap_or_default();
            assert_eq!(&input[at as usize..][..value.len()], value);
        }
    }
    assert_eq!(Record::decode(again.into()), Ok(record));
    true
}
