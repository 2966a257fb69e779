//! When which transaction has something due, for a machine that has a timer for each.
//!
//! Nearly every transaction ends before its time comes, so setting has to be cheap and nothing is
//! ever cancelled: whoever takes what is due asks the transaction itself whether it is.

use std::collections::BTreeMap;

use crate::id::{Tick, TxnId};

/// Times are rounded up to this grain, which is also that of the driver's clock.
const GRAIN_US: u64 = 1_000;

/// Transactions by when they may have something due.
#[derive(Debug, Default)]
pub struct Timers {
    buckets: BTreeMap<u64, Vec<TxnId>>,
}

impl Timers {
    /// Looks after `txn` at `due` or up to a millisecond later.
    pub fn set(&mut self, due: Tick, txn: TxnId) {
        self.buckets.entry(due.0.div_ceil(GRAIN_US)).or_default().push(txn);
    }

    /// When to take next.
    #[must_use]
    pub fn next(&self) -> Option<Tick> {
        self.buckets.first_key_value().map(|(bucket, _)| Tick(bucket * GRAIN_US))
    }

    /// Takes the earliest transactions whose time has come. Call it until it returns none.
    pub fn take_due(&mut self, now: Tick) -> Option<Vec<TxnId>> {
        let earliest = self.buckets.first_entry()?;
        (*earliest.key() <= now.0 / GRAIN_US).then(|| earliest.remove())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_early_and_nothing_is_forgotten() {
        let mut timers = Timers::default();
        timers.set(Tick(2_500), TxnId(2));
        timers.set(Tick(1_001), TxnId(1));
        timers.set(Tick(2_000), TxnId(3));
        assert_eq!(timers.next(), Some(Tick(2_000)));
        assert_eq!(timers.take_due(Tick(1_999)), None);
        assert_eq!(timers.take_due(Tick(2_000)), Some(vec![TxnId(1), TxnId(3)]));
        assert_eq!(timers.take_due(Tick(2_999)), None);
        assert_eq!(timers.take_due(Tick(9_000)), Some(vec![TxnId(2)]));
        assert_eq!(timers.next(), None);
    }
}
