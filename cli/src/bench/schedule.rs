//! When transactions begin.
//!
//! Closed loop: at once, until the time is over. Open loop: at constant intervals that never slip,
//! so that a slow answer makes what waits behind it late, and the latency shows it.
//!
//! A thread of its own keeps the intervals: the timers of the runtime are whole milliseconds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// How long a backlog is worked off after the last scheduled start.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Hands out starts.
#[derive(Debug)]
pub(crate) struct Schedule {
    begun_at: Instant,
    duration: Duration,
    begun: AtomicU64,
    /// When it was stopped before its time, from the beginning.
    stopped: OnceLock<Duration>,
    open: Option<OpenLoop>,
}

/// Starts of an open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slots {
    /// Those whose time has come.
    pub(crate) due: u64,
    /// Those of them that never began.
    pub(crate) never_begun: u64,
}

#[derive(Debug)]
struct OpenLoop {
    rate: f64,
    slots: u64,
    due: Arc<Semaphore>,
    stop: Arc<AtomicBool>,
}

impl Schedule {
    /// Begins now.
    pub(crate) fn start(duration: Duration, rate: Option<f64>) -> std::io::Result<Self> {
        let begun_at = Instant::now();
        let open = rate.map(|rate| OpenLoop {
            rate,
            slots: slots(duration, rate),
            due: Arc::new(Semaphore::new(0)),
            stop: Arc::default(),
        });
        if let Some(open) = &open {
            let (rate, slots, due, stop) = (open.rate, open.slots, Arc::clone(&open.due), Arc::clone(&open.stop));
            std::thread::Builder::new()
                .name("schedule".to_owned())
                .spawn(move || keep_time(begun_at, rate, slots, &due, &stop))?;
        }
        Ok(Self { begun_at, duration, begun: AtomicU64::new(0), stopped: OnceLock::new(), open })
    }

    /// When it began.
    pub(crate) fn begun_at(&self) -> Instant {
        self.begun_at
    }

    /// The start that the next transaction's latency counts from; waits until it has come. `None`
    /// when there is no more.
    pub(crate) async fn next(&self) -> Option<Instant> {
        let Some(open) = &self.open else {
            let now = Instant::now();
            let in_time = now.duration_since(self.begun_at) < self.duration && self.stopped.get().is_none();
            return in_time.then(|| {
                self.begun.fetch_add(1, Ordering::Relaxed);
                now
            });
        };
        // The semaphore closes after the last slot was taken.
        open.due.acquire().await.ok()?.forget();
        let slot = self.begun.fetch_add(1, Ordering::Relaxed);
        if slot + 1 >= open.slots {
            open.due.close();
        }
        let start = self.begun_at + offset(slot, open.rate);
        if Instant::now() > self.begun_at + self.duration + DRAIN_MAX {
            self.begun.fetch_sub(1, Ordering::Relaxed);
            open.due.close();
            return None;
        }
        Some(start)
    }

    /// Nothing begins any more. The first call counts.
    pub(crate) fn stop(&self) {
        let _ = self.stopped.set(self.begun_at.elapsed());
        if let Some(open) = &self.open {
            open.due.close();
            open.stop.store(true, Ordering::Relaxed);
        }
    }

    /// When it was stopped before its time, from the beginning.
    pub(crate) fn stopped(&self) -> Option<Duration> {
        self.stopped.get().copied()
    }

    /// Transactions that have begun.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// What was scheduled. A closed loop schedules nothing.
    pub(crate) fn scheduled(&self) -> Option<Slots> {
        let open = self.open.as_ref()?;
        let due = self.stopped().map_or(open.slots, |stopped| due_by(stopped, open.rate).min(open.slots));
        // A start may be taken just as the schedule stops.
        Some(Slots { due: due.max(self.begun()), never_begun: due.saturating_sub(self.begun()) })
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.stop.store(true, Ordering::Relaxed);
        }
    }
}

fn slots(duration: Duration, rate: f64) -> u64 {
    ((duration.as_secs_f64() * rate).round() as u64).max(1)
}

/// Slots whose time has come.
fn due_by(elapsed: Duration, rate: f64) -> u64 {
    (elapsed.as_secs_f64() * rate).floor() as u64 + 1
}

fn offset(slot: u64, rate: f64) -> Duration {
    Duration::from_secs_f64(slot as f64 / rate)
}

/// Releases each slot when it is due, several at once where they are closer than a sleep is exact.
fn keep_time(begun_at: Instant, rate: f64, slots: u64, due: &Semaphore, stop: &AtomicBool) {
    /// So that an interrupted bench does not wait for a far slot.
    const SLEEP_MAX: Duration = Duration::from_millis(100);
    let mut released = 0;
    while released < slots && !stop.load(Ordering::Relaxed) {
        let now = begun_at.elapsed();
        let until = due_by(now, rate).min(slots);
        if until > released {
            due.add_permits((until - released) as usize);
            released = until;
        }
        let wait = offset(released, rate).saturating_sub(begun_at.elapsed());
        std::thread::sleep(wait.min(SLEEP_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn starts_are_at_constant_intervals_and_never_slip() {
        let schedule = Schedule::start(Duration::from_millis(100), Some(1_000.0)).unwrap();
        let first = schedule.next().await.unwrap();
        // A client that is away for a while finds the starts that it missed, at their old times.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut starts = vec![first];
        while let Some(start) = schedule.next().await {
            assert!(start <= Instant::now(), "not before its time");
            starts.push(start);
        }
        assert_eq!(starts.len(), 100);
        for (slot, start) in starts.iter().enumerate() {
            assert_eq!(*start - first, offset(slot as u64, 1_000.0));
        }
        assert_eq!(schedule.scheduled(), Some(Slots { due: 100, never_begun: 0 }));
    }

    #[tokio::test]
    async fn what_is_not_begun_is_counted() {
        let schedule = Schedule::start(Duration::from_millis(10), Some(1_000.0)).unwrap();
        schedule.next().await.unwrap();
        assert_eq!(schedule.scheduled(), Some(Slots { due: 10, never_begun: 9 }));
    }

    #[tokio::test]
    async fn after_a_stop_nothing_begins_and_what_was_not_due_yet_was_not_scheduled() {
        for rate in [None, Some(1_000.0)] {
            let schedule = Schedule::start(Duration::from_secs(100), rate).unwrap();
            schedule.next().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            schedule.stop();
            assert_eq!(schedule.next().await, None);
            assert_eq!(schedule.begun(), 1);
            let stopped = schedule.stopped().unwrap();
            assert!(stopped < Duration::from_secs(50));
            let expected = due_by(stopped, 1_000.0);
            let slots = Slots { due: expected, never_begun: expected - 1 };
            assert_eq!(schedule.scheduled(), rate.map(|_| slots));
        }
    }

    #[tokio::test]
    async fn a_closed_loop_ends_with_its_time() {
        let schedule = Schedule::start(Duration::from_millis(20), None).unwrap();
        assert!(schedule.next().await.is_some());
        tokio::time::sleep(Duration::from_millis(25)).await;
        assert!(schedule.next().await.is_none());
        assert_eq!((schedule.begun(), schedule.scheduled()), (1, None));
    }
}
