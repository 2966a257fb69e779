//! Segments in which damage was found while the log is open, and what the next checkpoint does about them.
//!
//! Invariants: damage makes a checkpoint due as long as the next open would read there or values may still be saved, and
//! a checkpoint settles both, so it makes one due once; a segment that cannot be read is left alone, because a memory map
//! of it would end the process. Not here: finding damage (`scrub`), the steps of a checkpoint (`checkpoint`).

use std::collections::BTreeMap;

use crate::limits::COMPACT_BYTES_MAX;

/// What is left to do for a damaged segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Plan {
    /// The next checkpoint moves the values that are still sound, and names the others.
    Rescue,
    /// Nothing: it cannot be read, or all that can be saved was.
    LeaveAlone,
}

/// The damaged segments of a log, by index. At most one entry for each segment of the log.
#[derive(Default, Debug)]
pub(crate) struct Damaged(BTreeMap<u64, Plan>);

impl Damaged {
    /// Damage was found in segment `index`.
    pub(crate) fn note(&mut self, index: u64, is_readable: bool) {
        let plan = self.0.entry(index).or_insert(Plan::Rescue);
        if !is_readable {
            *plan = Plan::LeaveAlone;
        }
    }

    /// Whether a checkpoint that begins now helps: replay would no longer start at or before the damage, or values that
    /// live there may be saved. `checkpoint` is the segment in which the last checkpoint begins.
    pub(crate) fn asks_for_checkpoint(&self, checkpoint: u64, live_bytes: impl Fn(u64) -> u64) -> bool {
        self.0.iter().any(|(&index, &plan)| index >= checkpoint || (plan == Plan::Rescue && live_bytes(index) > 0))
    }

    /// Adds what is to be rescued to the victims of a checkpoint that begins in segment `begin`, and takes out what is to
    /// be left alone.
    pub(crate) fn choose(&mut self, victims: &mut Vec<u64>, begin: u64, live_bytes: impl Fn(u64) -> u64) {
        victims.retain(|index| self.0.get(index) != Some(&Plan::LeaveAlone));
        let mut budget = COMPACT_BYTES_MAX;
        for (&index, plan) in self.0.range_mut(..begin) {
            let live = live_bytes(index);
            if *plan == Plan::Rescue && live <= budget {
                budget -= live;
                if live > 0 && !victims.contains(&index) {
                    victims.push(index);
                }
            }
            *plan = Plan::LeaveAlone;
        }
    }

    /// The segment is no longer part of the log.
    pub(crate) fn freed(&mut self, index: u64) {
        self.0.remove(&index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_asks_for_one_checkpoint_which_rescues_what_can_be_read() {
        let mut damaged = Damaged::default();
        let live = |index: u64| if index == 3 { 0 } else { 100 };
        assert!(!damaged.asks_for_checkpoint(5, live));
        damaged.note(3, true);
        assert!(!damaged.asks_for_checkpoint(5, live), "nothing lives there and replay starts later");
        assert!(damaged.asks_for_checkpoint(3, live), "replay would start there");
        damaged.note(2, true);
        damaged.note(4, false);
        assert!(damaged.asks_for_checkpoint(5, live));
        let mut victims = vec![1, 4];
        damaged.choose(&mut victims, 6, live);
        assert_eq!(victims, [1, 2], "the segment that cannot be read is left alone");
        assert!(!damaged.asks_for_checkpoint(6, live));
        let mut victims = vec![2];
        damaged.choose(&mut victims, 7, live);
        assert_eq!(victims, [] as [u64; 0], "what was rescued once is not tried again");
        damaged.note(2, true);
        assert!(!damaged.asks_for_checkpoint(7, live));
        damaged.freed(2);
        damaged.note(2, true);
        assert!(damaged.asks_for_checkpoint(7, live));
    }

    #[test]
    fn more_than_a_checkpoint_can_move_is_left_where_it_is() {
        let mut damaged = Damaged::default();
        damaged.note(1, true);
        let mut victims = Vec::new();
        damaged.choose(&mut victims, 2, |_| COMPACT_BYTES_MAX + 1);
        assert_eq!(victims, [] as [u64; 0]);
    }
}
