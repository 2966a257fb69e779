//! The node's clock: the time of day at start, and what has passed since. It never runs backwards
//! and does not follow when somebody sets the time of day; nothing's safety depends on it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::Tick;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_us: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started: Instant::now(), started_us: since_1970.as_micros() as u64 }
    }

    pub(crate) fn now(&self) -> Tick {
        Tick(self.started_us + self.started.elapsed().as_micros() as u64)
    }

    /// When the clock will show `tick`.
    pub(crate) fn instant_of(&self, tick: Tick) -> Instant {
        self.started + Duration::from_micros(tick.0.saturating_sub(self.started_us))
    }
}
