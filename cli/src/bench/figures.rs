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
    /// When the last answer came, from the beginning.
    pub(crate) last_answer: Duration,
}

/// Percentiles of a latency in microseconds; 0 if there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p95: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl Percentiles {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            p50: histogram.value_at_quantile(0.50),
            p95: histogram.value_at_quantile(0.95),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

/// One stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) committed: u64,
    pub(crate) aborted: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
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
        })
    }

    /// A transaction has committed. `at` counts from the beginning.
    pub(crate) fn committed(&mut self, at: Duration, latency: Duration) {
        self.committed += 1;
        let us = micros(latency);
        self.latency_us.saturating_record(us);
        self.advance(at);
        self.series.committed += 1;
        self.series.latency_us.saturating_record(us);
    }

    /// A transaction was refused for its own reason.
    pub(crate) fn aborted(&mut self, at: Duration, latency: Duration) {
        self.aborted += 1;
        self.abort_latency_us.saturating_record(micros(latency));
        self.advance(at);
        self.series.aborted += 1;
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

    fn advance(&mut self, at: Duration) {
        self.last_answer = self.last_answer.max(at);
        self.series.advance(at);
    }
}

impl Series {
    fn advance(&mut self, at: Duration) {
        while at >= self.interval * (self.points.len() as u32 + 1) {
            self.close_point();
        }
    }

    fn close_point(&mut self) {
        self.points.push(Point {
            committed: self.committed,
            aborted: self.aborted,
            p50_us: self.latency_us.value_at_quantile(0.50),
            p99_us: self.latency_us.value_at_quantile(0.99),
            max_us: self.latency_us.max(),
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
        figures.committed(10 * MS, MS);
        figures.committed(99 * MS, 3 * MS);
        figures.aborted(150 * MS, MS);
        figures.committed(420 * MS, 2 * MS);
        let counts: Vec<_> = figures.series.points.iter().map(|point| (point.committed, point.aborted)).collect();
        assert_eq!(counts, [(2, 0), (0, 1), (0, 0), (0, 0)]);
        assert_eq!(figures.series.points[2].p99_us, 0);
        assert_eq!((figures.committed, figures.aborted), (3, 1));
        assert_eq!(figures.last_answer, 420 * MS);
    }

    #[test]
    fn percentiles_are_of_what_was_recorded() {
        let mut figures = Figures::new(Duration::from_secs(1)).unwrap();
        assert_eq!(Percentiles::of(&figures.latency_us), Percentiles { p50: 0, p95: 0, p99: 0, p999: 0, max: 0 });
        for us in 1..=1_000 {
            figures.committed(MS, Duration::from_micros(us));
        }
        let percentiles = Percentiles::of(&figures.latency_us);
        assert_eq!((percentiles.p50, percentiles.p95, percentiles.p99), (500, 950, 990));
        assert_eq!((percentiles.p999, percentiles.max), (999, 1_000));
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
