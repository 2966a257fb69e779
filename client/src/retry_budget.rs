//! How much may be asked again after BUSY. A coordinator that has too much to do is not to spend its time on saying so.
//!
//! Every transaction is asked for once. To ask again takes tokens, as many as the transaction has units of memory: a few come
//! with time, and a share with everything that is admitted. One that is admitted gives the tokens back that it took, so that
//! all goes on quickly when the coordinator has room again. (Finagle's `RetryBudget` is the model.) For a large one it takes
//! tokens to be asked for at all, for a while after BUSY.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits::{BUSY_HEEDED, RETRY_SHARE, RETRY_UNITS_MAX, RETRY_UNITS_PER_SECOND};

/// The budget of one client.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    units: f64,
    filled_at: Instant,
    busy_at: Option<Instant>,
}

impl RetryBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self { state: Mutex::new(State { units: RETRY_UNITS_MAX, filled_at: now, busy_at: None }) }
    }

    /// Whether so many units may be asked for again now; takes them.
    pub(crate) fn take(&self, now: Instant, units: u32) -> bool {
        let mut state = self.state();
        let elapsed = now.saturating_duration_since(state.filled_at);
        state.filled_at = now;
        state.add(elapsed.as_secs_f64() * RETRY_UNITS_PER_SECOND);
        let is_enough = state.units >= f64::from(units);
        if is_enough {
            state.units -= f64::from(units);
        }
        is_enough
    }

    /// The coordinator has said BUSY.
    pub(crate) fn note_busy(&self, now: Instant) {
        self.state().busy_at = Some(now);
    }

    /// Whether it has said so just now.
    pub(crate) fn was_busy(&self, now: Instant) -> bool {
        self.state().busy_at.is_some_and(|busy_at| now.saturating_duration_since(busy_at) < BUSY_HEEDED)
    }

    /// So many units were admitted, which have taken tokens or not.
    pub(crate) fn note_admitted(&self, units: u32, is_paid: bool) {
        let given_back = if is_paid { 1.0 } else { 0.0 };
        self.state().add(f64::from(units) * (RETRY_SHARE + given_back));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, units: f64) {
        self.units = (self.units + units).min(RETRY_UNITS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How many are asked for again, one unit each, at a millisecond's distance; each `admitted_every`th is admitted.
    fn asked_again(budget: &RetryBudget, begin: Instant, milliseconds: u64, admitted_every: u64) -> u64 {
        let mut asked = 0;
        for at in 0..milliseconds {
            while budget.take(begin + Duration::from_millis(at), 1) {
                asked += 1;
                if asked % admitted_every == 0 {
                    budget.note_admitted(1, true);
                }
                if asked >= 1_000_000 {
                    return asked;
                }
            }
        }
        asked
    }

    #[test]
    fn a_coordinator_that_admits_nothing_is_asked_again_at_a_slow_pace() {
        let begin = Instant::now();
        let budget = RetryBudget::new(begin);
        let asked = asked_again(&budget, begin, 10_000, u64::MAX);
        let most = RETRY_UNITS_MAX + 10.0 * RETRY_UNITS_PER_SECOND;
        assert!((asked as f64) <= most && asked as f64 >= most - 2.0, "{asked}");
    }

    #[test]
    fn what_is_admitted_pays_for_some_that_are_not() {
        let begin = Instant::now();
        let budget = RetryBudget::new(begin);
        assert!(asked_again(&budget, begin, 1, u64::MAX) > 0, "it is spent");
        (0..400).for_each(|_| budget.note_admitted(1, false));
        assert_eq!(asked_again(&budget, begin, 1, u64::MAX) as f64, 400.0 * RETRY_SHARE);
    }

    #[test]
    fn when_there_is_room_again_nothing_holds_up() {
        let begin = Instant::now();
        let budget = RetryBudget::new(begin);
        assert!(asked_again(&budget, begin, 1, u64::MAX) > 0, "it is spent");
        assert_eq!(asked_again(&budget, begin + Duration::from_millis(50), 1, 1), 1_000_000);
    }

    #[test]
    fn busy_is_heeded_for_a_while() {
        let begin = Instant::now();
        let budget = RetryBudget::new(begin);
        assert!(!budget.was_busy(begin));
        budget.note_busy(begin);
        assert!(budget.was_busy(begin) && budget.was_busy(begin + BUSY_HEEDED / 2));
        assert!(!budget.was_busy(begin + BUSY_HEEDED));
    }

    #[test]
    fn the_largest_transaction_can_be_asked_for_again() {
        let begin = Instant::now();
        let budget = RetryBudget::new(begin);
        assert!(budget.take(begin, crate::limits::units_of(protocol::limits::TXN_BYTES_MAX)));
    }
}
