//! What a bank does, each as one transaction. Says no in the bank's words.

use client::{Client, Outcome, Transaction};
use protocol::operation::{Totals, parse_number};
use protocol::{OperationResult, Reason, Refusal, TxnId};
use serde::{Deserialize, Serialize};

use crate::bank::keys;
use crate::bank::stamp::{Stamp, now_us};
use crate::exit::Failure;
use crate::txn::refusal_sentence;

/// The operation of a transfer that is refused if the transfer has happened.
const HAPPENED_BEFORE: u16 = 2;

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
    Done {
        /// The id that it has.
        txn: TxnId,
        /// It was done before, under the same id.
        before: bool,
    },
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

/// Something with an id of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) time_us: u64,
    /// Before this command.
    pub(crate) before: bool,
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

    /// The row that it leaves at the account that pays shows that it has happened: it happens only if that is not there, even
    /// when the coordinator has long forgotten its id.
    fn transaction(self, stamp: Stamp) -> Result<Transaction, Failure> {
        let Self { from, to, amount } = self;
        Ok(Transaction::with_id(stamp.txn)
            .expect_exists(keys::balance(from))
            .expect_exists(keys::balance(to))
            .expect_absent(self.row_key(stamp))
            .add_within(keys::balance(from), -amount, 0..=i64::MAX)
            .add(keys::balance(to), amount)
            .put(self.row_key(stamp), self.row()?)
            .put(keys::history(to, stamp.time_us, stamp.row), history_value(amount, from)?))
    }

    fn row_key(self, stamp: Stamp) -> String {
        keys::history(self.from, stamp.time_us, stamp.row)
    }

    fn row(self) -> Result<String, Failure> {
        history_value(-self.amount, self.to)
    }

    /// The operations are those of [`Transfer::transaction`].
    fn refused(self, refusal: &Refusal, at_deadline: bool) -> Transferred {
        let Self { from, to, amount } = self;
        let (reason, sentence) = match (refusal.reason, refusal.operation) {
            (Reason::Expectation, Some(0)) => ("no-such-account", format!("account {from} does not exist")),
            (Reason::Expectation, Some(1)) => ("no-such-account", format!("account {to} does not exist")),
            (Reason::Expectation, Some(HAPPENED_BEFORE)) => {
                (Reason::IdReused.name(), format!("another transfer of account {from} has this id"))
            }
            (Reason::Bound, Some(3)) => ("insufficient", format!("account {from} holds less than {amount}")),
            (Reason::Bound, Some(4)) => ("overflow", format!("account {to} cannot hold {amount} more")),
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

    /// Moves money, unless that was done before under the same stamp.
    pub(crate) async fn transfer(&self, transfer: Transfer, stamp: Stamp) -> Result<Transferred, Failure> {
        let txn = stamp.txn;
        match self.client.submit(transfer.transaction(stamp)?).await? {
            Outcome::Committed { results } => Ok(Transferred::Done { txn, before: results.is_none() }),
            Outcome::Aborted { refusal, .. }
                if (refusal.reason, refusal.operation) == (Reason::Expectation, Some(HAPPENED_BEFORE))
                    && self.have_happened(&[(transfer, stamp)]).await? == [true] =>
            {
                Ok(Transferred::Done { txn, before: true })
            }
            Outcome::Aborted { refusal, at_deadline } => Ok(transfer.refused(&refusal, at_deadline)),
        }
    }

    /// Which of these transfers have happened: at most as many as one transaction may ask for.
    pub(crate) async fn have_happened(&self, transfers: &[(Transfer, Stamp)]) -> Result<Vec<bool>, Failure> {
        let ask = transfers.iter().fold(Transaction::new(), |ask, (transfer, stamp)| ask.get(transfer.row_key(*stamp)));
        let results = self.read(ask).await?;
        let mut happened = Vec::with_capacity(transfers.len());
        for ((transfer, _), result) in transfers.iter().zip(&results) {
            let OperationResult::Value(found) = result else { return Err(Failure::strange_answer()) };
            let row = transfer.row()?;
            happened.push(found.as_deref() == Some(row.as_bytes()));
        }
        Ok(happened)
    }

    /// The stamp of a transfer that has an id of its own, or a new one.
    pub(crate) async fn stamp(&self, id: Option<TxnId>) -> Result<Stamp, Failure> {
        let Some(txn) = id else { return Ok(Stamp::now()) };
        match Stamp::of_id(txn) {
            Some(stamp) => Ok(stamp),
            None => Ok(Stamp { txn, row: txn, time_us: self.begin(txn).await?.time_us }),
        }
    }

    /// When this id was begun first; begins it now if it was not.
    pub(crate) async fn begin(&self, id: TxnId) -> Result<Begun, Failure> {
        loop {
            if let Some(begun) = self.begun(id).await? {
                return Ok(begun);
            }
            let (key, time_us) = (keys::begun(id), now_us());
            let begin = Transaction::new().expect_absent(key.clone()).put(key, time_us.to_string());
            match self.client.submit(begin).await? {
                Outcome::Committed { .. } => return Ok(Begun { time_us, before: false }),
                // Somebody else has begun it meanwhile.
                Outcome::Aborted { refusal, .. } if refusal.reason == Reason::Expectation => {}
                Outcome::Aborted { refusal, at_deadline } => {
                    return Err(Failure::No(format!("refused: {}", refusal_sentence(&refusal, at_deadline))));
                }
            }
        }
    }

    /// When this id was begun, if it was.
    pub(crate) async fn begun(&self, id: TxnId) -> Result<Option<Begun>, Failure> {
        let key = keys::begun(id);
        let results = self.read(Transaction::new().get(key.clone())).await?;
        let time_us = number_of(&results, 0, &key)?;
        Ok(time_us.map(|time_us| Begun { time_us: time_us.max(0) as u64, before: true }))
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

    /// The first account that an opening has opened, by its key; `None` if it has opened nothing.
    pub(crate) async fn opening(&self, key: &str) -> Result<Option<u64>, Failure> {
        let results = self.read(Transaction::new().get(key.to_owned())).await?;
        Ok(number_of(&results, 0, key)?.map(|first| first.max(0) as u64))
    }

    /// Opens accounts, all or none; and writes down under the key `begins` that an opening began with them.
    pub(crate) async fn open(
        &self,
        accounts: std::ops::RangeInclusive<u64>,
        balance: i64,
        begins: Option<&str>,
    ) -> Result<(), Failure> {
        let (first, last) = (*accounts.start(), *accounts.end());
        let count = (last - first + 1) as i64;
        let total =
            count.checked_mul(balance).ok_or_else(|| Failure::Usage("so much money cannot be counted".into()))?;
        let mut transaction = Transaction::new().add(keys::ACCOUNTS, count).add(keys::TOTAL, total);
        if let Some(key) = begins {
            transaction = transaction.put(key.to_owned(), first.to_string());
        }
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
            Transferred::Done { .. } => panic!("it was refused"),
        }
    }

    #[test]
    fn a_refusal_names_the_account_that_the_operation_was_about() {
        assert_eq!(sentence(Reason::Expectation, 0), "account 7 does not exist");
        assert_eq!(sentence(Reason::Expectation, 1), "account 8 does not exist");
        assert_eq!(sentence(Reason::Bound, 3), "account 7 holds less than 500");
        assert_eq!(sentence(Reason::Bound, 4), "account 8 cannot hold 500 more");
        assert!(sentence(Reason::NoSpace, 0).contains("disk is full"));
    }

    #[test]
    fn a_transfer_is_these_seven_operations_on_two_routing_keys() {
        let transaction = TRANSFER.transaction(Stamp::now()).unwrap();
        let bins: Vec<_> = transaction
            .operations()
            .iter()
            .filter_map(|operation| operation.key())
            .map(|key| protocol::routing::bin_of(key))
            .collect();
        assert_eq!(bins.len(), 7);
        let (from, to) = (bins[0], bins[1]);
        assert_eq!(bins, [from, to, from, from, to, from, to]);
        let row = transaction.operations()[usize::from(HAPPENED_BEFORE)].key().unwrap();
        assert_eq!(row, transaction.operations()[5].key().unwrap());
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
