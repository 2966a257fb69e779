//! The accounts of a bench: opened before, counted after.

use client::{Client, Outcome, Transaction};
use protocol::operation::Totals;
use protocol::{Operation, OperationResult};
use tokio::task::JoinSet;

use crate::bench::workload::{ACCOUNTS_RANGE, account_of, key};
use crate::exit::Failure;
use crate::output::progress_bar;
use crate::txn::refusal_sentence;

/// Accounts in one transaction.
const ACCOUNTS_PER_BATCH: usize = 1_000;

/// Batches in flight.
const BATCHES_IN_FLIGHT: usize = 4;

/// Rows of an earlier bench that are looked at in one transaction.
const LEFTOVERS_PER_READ: u32 = 2_000;

/// Gives the accounts `0..accounts` their balance, and removes others that an earlier bench on the
/// same cluster has left.
pub(crate) async fn open(client: &Client, accounts: usize, balance: i64) -> Result<(), Failure> {
    remove_leftovers(client, accounts).await?;
    let bar = progress_bar("opening accounts", accounts as u64);
    let mut batches = (0..accounts).step_by(ACCOUNTS_PER_BATCH);
    let mut running = JoinSet::new();
    loop {
        while running.len() < BATCHES_IN_FLIGHT
            && let Some(first) = batches.next()
        {
            let client = client.clone();
            let batch = first..accounts.min(first + ACCOUNTS_PER_BATCH);
            running.spawn(async move {
                let count = batch.len();
                let open = batch.fold(Transaction::new(), |open, account| open.put(key(account), balance.to_string()));
                commit(&client, open).await.map(|_| count)
            });
        }
        let Some(done) = running.join_next().await else { break };
        bar.inc(done.map_err(|error| Failure::Start(error.to_string()))?? as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

async fn remove_leftovers(client: &Client, accounts: usize) -> Result<(), Failure> {
    let (start, end) = ACCOUNTS_RANGE;
    let mut start = bytes::Bytes::from(start);
    loop {
        let results = read(client, || Transaction::new().scan(start.clone(), end, LEFTOVERS_PER_READ)).await?;
        let Some(OperationResult::Rows { rows, more }) = results.into_iter().next() else {
            return Err(Failure::strange_answer());
        };
        let remove = rows
            .iter()
            .filter(|(key, _)| account_of(key).is_none_or(|account| account >= accounts))
            .fold(Transaction::new(), |remove, (key, _)| remove.operation(Operation::Delete { key: key.clone() }));
        if !remove.operations().is_empty() {
            commit(client, remove).await?;
        }
        match rows.last() {
            Some((last, _)) if more => start = [&last[..], &[0]].concat().into(),
            Some(_) | None => return Ok(()),
        }
    }
}

/// All balances at one moment.
pub(crate) async fn totals(client: &Client) -> Result<Totals, Failure> {
    let (start, end) = ACCOUNTS_RANGE;
    match read(client, || Transaction::new().totals(start, end)).await?.first() {
        Some(OperationResult::Totals(totals)) => Ok(*totals),
        Some(
            OperationResult::Done
            | OperationResult::Value(_)
            | OperationResult::Number(_)
            | OperationResult::Rows { .. },
        )
        | None => Err(Failure::strange_answer()),
    }
}

/// Reads again, as a new transaction, if the results were lost with a connection.
async fn read(client: &Client, question: impl Fn() -> Transaction) -> Result<Vec<OperationResult>, Failure> {
    loop {
        if let Some(results) = commit(client, question()).await? {
            return Ok(results);
        }
    }
}

async fn commit(client: &Client, transaction: Transaction) -> Result<Option<Vec<OperationResult>>, Failure> {
    match client.submit(transaction).await? {
        Outcome::Committed { results } => Ok(results),
        Outcome::Aborted { refusal, at_deadline } => {
            let sentence = refusal_sentence(&refusal, at_deadline);
            Err(Failure::No(format!("the bench's accounts cannot be prepared or counted: {sentence}")))
        }
    }
}
