//! Many small rows, which scans of the whole go over, and a few that are overwritten with large values: what floods of
//! clients are made of.
//!
//! The key `bulk/0002@p1`, the value `0`; the key `heavy/0001@p2`, a value of some KiB.

use bytes::Bytes;
use protocol::operation::ScanOf;
use protocol::{Operation, TxnId};

use super::{Spread, Workload, mark, numbered};
use crate::random::Random;
use crate::world::keys::Keys;

/// What the keys of small rows begin with, and where a scan of all of them ends.
const BULK: (&str, &str) = ("bulk/", "bulk0");

/// What the keys of large values begin with.
const HEAVY: &str = "heavy/";

/// Bytes of a large value: two fit a record of the smallest log that is simulated.
const HEAVY_BYTES: usize = 16 << 10;

/// Keys that large values are written to, at each participant: few, so that they do not fill the log.
const HEAVY_KEYS: u32 = 4;

/// Makes reads and writes of single small rows.
pub struct Bulk {
    keys: Keys,
    rows: Spread,
}

impl Bulk {
    /// With so many rows at each participant.
    #[must_use]
    pub fn new(participants: u32, rows: u32) -> Self {
        let keys = Keys::new(participants);
        Self { rows: Spread::new(&keys, BULK.0, rows * participants, participants), keys }
    }

    fn put(&self, at: usize) -> Operation {
        Operation::Put { key: self.rows.key(at), value: Bytes::from_static(b"0") }
    }

    /// A scan of all rows at all participants, in which each of them counts.
    #[must_use]
    pub fn scan_all() -> Vec<Operation> {
        let (start, end) = BULK;
        vec![Operation::Scan { start: start.into(), end: end.into(), limit: 0, of: ScanOf::Totals }]
    }

    /// A large value at two participants, or at one if there are no more.
    #[must_use]
    pub fn write_much(participants: u32, txn: TxnId, number: u32) -> Vec<Operation> {
        let keys = Keys::new(participants);
        let value = Bytes::from(vec![b'h'; HEAVY_BYTES]);
        let at = |place: u32| (number + place) % (HEAVY_KEYS * participants);
        let put = |place| Operation::Put { key: numbered(&keys, HEAVY, at(place), participants), value: value.clone() };
        mark(&keys, txn, (0..participants.min(2)).map(put).collect())
    }
}

impl Workload for Bulk {
    fn opening(&mut self, txn: TxnId) -> Vec<Operation> {
        let operations = (0..self.rows.keys.len()).map(|at| self.put(at)).collect();
        mark(&self.keys, txn, operations)
    }

    fn next(&mut self, txn: TxnId, random: &mut Random) -> Vec<Operation> {
        let at = random.below(self.rows.keys.len());
        if random.per_mille(500) {
            return vec![Operation::Get { key: self.rows.key(at) }];
        }
        mark(&self.keys, txn, vec![self.put(at)])
    }
}

/// What a guest writes: a row of its own at every participant.
#[must_use]
pub fn visit(participants: u32, txn: TxnId) -> Vec<Operation> {
    let keys = Keys::new(participants);
    let key = |participant| numbered(&keys, "guest/", participant, participants);
    let put = |participant| Operation::Put { key: key(participant), value: Bytes::from_static(b"here") };
    mark(&keys, txn, (0..participants).map(put).collect())
}
