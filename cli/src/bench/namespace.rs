//! The key space of one run: benches on one cluster at the same time never touch each other's accounts.
//!
//! A run claims a random number by writing an entry under it, and keeps all its accounts below that number. The entry goes
//! last when the run removes what it wrote, so what a killed bench leaves behind can be found.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use client::{Client, Outcome, Transaction};
use protocol::{OperationResult, Reason};

use crate::bench::accounts::{commit, read, refused, submit};
use crate::exit::Failure;

/// All entries of runs: from the first up to but without the second.
const RUNS_RANGE: (&str, &str) = ("bench-run/", "bench-run0");

/// Numbers that are tried before a run gives up.
const CLAIMS_MAX: usize = 8;

/// Rows that are read, and removed, in one transaction.
const ROWS_PER_READ: u32 = 2_000;

/// The number of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Namespace(u32);

/// A run that has an entry at the cluster: it goes on, or was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) namespace: Namespace,
    /// When it began, in seconds since 1970.
    begun_s: u64,
    accounts: u64,
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, begun_s, accounts } = self;
        let begun = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(*begun_s));
        write!(f, "run {namespace}, begun {begun}, {accounts} accounts")
    }
}

impl Namespace {
    #[cfg(test)]
    pub(crate) fn new(number: u32) -> Self {
        Self(number)
    }

    /// The key of an account, numbered from 0.
    pub(crate) fn key(self, account: usize) -> String {
        format!("bench/{self}/{{{account}}}")
    }

    /// All accounts: from the first up to but without the second.
    pub(crate) fn accounts_range(self) -> (String, String) {
        (format!("bench/{self}/"), format!("bench/{self}0"))
    }

    /// The key of the run's entry.
    pub(crate) fn entry(self) -> String {
        format!("bench-run/{self}")
    }

    /// Claims a number that no other run has.
    pub(crate) async fn claim(client: &Client, accounts: usize) -> Result<Self, Failure> {
        let begun_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for _ in 0..CLAIMS_MAX {
            let claimed = Self(rand::random());
            let entry = format!("{begun_s} {accounts}");
            let claim = Transaction::new().expect_absent(claimed.entry()).put(claimed.entry(), entry);
            match submit(client, "claim", claim).await? {
                Outcome::Committed { .. } => return Ok(claimed),
                Outcome::Aborted { refusal, at_deadline: false } if refusal.reason == Reason::Expectation => {}
                Outcome::Aborted { refusal, at_deadline } => return Err(refused("claim", &refusal, at_deadline)),
            }
        }
        Err(Failure::No(format!("{CLAIMS_MAX} random numbers are all taken by other benches; try again")))
    }

    /// All runs that have an entry.
    pub(crate) async fn list(client: &Client) -> Result<Vec<Listed>, Failure> {
        let (start, end) = RUNS_RANGE;
        let mut runs = Vec::new();
        let mut start = Bytes::from(start);
        loop {
            let (rows, next) = rows(client, &start, end).await?;
            runs.extend(rows.iter().filter_map(|(key, value)| Listed::read(key, value)));
            match next {
                Some(next) => start = next,
                None => return Ok(runs),
            }
        }
    }

    /// Removes all accounts, then the entry.
    pub(crate) async fn remove(self, client: &Client) -> Result<(), Failure> {
        let (start, end) = self.accounts_range();
        let start = Bytes::from(start);
        loop {
            let (rows, next) = rows(client, &start, &end).await?;
            let remove = rows.into_iter().fold(Transaction::new(), |remove, (key, _)| remove.delete(key));
            let is_last = next.is_none();
            let remove = if is_last { remove.delete(self.entry()) } else { remove };
            commit(client, "remove", remove).await?;
            if is_last {
                return Ok(());
            }
        }
    }
}

impl Listed {
    fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let number = std::str::from_utf8(key).ok()?.strip_prefix(RUNS_RANGE.0)?;
        let (begun_s, accounts) = std::str::from_utf8(value).ok()?.split_once(' ')?;
        let namespace = Namespace(u32::from_str_radix(number, 16).ok()?);
        Some(Self { namespace, begun_s: begun_s.parse().ok()?, accounts: accounts.parse().ok()? })
    }
}

type Rows = Vec<(Bytes, Bytes)>;

/// Some rows from `start` on, and where the next ones begin if there are more.
async fn rows(client: &Client, start: &Bytes, end: &str) -> Result<(Rows, Option<Bytes>), Failure> {
    let scan = || Transaction::new().scan(start.clone(), end.to_owned(), ROWS_PER_READ);
    match read(client, "list", scan).await?.into_iter().next() {
        Some(OperationResult::Rows { rows, more }) => {
            let next = rows.last().filter(|_| more).map(|(last, _)| [&last[..], &[0]].concat().into());
            Ok((rows, next))
        }
        Some(
            OperationResult::Done | OperationResult::Value(_) | OperationResult::Number(_) | OperationResult::Totals(_),
        )
        | None => Err(Failure::strange_answer()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_run_lie_in_its_range_and_in_no_other() {
        for (number, other) in [(0, 1), (0x0000_00ff, 0x0000_0100), (u32::MAX, u32::MAX - 1)] {
            let (own, other) = (Namespace(number), Namespace(other));
            for account in [0, 7, 9_999_999] {
                let key = own.key(account);
                let lies_in = |(start, end): (String, String)| start <= key && key < end;
                assert!(lies_in(own.accounts_range()) && !lies_in(other.accounts_range()), "{key}");
                assert!(!(RUNS_RANGE.0..RUNS_RANGE.1).contains(&key.as_str()), "{key}");
            }
            assert!((RUNS_RANGE.0..RUNS_RANGE.1).contains(&own.entry().as_str()));
        }
    }

    #[test]
    fn an_entry_is_read_back_and_nonsense_is_passed_over() {
        let listed = Listed::read(Namespace(0xabc).entry().as_bytes(), b"0 10").unwrap();
        assert_eq!(listed.to_string(), "run 00000abc, begun 1970-01-01T00:00:00Z, 10 accounts");
        for (key, value) in [("bench-run/xyz", "0 1"), ("bench-run/1", "0"), ("bench-run/1", "a b"), ("bench/1", "0 1")]
        {
            assert_eq!(Listed::read(key.as_bytes(), value.as_bytes()), None);
        }
    }
}
