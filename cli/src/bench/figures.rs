//! What a run measures: counts, latencies, and both over time.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies are kept with three digits.
const DIGITS: u8 = 3;

/// Latencies over time are kept with two digits: they are only plotted.
const SERIES_DIGITS: u8 = 2;

/// A longer latency counts as this one: an hour.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// About so many points over time.
const POINTS: u32 = 100;

/// A point over time is at least so long: below, the counts are noise.
const POINT_MIN: Duration = Duration::from_millis(100);

/// Different failures that are named; further ones are counted as `other`.
const FAILURES_NAMED_MAX: usize = 20;

/// All figures of a run.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) committed: u64,
    pub(crate) aborted: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) latency_us: Histogram<u64>,
    pub(crate) abort_latency_us: Histogram<u64>,
    pub(crate) series: Series,
    /// When the last answer came that the run waited for, from the beginning.
    pub(crate) last_answer: Duration,
    /// Of `committed` and `aborted`, those that were found out only after the run.
    pub(crate) found_out: FoundOut,
}

/// Outcomes that were unknown at the end of the run, and asked for again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FoundOut {
    pub(crate) committed: u64,
    pub(crate) aborted: u64,
}

/// When a transaction was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// In the run, so long after its beginning.
    At(Duration),
    /// When it was asked for again.
    Afterwards,
}

/// Percentiles of a latency in microseconds; nothing if there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: Option<u64>,
    pub(crate) p95: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) p999: Option<u64>,
    pub(crate) max: Option<u64>,
}

/// A quantile of what was recorded; nothing if nothing was.
pub(crate) fn quantile(histogram: &Histogram<u64>, quantile: f64) -> Option<u64> {
    (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile))
}

impl Percentiles {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            p50: quantile(histogram, 0.50),
            p95: quantile(histogram, 0.95),
            p99: quantile(histogram, 0.99),
            p999: quantile(histogram, 0.999),
            max: quantile(histogram, 1.0),
        }
    }
}

/// One stretch of time. Without a commit it has no latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) committed: u64,
    pub(crate) aborted: u64,
    pub(crate) p50_us: Option<u64>,
    pub(crate) p99_us: Option<u64>,
    pub(crate) max_us: Option<u64>,
    /// The interval, or what of it the run has reached.
    pub(crate) length: Duration,
}

/// Figures over time, by the time of the answer.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) interval: Duration,
    pub(crate) points: Vec<Point>,
    committed: u64,
    aborted: u64,
    latency_us: Histogram<u64>,
}

impl Figures {
    /// For a run of about this length.
    pub(crate) fn new(duration: Duration) -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            committed: 0,
            aborted: 0,
            failures: BTreeMap::new(),
            latency_us: Histogram::new_with_max(LATENCY_US_MAX, DIGITS)?,
            abort_latency_us: Histogram::new_with_max(LATENCY_US_MAX, DIGITS)?,
            series: Series {
                interval: (duration / POINTS).max(POINT_MIN),
                points: Vec::new(),
                committed: 0,
                aborted: 0,
                latency_us: Histogram::new_with_max(LATENCY_US_MAX, SERIES_DIGITS)?,
            },
            last_answer: Duration::ZERO,
            found_out: FoundOut::default(),
        })
    }

    /// A transaction has committed.
    pub(crate) fn committed(&mut self, answered: Answered, latency: Duration) {
        self.committed += 1;
        let us = micros(latency);
        self.latency_us.saturating_record(us);
        match answered {
            Answered::At(at) => {
                self.advance(at);
                self.series.committed += 1;
                self.series.latency_us.saturating_record(us);
            }
            Answered::Afterwards => self.found_out.committed += 1,
        }
    }

    /// A transaction was refused for its own reason.
    pub(crate) fn aborted(&mut self, answered: Answered, latency: Duration) {
        self.aborted += 1;
        self.abort_latency_us.saturating_record(micros(latency));
        match answered {
            Answered::At(at) => {
                self.advance(at);
                self.series.aborted += 1;
            }
            Answered::Afterwards => self.found_out.aborted += 1,
        }
    }

    /// Transactions that neither committed nor aborted for their own reason.
    pub(crate) fn failed(&mut self, why: &str, count: u64) {
        if count == 0 {
            return;
        }
        let known = self.failures.contains_key(why) || self.failures.len() < FAILURES_NAMED_MAX;
        *self.failures.entry(if known { why } else { "other" }.to_owned()).or_default() += count;
    }

    /// How many failed.
    pub(crate) fn failed_total(&self) -> u64 {
        self.failures.values().sum()
    }

    /// How many transactions have come to an end that is known.
    pub(crate) fn answered_total(&self) -> u64 {
        self.committed + self.aborted + self.failed_total()
    }

    /// The run is over, so long after its beginning: silence up to there is part of it.
    pub(crate) fn end(&mut self, at: Duration) {
        self.series.advance(at);
        let rest = at.saturating_sub(self.series.closed());
        if !rest.is_zero() {
            self.series.close_point(rest);
        }
    }

    fn advance(&mut self, at: Duration) {
        self.last_answer = self.last_answer.max(at);
        self.series.advance(at);
    }
}

impl Series {
    fn advance(&mut self, at: Duration) {
        while at >= self.closed() + self.interval {
            self.close_point(self.interval);
        }
    }

    /// Up to where there are points.
    fn closed(&self) -> Duration {
        self.interval * self.points.len() as u32
    }

    fn close_point(&mut self, length: Duration) {
        self.points.push(Point {
            committed: self.committed,
            aborted: self.aborted,
            p50_us: quantile(&self.latency_us, 0.50),
            p99_us: quantile(&self.latency_us, 0.99),
            max_us: quantile(&self.latency_us, 1.0),
            length,
        });
        (self.committed, self.aborted) = (0, 0);
        self.latency_us.reset();
    }
}

fn micros(latency: Duration) -> u64 {
    latency.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn answers_fall_into_their_stretch_of_time_and_silence_leaves_empty_ones() {
        let mut figures = Figures::new(Duration::from_secs(1)).unwrap();
        figures.committed(Answered::At(10 * MS), MS);
        figures.committed(Answered::At(99 * MS), 3 * MS);
        figures.aborted(Answered::At(150 * MS), MS);
        figures.committed(Answered::At(420 * MS), 2 * MS);
        let counts = |figures: &Figures| -> Vec<_> {
            figures.series.points.iter().map(|point| (point.committed, point.aborted)).collect()
        };
        assert_eq!(counts(&figures), [(2, 0), (0, 1), (0, 0), (0, 0)]);
        assert_eq!((figures.series.points[0].p99_us, figures.series.points[2].p99_us), (Some(3_007), None));
        figures.end(730 * MS);
        assert_eq!(counts(&figures)[4..], [(1, 0), (0, 0), (0, 0), (0, 0)], "silence up to the end is part of the run");
        let lengths: Vec<_> = figures.series.points.iter().map(|point| point.length).collect();
        assert_eq!(lengths[6..], [100 * MS, 30 * MS]);
        assert_eq!((figures.committed, figures.aborted), (3, 1));
        assert_eq!(figures.last_answer, 420 * MS);
    }

    #[test]
    fn what_is_found_out_afterwards_makes_the_run_no_longer() {
        let mut figures = Figures::new(Duration::from_secs(1)).unwrap();
        figures.committed(Answered::At(10 * MS), MS);
        figures.committed(Answered::Afterwards, 30_000 * MS);
        figures.aborted(Answered::Afterwards, 30_000 * MS);
        assert_eq!((figures.committed, figures.aborted, figures.last_answer), (2, 1, 10 * MS));
        assert_eq!(figures.found_out, FoundOut { committed: 1, aborted: 1 });
        assert!(figures.series.points.is_empty());
    }

    #[test]
    fn percentiles_are_of_what_was_recorded() {
        let mut figures = Figures::new(Duration::from_secs(1)).unwrap();
        let none = Percentiles { p50: None, p95: None, p99: None, p999: None, max: None };
        assert_eq!(Percentiles::of(&figures.latency_us), none);
        for us in 1..=1_000 {
            figures.committed(Answered::At(MS), Duration::from_micros(us));
        }
        let percentiles = Percentiles::of(&figures.latency_us);
        assert_eq!((percentiles.p50, percentiles.p95, percentiles.p99), (Some(500), Some(950), Some(990)));
        assert_eq!((percentiles.p999, percentiles.max), (Some(999), Some(1_000)));
    }

    #[test]
    fn failures_are_counted_by_reason_within_a_bound() {
        let mut figures = Figures::new(Duration::from_secs(1)).unwrap();
        for reason in 0..1_000 {
            figures.failed(&reason.to_string(), 1);
        }
        figures.failed("7", 2);
        figures.failed("none", 0);
        assert_eq!(figures.failed_total(), 1_002);
        assert_eq!(figures.failures["7"], 3);
        assert!(figures.failures.len() <= FAILURES_NAMED_MAX + 1);
    }
}
