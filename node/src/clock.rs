//! The node's clock: the time of day at start, and what has passed since. It never runs backwards
//! and does not follow when somebody sets the time of day; nothing's safety depends on it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::Tick;

#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The machine's.
    System { started: Instant, started_us: u64 },
    /// One that shows what somebody sets, in microseconds.
    Set(Rc<Cell<u64>>),
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self::System { started: Instant::now(), started_us: since_1970.as_micros() as u64 }
    }

    pub(crate) fn now(&self) -> Tick {
        match self {
            Self::System { started, started_us } => Tick(started_us + started.elapsed().as_micros() as u64),
            Self::Set(now_us) => Tick(now_us.get()),
        }
    }

    /// How long until the clock shows `tick`.
    pub(crate) fn until(&self, tick: Tick) -> Duration {
        Duration::from_micros(tick.0.saturating_sub(self.now().0))
    }
}
