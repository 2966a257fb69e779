//! What a promise takes of a log that is nearly full.
//!
//! Not here: how much the log takes (`engine/src/room.rs`).

use engine::Table;
use engine::limits::{INLINE_VALUE_BYTES_MAX, POINTER_BYTES};
use protocol::Room;
use protocol::record::Promise;

/// Bytes of a key or value, in memory and in the log.
#[derive(Clone, Copy, Default)]
struct Taken {
    memory: usize,
    log: usize,
}

impl Taken {
    fn add(&mut self, key: usize, value: Option<usize>) {
        let Some(value) = value else { return };
        if value > INLINE_VALUE_BYTES_MAX {
            self.memory += key + POINTER_BYTES;
            self.log += value;
        } else {
            self.memory += key + value;
        }
    }
}

/// What stands in place of a promise's keys, and what would. What stands in the table now stays under its locks.
fn taken(table: &Table, promise: &Promise) -> (Taken, Taken) {
    let (mut before, mut after) = (Taken::default(), Taken::default());
    for write in &promise.writes {
        before.add(write.key.len(), table.value_bytes(&write.key));
        after.add(write.key.len(), write.value.as_ref().map(|value| value.len()));
    }
    (before, after)
}

/// Whether the table takes more memory after it.
pub(crate) fn takes_memory(table: &Table, promise: &Promise) -> bool {
    let (before, after) = taken(table, promise);
    after.memory > before.memory
}

/// How much room the log must have for what is promised.
pub(crate) fn room_needed(table: &Table, promise: &Promise) -> Room {
    let (before, after) = taken(table, promise);
    if after.memory > before.memory || after.memory + after.log > before.memory + before.log {
        Room::Plenty
    } else if after.log > 0 {
        Room::Smaller
    } else {
        Room::Deletes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use engine::Place;
    use protocol::{Age, Attempt, TxnId, Write};

    use super::*;

    fn needed(writes: &[(&'static str, Option<usize>)]) -> Room {
        let table = Table::new();
        for (key, bytes) in [("small", 100), ("large", 10_000), ("larger", 20_000)] {
            table.apply(Place::default(), 0, key.as_bytes(), Some(Bytes::from(vec![1; bytes])));
        }
        let write = |&(key, bytes): &(&'static str, Option<usize>)| Write {
            key: Bytes::from_static(key.as_bytes()),
            value: bytes.map(|bytes| Bytes::from(vec![2; bytes])),
        };
        let promise = Promise {
            txn: TxnId(1),
            attempt: Attempt { epoch: 1, number: 1 },
            coordinator: 1,
            age: Age { admitted_us: 1, coordinator: 1 },
            digest: 1,
            writes: writes.iter().map(write).collect(),
            reads: Vec::new(),
            ranges: Vec::new(),
            participants: vec![1],
        };
        room_needed(&table, &promise)
    }

    #[test]
    fn what_takes_more_than_it_gives_back_needs_plenty() {
        for deletes in [&[][..], &[("small", None)], &[("none", None)], &[("small", Some(100))], &[("large", Some(10))]]
        {
            assert_eq!(needed(deletes), Room::Deletes, "{deletes:?}");
        }
        for smaller in
            [&[("large", Some(10_000))][..], &[("larger", Some(300))], &[("large", Some(9_000)), ("none", None)]]
        {
            assert_eq!(needed(smaller), Room::Smaller, "{smaller:?}");
        }
        let moved = [("large", None), ("small", Some(250))];
        for more in [&[("new", Some(1))][..], &[("small", Some(101))], &[("large", Some(10_001))], &moved] {
            assert_eq!(needed(more), Room::Plenty, "{more:?}");
        }
    }
}
