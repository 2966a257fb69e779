//! What a bank does, each as one transaction. Says no in the bank's words.

use std::time::{SystemTime, UNIX_EPOCH};

use client::{Client, Outcome, Transaction};
use protocol::operation::{Totals, parse_number};
use protocol::{OperationResult, Reason, Refusal, TxnId};
use serde::{Deserialize, Serialize};

use crate::bank::keys;
use crate::exit::Failure;
use crate::txn::refusal_sentence;

/// Rows of a history that are read at a time.
const HISTORY_ROWS_PER_READ: u32 = 1_000;

/// A bank at a coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    client: Client,
}

/// Money to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) amount: i64,
}

/// What became of a transfer.
#[derive(Debug)]
pub(crate) enum Transferred {
    /// Done.
    Done(TxnId),
    /// Nothing was changed.
    Refused {
        /// One word, for tables.
        reason: &'static str,
        /// A sentence, for people.
        sentence: String,
    },
}

/// What a history row holds.
#[derive(Debug, Serialize, Deserialize)]
struct HistoryValue {
    /// Below zero for money that left.
    amount: i64,
    /// The other account.
    other: u64,
}

/// One line of an account's history.
#[derive(Debug, Serialize)]
pub(crate) struct HistoryLine {
    pub(crate) time_us: u64,
    pub(crate) txn: String,
    pub(crate) amount: i64,
    pub(crate) other: u64,
}

/// What an audit saw, at one moment on all participants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audit {
    pub(crate) balances: Totals,
    pub(crate) accounts_opened: i64,
    pub(crate) total_opened: i64,
}

impl Audit {
    /// Whether the bank is as it was opened, but for transfers.
    pub(crate) fn is_right(&self) -> bool {
        self.balances.sum == i128::from(self.total_opened)
            && i128::from(self.balances.keys) == i128::from(self.accounts_opened)
            && self.balances.negatives == 0
    }
}

impl Transfer {
    /// What no bank would try.
    pub(crate) fn check(self) -> Result<Self, String> {
        if self.amount <= 0 {
            return Err(format!("an amount of {} cannot be transferred; it must be above zero", self.amount));
        }
        if self.from == self.to {
            return Err(format!("account {} cannot transfer to itself", self.from));
        }
        Ok(self)
    }

    fn transaction(self) -> Result<Transaction, Failure> {
        let Self { from, to, amount } = self;
        let time_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let transaction = Transaction::new();
        let txn = transaction.id();
        Ok(transaction
            .expect_exists(keys::balance(from))
            .expect_exists(keys::balance(to))
            .add_within(keys::balance(from), -amount, 0..=i64::MAX)
            .add(keys::balance(to), amount)
            .put(keys::history(from, time_us, txn), history_value(-amount, to)?)
            .put(keys::history(to, time_us, txn), history_value(amount, from)?))
    }

    /// The operations are those of [`Transfer::transaction`].
    fn refused(self, refusal: &Refusal, at_deadline: bool) -> Transferred {
        let Self { from, to, amount } = self;
        let (reason, sentence) = match (refusal.reason, refusal.operation) {
            (Reason::Expectation, Some(0)) => ("no-such-account", format!("account {from} does not exist")),
            (Reason::Expectation, Some(1)) => ("no-such-account", format!("account {to} does not exist")),
            (Reason::Bound, Some(2)) => ("insufficient", format!("account {from} holds less than {amount}")),
            (Reason::Bound, Some(3)) => ("overflow", format!("account {to} cannot hold {amount} more")),
            (reason, _) => (reason.name(), refusal_sentence(refusal, at_deadline)),
        };
        Transferred::Refused { reason, sentence }
    }
}

fn history_value(amount: i64, other: u64) -> Result<String, Failure> {
    serde_json::to_string(&HistoryValue { amount, other }).map_err(|error| Failure::Start(error.to_string()))
}

impl Ledger {
    /// The bank at this coordinator.
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Moves money.
    pub(crate) async fn transfer(&self, transfer: Transfer) -> Result<Transferred, Failure> {
        let transaction = transfer.transaction()?;
        let txn = transaction.id();
        Ok(match self.client.submit(transaction).await? {
            Outcome::Committed { .. } => Transferred::Done(txn),
            Outcome::Aborted { refusal, at_deadline } => transfer.refused(&refusal, at_deadline),
        })
    }

    /// An account's balance; `None` if there is no such account.
    pub(crate) async fn balance(&self, account: u64) -> Result<Option<i64>, Failure> {
        let results = self.read(Transaction::new().get(keys::balance(account))).await?;
        number_of(&results, 0, &keys::balance(account))
    }

    /// How many accounts are open.
    pub(crate) async fn accounts(&self) -> Result<u64, Failure> {
        let results = self.read(Transaction::new().get(keys::ACCOUNTS)).await?;
        Ok(number_of(&results, 0, keys::ACCOUNTS)?.unwrap_or(0).max(0) as u64)
    }

    /// Opens accounts, all or none.
    pub(crate) async fn open(&self, accounts: std::ops::RangeInclusive<u64>, balance: i64) -> Result<(), Failure> {
        let (first, last) = (*accounts.start(), *accounts.end());
        let count = (last - first + 1) as i64;
        let total =
            count.checked_mul(balance).ok_or_else(|| Failure::Usage("so much money cannot be counted".into()))?;
        let mut transaction = Transaction::new().add(keys::ACCOUNTS, count).add(keys::TOTAL, total);
        let fixed = transaction.operations().len();
        for account in accounts {
            let key = bytes::Bytes::from(keys::balance(account));
            transaction = transaction.expect_absent(key.clone()).put(key, balance.to_string());
        }
        match self.client.submit(transaction).await? {
            Outcome::Committed { .. } => Ok(()),
            Outcome::Aborted { refusal, at_deadline } => Err(Failure::No(match (refusal.reason, refusal.operation) {
                (Reason::Expectation, Some(operation)) => format!(
                    "refused: account {} exists already; nothing of the accounts {first} to {last} was changed",
                    first + (operation as usize).saturating_sub(fixed) as u64 / 2
                ),
                (_, _) => format!("refused: {}", refusal_sentence(&refusal, at_deadline)),
            })),
        }
    }

    /// Everything that ever moved in or out of an account, oldest first.
    pub(crate) async fn history(&self, account: u64) -> Result<Vec<HistoryLine>, Failure> {
        let (start, end) = keys::history_range(account);
        let (mut start, end) = (bytes::Bytes::from(start), bytes::Bytes::from(end));
        let mut lines = Vec::new();
        loop {
            let scan = Transaction::new().scan(start.clone(), end.clone(), HISTORY_ROWS_PER_READ);
            let results = self.read(scan).await?;
            let Some(OperationResult::Rows { rows, more }) = results.first() else {
                return Err(Failure::strange_answer());
            };
            for (key, value) in rows {
                lines.push(history_line(key, value)?);
            }
            match rows.last() {
                Some((last, _)) if *more => start = [&last[..], &[0]].concat().into(),
                Some(_) | None => return Ok(lines),
            }
        }
    }

    /// Counts all money at one moment.
    pub(crate) async fn audit(&self) -> Result<Audit, Failure> {
        let (start, end) = keys::BALANCES;
        let audit = Transaction::new().totals(start, end).get(keys::ACCOUNTS).get(keys::TOTAL);
        let results = self.read(audit).await?;
        let Some(OperationResult::Totals(balances)) = results.first() else {
            return Err(Failure::strange_answer());
        };
        Ok(Audit {
            balances: *balances,
            accounts_opened: number_of(&results, 1, keys::ACCOUNTS)?.unwrap_or(0),
            total_opened: number_of(&results, 2, keys::TOTAL)?.unwrap_or(0),
        })
    }

    /// A read is tried until it has its results: an answer without them was a repeated one.
    async fn read(&self, transaction: Transaction) -> Result<Vec<OperationResult>, Failure> {
        match self.client.submit(transaction).await? {
            Outcome::Committed { results: Some(results) } => Ok(results),
            Outcome::Committed { results: None } => {
                Err(Failure::Start("the answer was lost with its connection; ask again".to_owned()))
            }
            Outcome::Aborted { refusal, at_deadline } => {
                Err(Failure::No(format!("refused: {}", refusal_sentence(&refusal, at_deadline))))
            }
        }
    }
}

fn number_of(results: &[OperationResult], at: usize, key: &str) -> Result<Option<i64>, Failure> {
    match results.get(at) {
        Some(OperationResult::Value(None)) => Ok(None),
        Some(OperationResult::Value(Some(value))) => match parse_number(value) {
            Some(number) => Ok(Some(number)),
            None => Err(Failure::No(format!("{key} holds {:?}, which is no number", crate::output::show(value)))),
        },
        Some(
            OperationResult::Done
            | OperationResult::Number(_)
            | OperationResult::Rows { .. }
            | OperationResult::Totals(_),
        )
        | None => Err(Failure::strange_answer()),
    }
}

fn history_line(key: &[u8], value: &[u8]) -> Result<HistoryLine, Failure> {
    let parsed = keys::parse_history(key).zip(serde_json::from_slice::<HistoryValue>(value).ok());
    let ((time_us, txn), HistoryValue { amount, other }) =
        parsed.ok_or_else(|| Failure::No(format!("{} is not a history row of a bank", crate::output::show(key))))?;
    Ok(HistoryLine { time_us, txn: txn.to_string(), amount, other })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSFER: Transfer = Transfer { from: 7, to: 8, amount: 500 };

    fn sentence(reason: Reason, operation: u16) -> String {
        let refusal = Refusal { reason, participant: Some(1), operation: Some(operation) };
        match TRANSFER.refused(&refusal, false) {
            Transferred::Refused { sentence, .. } => sentence,
            Transferred::Done(_) => panic!("it was refused"),
        }
    }

    #[test]
    fn a_refusal_names_the_account_that_the_operation_was_about() {
        assert_eq!(sentence(Reason::Expectation, 0), "account 7 does not exist");
        assert_eq!(sentence(Reason::Expectation, 1), "account 8 does not exist");
        assert_eq!(sentence(Reason::Bound, 2), "account 7 holds less than 500");
        assert_eq!(sentence(Reason::Bound, 3), "account 8 cannot hold 500 more");
        assert!(sentence(Reason::NoSpace, 0).contains("disk is full"));
    }

    #[test]
    fn a_transfer_is_these_six_operations_on_two_routing_keys() {
        let transaction = TRANSFER.transaction().unwrap();
        let bins: Vec<_> = transaction
            .operations()
            .iter()
            .filter_map(|operation| operation.key())
            .map(|key| protocol::routing::bin_of(key))
            .collect();
        assert_eq!(bins.len(), 6);
        let (from, to) = (bins[0], bins[1]);
        assert_eq!(bins, [from, to, from, to, from, to]);
        assert!(protocol::operation::check(transaction.operations()).is_ok());
    }

    #[test]
    fn what_no_bank_would_try_is_not_tried() {
        assert!(Transfer { amount: 0, ..TRANSFER }.check().is_err());
        assert!(Transfer { amount: -1, ..TRANSFER }.check().is_err());
        assert!(Transfer { to: 7, ..TRANSFER }.check().is_err());
        assert_eq!(TRANSFER.check(), Ok(TRANSFER));
    }

    #[test]
    fn an_audit_is_right_only_if_everything_adds_up() {
        let right =
            Audit { balances: Totals { keys: 10, sum: 1_000, negatives: 0 }, accounts_opened: 10, total_opened: 1_000 };
        assert!(right.is_right());
        let wrong = |balances| Audit { balances, ..right };
        assert!(!wrong(Totals { sum: 999, ..right.balances }).is_right());
        assert!(!wrong(Totals { keys: 9, ..right.balances }).is_right());
        assert!(!wrong(Totals { negatives: 1, ..right.balances }).is_right());
    }
}
