//! Which transfers of a list may run at once: those of an account run in the order of the list,
//! so that money that comes in on one line can leave on a later one.

use std::collections::{HashSet, VecDeque};

/// A list being worked off. Looks at most [`WINDOW`] entries ahead.
#[derive(Debug)]
pub(crate) struct Lineup<T> {
    waiting: VecDeque<(T, [u64; 2])>,
    busy: HashSet<u64>,
}

/// Bounds the search for the next one that may run.
const WINDOW: usize = 1_024;

impl<T> Lineup<T> {
    /// Each entry with the two accounts that it touches.
    pub(crate) fn new(entries: impl IntoIterator<Item = (T, [u64; 2])>) -> Self {
        Self { waiting: entries.into_iter().collect(), busy: HashSet::new() }
    }

    /// The first entry that no running and no earlier waiting one has an account in common with.
    pub(crate) fn start_next(&mut self) -> Option<(T, [u64; 2])> {
        let mut claimed: HashSet<u64> = HashSet::new();
        let position = self.waiting.iter().take(WINDOW).position(|(_, accounts)| {
            let free = accounts.iter().all(|account| !self.busy.contains(account) && !claimed.contains(account));
            claimed.extend(accounts);
            free
        })?;
        let entry = self.waiting.remove(position)?;
        self.busy.extend(entry.1);
        Some(entry)
    }

    /// An entry with these accounts has ended.
    pub(crate) fn ended(&mut self, accounts: [u64; 2]) {
        for account in accounts {
            self.busy.remove(&account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accounts_transfers_run_in_order_and_others_beside_them() {
        let mut lineup = Lineup::new([("a", [1, 2]), ("b", [2, 3]), ("c", [3, 4]), ("d", [5, 6])]);
        let start = |lineup: &mut Lineup<_>| lineup.start_next().map(|(name, _)| name);
        assert_eq!(start(&mut lineup), Some("a"));
        assert_eq!(start(&mut lineup), Some("d"), "b waits for a, and c for b");
        assert_eq!(start(&mut lineup), None);
        lineup.ended([1, 2]);
        assert_eq!(start(&mut lineup), Some("b"));
        assert_eq!(start(&mut lineup), None);
        lineup.ended([2, 3]);
        assert_eq!(start(&mut lineup), Some("c"));
        assert_eq!(start(&mut lineup), None);
    }
}
