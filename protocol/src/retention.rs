//! What is remembered of finished transactions: the newest so many, the oldest forgotten first.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use planted::planted;
use rustc_hash::FxBuildHasher;

use crate::id::TxnId;
use crate::limits::OUTCOMES_PER_RECORD_MAX;
use crate::machine::Effects;
use crate::record::{CommittedOutcome, Record};

/// A bounded memory of finished transactions.
pub struct Retention<T> {
    remembered: HashMap<TxnId, T, FxBuildHasher>,
    /// Found in a checkpoint while a log is replayed: older than whatever stands in `order`.
    restored: VecDeque<TxnId>,
    order: VecDeque<TxnId>,
    /// How many were ever forgotten: the position of the first in `order`.
    forgotten: u64,
    txns_max: usize,
}

impl<T: fmt::Debug> fmt::Debug for Retention<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { remembered, restored, order, forgotten, txns_max: _ } = self;
        let remembered: BTreeMap<_, _> = remembered.iter().collect();
        f.debug_tuple("Retention").field(&remembered).field(restored).field(order).field(forgotten).finish()
    }
}

impl<T: Copy> Retention<T> {
    /// Remembers at most `txns_max` transactions.
    #[must_use]
    pub fn new(txns_max: usize) -> Self {
        Self {
            remembered: HashMap::default(),
            restored: VecDeque::new(),
            order: VecDeque::new(),
            forgotten: 0,
            txns_max: txns_max.max(1),
        }
    }

    /// Remembers a transaction. The first outcome of an id stands.
    pub fn remember(&mut self, txn: TxnId, outcome: T) {
        if self.insert(txn, outcome) {
            self.order.push_back(txn);
            self.forget_oldest();
        }
    }

    /// Remembers, during replay, what a checkpoint logged again. It ended before the checkpoint
    /// began, so before whatever was replayed since, although its record stands after that.
    pub fn restore(&mut self, txn: TxnId, outcome: T) {
        if self.insert(txn, outcome) {
            self.restored.push_back(txn);
            self.forget_oldest();
        }
    }

    /// Ends the replay: from now on there is one order.
    pub fn settle(&mut self) {
        self.restored.append(&mut self.order);
        std::mem::swap(&mut self.restored, &mut self.order);
    }

    fn insert(&mut self, txn: TxnId, outcome: T) -> bool {
        match self.remembered.entry(txn) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(outcome);
                true
            }
        }
    }

    fn forget_oldest(&mut self) {
        if self.restored.len() + self.order.len() > self.txns_max
            && let Some(oldest) = self.restored.pop_front().or_else(|| self.order.pop_front())
        {
            self.remembered.remove(&oldest);
            self.forgotten += 1;
        }
    }

    /// What is remembered of a transaction.
    #[must_use]
    pub fn get(&self, txn: TxnId) -> Option<T> {
        self.remembered.get(&txn).copied()
    }

    /// The position after the newest.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.forgotten + self.order.len() as u64
    }

    /// At most `count_max` outcomes from position `from` on, the oldest first, and the position
    /// after them. Positions stay valid while others are remembered and forgotten.
    pub fn slice(&self, from: u64, count_max: usize) -> (impl Iterator<Item = T>, u64) {
        let skip = from.saturating_sub(self.forgotten).min(self.order.len() as u64) as usize;
        let count = count_max.min(self.order.len() - skip);
        let next = self.forgotten + (skip + count) as u64;
        (self.order.range(skip..skip + count).filter_map(|txn| self.get(*txn)), next)
    }
}

impl Retention<CommittedOutcome> {
    /// What all of them take in a checkpoint, in bytes.
    #[must_use]
    pub fn logged_bytes(&self) -> usize {
        self.remembered.len() * CommittedOutcome::ENCODED_BYTES
    }

    /// Logs the next outcomes of a checkpoint, from position `from` up to `until`, and returns the
    /// position from which to go on, if any are left.
    pub fn log_slice(&self, from: u64, until: u64, effects: &mut Effects<'_>) -> Option<u64> {
        let left = until.saturating_sub(from.max(self.forgotten)) as usize;
        let (outcomes, next) = self.slice(from, left.min(OUTCOMES_PER_RECORD_MAX));
        let outcomes: Vec<_> = outcomes.collect();
        if !outcomes.is_empty() && !planted!("outcomes-forgotten") {
            effects.log(&Record::Outcomes(outcomes));
        }
        (next < until).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first_and_the_first_outcome_stands() {
        let mut retention = Retention::new(2);
        retention.remember(TxnId(1), 'a');
        retention.remember(TxnId(1), 'z');
        retention.remember(TxnId(2), 'b');
        assert_eq!(retention.get(TxnId(1)), Some('a'));
        retention.remember(TxnId(3), 'c');
        assert_eq!(retention.get(TxnId(1)), None);
        assert_eq!(retention.get(TxnId(3)), Some('c'));
    }

    #[test]
    fn what_a_checkpoint_logged_again_is_older_than_what_was_replayed_before_it() {
        let mut retention = Retention::new(3);
        retention.remember(TxnId(7), 'g');
        retention.restore(TxnId(1), 'a');
        retention.remember(TxnId(8), 'h');
        retention.restore(TxnId(2), 'b');
        assert_eq!(retention.get(TxnId(1)), None);
        retention.settle();
        retention.remember(TxnId(9), 'i');
        assert_eq!([2, 7, 8, 9].map(|txn| retention.get(TxnId(txn)).is_some()), [false, true, true, true]);
    }

    #[test]
    fn slices_meet_all_that_stays_remembered() {
        let mut retention = Retention::new(4);
        for number in 0..4u128 {
            retention.remember(TxnId(number), number);
        }
        let (first, next) = retention.slice(0, 2);
        assert_eq!(first.collect::<Vec<_>>(), [0, 1]);
        retention.remember(TxnId(4), 4);
        let (rest, next) = retention.slice(next, 9);
        assert_eq!(rest.collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(next, retention.end());
    }
}
