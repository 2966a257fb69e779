//! How fast a participant votes, as it was measured: what is waited for follows what it takes, and so does how much it is
//! asked for at once.
//!
//! The estimate is that of TCP for round trips (Jacobson, *Congestion Avoidance and Control*, 1988): a smoothed mean, and
//! the smoothed deviation from it. What is under way and how long it takes are proportional once a participant has as much
//! to do as it can (Little's law): where votes take longer than they should, less is let in by the same factor; where
//! they do not, more is tried again.

use protocol::Tick;

use crate::machine::Load;

/// What a transaction counts besides its bytes: its records, its locks, its messages.
const TXN_UNITS: usize = 1_024;

/// What is always let in: with so little under way it is not for too much that votes take long.
const FREE_UNITS: usize = 64 * TXN_UNITS;

/// From here on the other bounds of a participant come first.
const UNITS_MAX: usize = 64 << 20;

/// The shortest time between two changes, in microseconds.
const ADJUST_US_MIN: u64 = 50_000;

/// What is known of a participant's votes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    smoothed_us: u64,
    deviation_us: u64,
    /// What it may be asked for at once, if that had to be bounded.
    units_max: Option<usize>,
    /// When that may change next.
    adjust_at: Tick,
}

impl Load {
    fn units(self) -> usize {
        self.bytes + self.txns * TXN_UNITS
    }
}

impl Pace {
    /// A vote has come, so long after it was asked for.
    pub(crate) fn note_vote(&mut self, took_us: u64) {
        let off_us = took_us.abs_diff(self.smoothed_us);
        self.deviation_us = (self.deviation_us * 3 + off_us) / 4;
        self.smoothed_us = (self.smoothed_us * 7 + took_us) / 8;
    }

    /// How long a vote takes, nearly always.
    pub(crate) fn vote_us(&self) -> u64 {
        self.smoothed_us.saturating_add(self.deviation_us.saturating_mul(4))
    }

    /// Lets in less if votes take longer than they should while so much is under way, and more if they do not.
    pub(crate) fn adjust(&mut self, now: Tick, load: Load, target_us: u64) {
        let units = load.units();
        if units < FREE_UNITS || now < self.adjust_at {
            return;
        }
        if self.smoothed_us > target_us {
            let share = u128::from(target_us) * units as u128 / u128::from(self.smoothed_us);
            self.units_max = Some((share as usize).max(FREE_UNITS));
        } else if let Some(units_max) = self.units_max.filter(|units_max| units > units_max / 2) {
            self.units_max = Some(units_max + units_max / 8).filter(|units_max| *units_max < UNITS_MAX);
        } else {
            return;
        }
        self.adjust_at = now.plus_us(self.smoothed_us.max(ADJUST_US_MIN));
    }

    /// Whether something more, which is of use for so long, is sure to be too much.
    pub(crate) fn is_too_much(&self, load: Load, bytes: usize, deadline_us: u64) -> bool {
        // Whatever it takes itself: with so little under way it is tried, and shows how long votes take by now.
        let units = load.units() + bytes + TXN_UNITS;
        load.units() >= FREE_UNITS && (self.smoothed_us > deadline_us || self.units_max.is_some_and(|max| units > max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET_US: u64 = 1_000_000;
    const DEADLINE_US: u64 = 5_000_000;

    fn votes_took(took_us: u64) -> Pace {
        let mut pace = Pace::default();
        (0..100).for_each(|_| pace.note_vote(took_us));
        pace
    }

    fn load(txns: usize) -> Load {
        Load { txns, bytes: 0 }
    }

    #[test]
    fn what_is_waited_for_follows_what_votes_take() {
        let mut pace = votes_took(2_000);
        assert!((1_900..2_100).contains(&pace.vote_us()), "{pace:?}");
        (0..10).for_each(|_| pace.note_vote(1_000_000));
        assert!(pace.vote_us() > 1_000_000, "{pace:?}");
        (0..100).for_each(|_| pace.note_vote(2_000));
        assert!(pace.vote_us() < 10_000, "{pace:?}");
    }

    #[test]
    fn slow_votes_let_in_less_and_fast_ones_more_again() {
        let mut pace = votes_took(4_000_000);
        assert!(!pace.is_too_much(load(4_000), 100, DEADLINE_US), "nothing is known of how much it is");
        pace.adjust(Tick(1), load(4_000), TARGET_US);
        assert!(pace.is_too_much(load(1_001), 100, DEADLINE_US));
        assert!(!pace.is_too_much(load(990), 100, DEADLINE_US), "a quarter, for four times the time");
        pace.adjust(Tick(2), load(1_000), TARGET_US);
        assert!(!pace.is_too_much(load(990), 100, DEADLINE_US), "not before it can have shown");
        (0..100).for_each(|_| pace.note_vote(500_000));
        let rounds = (0..100).take_while(|round| {
            pace.adjust(Tick(10_000_000 * (round + 1)), load(4_000), TARGET_US);
            pace.is_too_much(load(4_000), 100, DEADLINE_US)
        });
        assert!((5..30).contains(&rounds.count()), "{pace:?}");
    }

    #[test]
    fn what_cannot_be_done_by_its_deadline_is_too_much() {
        let pace = votes_took(2_000_000);
        assert!(pace.is_too_much(load(100), 100, 1_000_000));
        assert!(!pace.is_too_much(load(100), 100, 3_000_000));
        assert!(!pace.is_too_much(load(10), 100, 1_000_000), "with so little under way it is tried");
    }

    #[test]
    fn with_little_under_way_even_the_largest_is_tried() {
        let mut pace = votes_took(4_000_000);
        let large = Load { txns: 1, bytes: 512 << 10 };
        pace.adjust(Tick(1), large, TARGET_US);
        assert!(pace.is_too_much(large, 512 << 10, DEADLINE_US), "one of them is enough");
        assert!(!pace.is_too_much(load(0), 512 << 10, DEADLINE_US));
        assert!(!pace.is_too_much(load(0), 512 << 10, 1_000_000), "nothing else would show that it is quicker now");
    }

    #[test]
    fn bytes_count_as_well_as_transactions() {
        let mut pace = votes_took(4_000_000);
        let large = Load { txns: 100, bytes: 16 << 20 };
        pace.adjust(Tick(1), large, TARGET_US);
        assert!(pace.is_too_much(Load { txns: 20, bytes: 4 << 20 }, 256 << 10, DEADLINE_US));
        assert!(!pace.is_too_much(Load { txns: 2_000, bytes: 0 }, 100, DEADLINE_US));
    }
}
