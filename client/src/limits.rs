//! Every maximum of the client, with its reason.

use std::time::Duration;

/// Transactions that one client keeps in flight; further ones wait. Bounds what is sent again
/// after a lost connection, and what a coordinator is asked to hold for one client.
pub const IN_FLIGHT_TXNS_MAX: usize = 8_192;

/// The unit in which the bytes of transactions in flight are counted.
pub const IN_FLIGHT_UNIT_BYTES: usize = 8 << 10;

/// Bytes of transactions in flight, so that many large ones do not fill the memory.
pub const IN_FLIGHT_BYTES_MAX: usize = IN_FLIGHT_TXNS_MAX * IN_FLIGHT_UNIT_BYTES;

/// Units of transactions that may be asked for again after BUSY at once, when none was for a while: a coordinator that has just
/// started is soon ready, and some hundred transactions wait for it.
pub const RETRY_UNITS_MAX: f64 = 512.0;

/// Units that may be asked for again in each second although nothing is admitted.
pub const RETRY_UNITS_PER_SECOND: f64 = 32.0;

/// For each unit that is admitted, so much of one may be asked for again.
pub const RETRY_SHARE: f64 = 0.25;

/// Transactions of so many units are asked for like those that were told BUSY for a while after one was: what a coordinator has to
/// take in before it can say BUSY costs as much as a good part of the transaction.
pub const LARGE_UNITS: u32 = 8;

/// How long after BUSY that is so.
pub const BUSY_HEEDED: Duration = Duration::from_secs(1);

/// The units of a transaction that holds so many bytes.
#[must_use]
pub const fn units_of(bytes: usize) -> u32 {
    (bytes / IN_FLIGHT_UNIT_BYTES + 1) as u32
}

/// Questions (status, figures) in flight; further ones wait.
pub const QUESTIONS_MAX: usize = 1_024;

/// One read from the socket: hundreds of answers at once when the coordinator is busy.
pub const READ_BYTES: usize = 64 << 10;

/// The first pause before connecting again, which doubles up to the last.
pub const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause before connecting again: a coordinator that has come back is found within it.
pub const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The first pause after BUSY, which doubles up to the last.
pub const BUSY_PAUSE_MIN: Duration = Duration::from_millis(1);

/// The longest pause after BUSY.
pub const BUSY_PAUSE_MAX: Duration = Duration::from_millis(100);

/// How often the deadlines of what is in flight are looked at. One sweep for all costs less than
/// a timer for each; a deadline is noticed at most so much too late.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(50);

/// A connection on which an answer is overdue and nothing at all was heard for so long is taken for
/// dead, and another one is made.
pub const SILENCE_MAX: Duration = Duration::from_secs(2);

const _: () = assert!(IN_FLIGHT_UNIT_BYTES <= protocol::limits::TXN_BYTES_MAX);
const _: () = assert!(IN_FLIGHT_BYTES_MAX >= 2 * protocol::limits::TXN_BYTES_MAX);
const _: () = assert!((units_of(2 * protocol::limits::TXN_BYTES_MAX) as f64) < RETRY_UNITS_MAX);
const _: () = assert!(READ_BYTES <= protocol::limits::FRAME_BYTES_MAX);
