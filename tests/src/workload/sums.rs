//! Sets of counters. Each transaction adds the same amount to one counter of every set, so their sums are equal at every
//! moment, and at the end are what all committed transactions add up to.
//!
//! The key `sum/2/0003@p1` is counter 3 of set 2, the value a number.

use protocol::{Operation, ScanOf, TxnId};

use super::{Spread, Workload, mark};
use crate::random::Random;
use crate::world::keys::Keys;

/// What the keys of all counters begin with.
pub const SUM: &str = "sum/";

const AMOUNT_MAX: usize = 100;

/// Makes increments and looks at all sums.
pub struct Sums {
    keys: Keys,
    sets: Vec<Spread>,
}

impl Sums {
    /// With so many sets, each of so many counters.
    #[must_use]
    pub fn new(participants: u32, sets: u32, counters: u32) -> Self {
        let keys = Keys::new(participants);
        let sets = (0..sets).map(|set| Spread::new(&keys, &prefix(set), counters, participants)).collect();
        Self { keys, sets }
    }
}

impl Workload for Sums {
    fn opening(&mut self, _: TxnId) -> Vec<Operation> {
        Vec::new()
    }

    fn next(&mut self, txn: TxnId, random: &mut Random) -> Vec<Operation> {
        let look = |set: usize| Operation::Scan {
            start: prefix(set as u32).into(),
            end: end(set as u32).into(),
            limit: 0,
            of: ScanOf::Totals,
        };
        if random.per_mille(200) {
            return (0..self.sets.len()).map(look).collect();
        }
        let delta = random.below(2 * AMOUNT_MAX) as i64 - AMOUNT_MAX as i64;
        let add = |set: &Spread| {
            let key = set.key(random.below(set.keys.len()));
            Operation::Add { key, delta, min: i64::MIN, max: i64::MAX }
        };
        let operations = self.sets.iter().map(add).collect();
        mark(&self.keys, txn, operations)
    }
}

/// What the keys of one set begin with.
#[must_use]
pub fn prefix(set: u32) -> String {
    format!("{SUM}{set}/")
}

/// The first key after one set.
#[must_use]
pub fn end(set: u32) -> String {
    format!("{SUM}{set}0")
}
