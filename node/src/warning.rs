//! Warnings that a peer can cause: at most so many in a window of time, the rest is counted.

use std::cell::Cell;

use crate::limits::{WARNING_WINDOW_US, WARNINGS_MAX};

/// Lets through the first warnings of each window.
#[derive(Debug, Default)]
pub(crate) struct WarningLimit {
    window_started_us: Cell<u64>,
    passed: Cell<u32>,
    withheld: Cell<u64>,
    asked: Cell<u64>,
}

impl WarningLimit {
    /// Whether to warn now; and if so, how many warnings were withheld before.
    pub(crate) fn pass(&self, now_us: u64) -> Option<u64> {
        self.asked.set(self.asked.get() + 1);
        if now_us.saturating_sub(self.window_started_us.get()) >= WARNING_WINDOW_US {
            self.window_started_us.set(now_us);
            self.passed.set(0);
        }
        if self.passed.get() >= WARNINGS_MAX {
            self.withheld.set(self.withheld.get() + 1);
            return None;
        }
        self.passed.set(self.passed.get() + 1);
        Some(self.withheld.take())
    }

    /// How many warnings there were, passed or withheld.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_not_written() {
        let limit = WarningLimit::default();
        let start_us = WARNING_WINDOW_US;
        let passed = (0..1_000).filter(|at| limit.pass(start_us + at).is_some()).count();
        assert_eq!(passed as u32, WARNINGS_MAX);
        assert_eq!(limit.pass(2 * start_us), Some(1_000 - u64::from(WARNINGS_MAX)));
        assert_eq!(limit.pass(2 * start_us), Some(0));
    }
}
