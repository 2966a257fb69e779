//! Attempts that must not begin any more: in one phase, those that were refused here; of all, those that their coordinator has
//! ended. A second copy of the prepare, which may come when it would succeed, must not be carried out, for its client has
//! been told otherwise.
//!
//! In memory alone: a copy that was on its way when this process ended cannot reach the next one.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use protocol::{Attempt, Refusal, TxnId};
use rustc_hash::FxBuildHasher;

/// Refusals that are remembered. A copy is late by a connection's life at most; at 30,000 refusals
/// a second these are two seconds, and take some 5 MiB.
const REFUSALS_MAX: usize = 65_536;

/// A coordinator's transaction: attempts of different coordinators have no order.
type Asked = (u32, TxnId);

/// The newest refusals, the latest attempt of each transaction.
#[derive(Default)]
pub(crate) struct Refused {
    latest: HashMap<Asked, (Attempt, Refusal), FxBuildHasher>,
    order: VecDeque<Asked>,
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { latest, order } = self;
        f.debug_tuple("Refused").field(&latest.iter().collect::<BTreeMap<_, _>>()).field(order).finish()
    }
}

impl Refused {
    /// Remembers a refusal. A later attempt takes the place of an earlier one; of one attempt the first stands.
    pub(crate) fn remember(&mut self, coordinator: u32, txn: TxnId, attempt: Attempt, refusal: Refusal) {
        let asked = (coordinator, txn);
        match self.latest.entry(asked) {
            Entry::Occupied(mut known) if known.get().0 < attempt => _ = known.insert((attempt, refusal)),
            // Its first refusal is what was said.
            Entry::Occupied(_) => {}
            Entry::Vacant(new) => {
                new.insert((attempt, refusal));
                self.order.push_back(asked);
            }
        }
        if self.order.len() > REFUSALS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.latest.remove(&oldest);
        }
    }

    /// The latest attempt of a transaction that was refused, and why.
    pub(crate) fn get(&self, coordinator: u32, txn: TxnId) -> Option<(Attempt, Refusal)> {
        self.latest.get(&(coordinator, txn)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Reason;

    #[test]
    fn the_latest_attempt_stands_and_the_oldest_transaction_goes_first() {
        let refusal = Refusal::by_participant(1, Reason::Conflict);
        let attempt = |number| Attempt { epoch: 1, number };
        let mut refused = Refused::default();
        refused.remember(1, TxnId(0), attempt(1), refusal);
        refused.remember(1, TxnId(0), attempt(2), refusal);
        assert_eq!(refused.get(1, TxnId(0)), Some((attempt(2), refusal)));
        assert_eq!(refused.get(2, TxnId(0)), None);
        for txn in 1..=REFUSALS_MAX as u128 {
            refused.remember(1, TxnId(txn), attempt(1), refusal);
        }
        assert_eq!(refused.get(1, TxnId(0)), None);
        assert_eq!(refused.get(1, TxnId(1)), Some((attempt(1), refusal)));
    }
}
