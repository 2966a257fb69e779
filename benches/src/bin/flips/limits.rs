//! Every maximum of the sweep, with its reason. Sizes are in bytes unless the name says otherwise.

use std::time::Duration;

/// Cases of one log by default: enough for every kind of field a hundred times, and minutes for all engines together.
pub(crate) const FLIPS_DEFAULT: u64 = 5_000;

/// One record: a few hundred bytes, so that a log of a hundred records spans several of every engine's blocks.
pub(crate) const RECORD_BYTES: usize = 256;

/// Most records: what an engine reads back is compared in memory, thousands of times.
pub(crate) const RECORDS_MAX: u64 = 10_000;

/// Largest directory that is copied for each case; several copies lie in memory at a time.
pub(crate) const IMAGE_BYTES_MAX: u64 = 256 << 20;

/// Address space of a child: what a damaged length may make an engine ask for before that counts as a crash.
pub(crate) const CHILD_ADDRESS_SPACE_BYTES: u64 = 8 << 30;

/// Cases of one child before a fresh one takes over, so that what an engine leaks does not add up.
pub(crate) const CASES_PER_CHILD_MAX: u64 = 2_000;

/// Time to write the log, on a slow disk: every record is synced.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// Most children at a time.
pub(crate) const WORKERS_MAX: u64 = 64;

/// How much of what a child said last on standard error is kept for the report.
pub(crate) const LAST_WORDS_BYTES_MAX: usize = 512;

/// How much of a message is kept for the report.
pub(crate) const MESSAGE_BYTES_MAX: usize = 512;
