//! What clients ask for in simulated worlds: one file a workload. Each decides what its keys and values look like, and its
//! judge (`crate::judge`, of the same name) reads them; no two share keys, so that they can run side by side.
//!
//! A transaction that writes also appends `x` to a row of its own at every participant where it writes, its marks: at the end
//! they tell of each part of each transaction whether it was done, and how often.

pub mod bank;
pub mod bulk;
pub mod lists;
pub mod pages;
pub mod ring;
pub mod sums;

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::{Operation, TxnId};

use crate::judge::Outcome;
use crate::random::Random;
use crate::world::keys::{Keys, name_of};

/// What the keys of marks begin with.
pub const MARK: &str = "mark/";

/// What a mark's row holds when its part was done once.
pub const MARKED: &[u8] = b"x";

/// Makes transactions.
pub trait Workload {
    /// What has to be committed before anything else; empty if nothing has.
    fn opening(&mut self, txn: TxnId) -> Vec<Operation>;

    /// The next transaction.
    fn next(&mut self, txn: TxnId, random: &mut Random) -> Vec<Operation>;

    /// Learns what became of one.
    fn heard(&mut self, operations: &[Operation], outcome: &Outcome) {
        let _ = (operations, outcome);
    }
}

/// Numbered things, dealt out to the participants in turn.
#[derive(Clone, Debug)]
struct Spread {
    keys: Vec<Bytes>,
}

impl Spread {
    /// Things `0..count` whose keys are `<prefix>0007@p<participant>`.
    fn new(keys: &Keys, prefix: &str, count: u32, participants: u32) -> Self {
        Self { keys: (0..count).map(|number| numbered(keys, prefix, number, participants)).collect() }
    }

    fn key(&self, number: usize) -> Bytes {
        self.keys[number].clone()
    }
}

/// The key of a numbered thing.
fn numbered(keys: &Keys, prefix: &str, number: u32, participants: u32) -> Bytes {
    let name = format!("{prefix}{number:04}@p{}", 1 + number % participants);
    keys.key(&name).expect("a participant of this cluster")
}

/// The number in a key that [`numbered`] made with this prefix.
pub(crate) fn number_of(key: &[u8], prefix: &str) -> Option<u32> {
    let rest = key.strip_prefix(prefix.as_bytes())?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// Adds the marks of a transaction: one at each participant where it writes.
fn mark(keys: &Keys, txn: TxnId, mut operations: Vec<Operation>) -> Vec<Operation> {
    let written = operations.iter().filter(|operation| operation.writes()).filter_map(Operation::key);
    let places: BTreeSet<String> =
        written.filter_map(|key| Some(name_of(key).rsplit_once("@p")?.1.to_owned())).collect();
    operations.extend(places.iter().map(|place| {
        let key = keys.key(&format!("{MARK}{txn:?}@p{place}")).expect("the participant of another key");
        Operation::Append { key, value: Bytes::from_static(MARKED) }
    }));
    operations
}
