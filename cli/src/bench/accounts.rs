//! The accounts of a bench: opened before, counted after.

use client::{Client, ClientError, Outcome, Transaction};
use protocol::operation::Totals;
use protocol::{OperationResult, Reason, Refusal};
use tokio::task::JoinSet;

use crate::bench::namespace::Namespace;
use crate::exit::Failure;
use crate::output::progress_bar;
use crate::txn::refusal_sentence;

/// Accounts in one transaction.
const ACCOUNTS_PER_BATCH: usize = 1_000;

/// Batches in flight.
const BATCHES_IN_FLIGHT: usize = 4;

/// Gives the accounts `0..accounts` of a run their balance.
pub(crate) async fn open(client: &Client, namespace: Namespace, accounts: usize, balance: i64) -> Result<(), Failure> {
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
                let put = |open: Transaction, account| open.put(namespace.key(account), balance.to_string());
                commit(&client, "open", batch.fold(Transaction::new(), put)).await.map(|_| count)
            });
        }
        let Some(done) = running.join_next().await else { break };
        bar.inc(done.map_err(|error| Failure::Start(error.to_string()))?? as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// All balances at one moment; nothing if the run's accounts have been removed.
pub(crate) async fn totals(client: &Client, namespace: Namespace) -> Result<Option<Totals>, Failure> {
    let (start, end) = namespace.accounts_range();
    let count = || Transaction::new().get(namespace.entry()).totals(start.clone(), end.clone());
    match &read(client, "count", count).await?[..] {
        [OperationResult::Value(entry), OperationResult::Totals(totals)] => Ok(entry.as_ref().map(|_| *totals)),
        _ => Err(Failure::strange_answer()),
    }
}

/// Reads again, as a new transaction, if the results were lost with a connection.
pub(crate) async fn read(
    client: &Client,
    what: &str,
    question: impl Fn() -> Transaction,
) -> Result<Vec<OperationResult>, Failure> {
    loop {
        if let Some(results) = commit(client, what, question()).await? {
            return Ok(results);
        }
    }
}

/// Does what has to be done with the accounts.
pub(crate) async fn commit(
    client: &Client,
    what: &str,
    transaction: Transaction,
) -> Result<Option<Vec<OperationResult>>, Failure> {
    match submit(client, what, transaction).await? {
        Outcome::Committed { results } => Ok(results),
        Outcome::Aborted { refusal, at_deadline } => Err(refused(what, &refusal, at_deadline)),
    }
}

/// Submits what has to be done with the accounts. Who runs a bench cannot ask for a transaction of it again.
pub(crate) async fn submit(client: &Client, what: &str, transaction: Transaction) -> Result<Outcome, Failure> {
    client.submit(transaction).await.map_err(|error| match error {
        ClientError::Unknown { address, why, .. } => {
            Failure::Start(format!("cannot {what} the bench's accounts: no answer from {address}: {why}"))
        }
        ClientError::Unreachable { .. }
        | ClientError::NotAccepted { .. }
        | ClientError::WrongCluster { .. }
        | ClientError::NotACoordinator { .. }
        | ClientError::Violation { .. }
        | ClientError::Unsendable(_) => Failure::Client(error),
    })
}

/// Why the accounts are not as the bench needs them.
pub(crate) fn refused(what: &str, refusal: &Refusal, at_deadline: bool) -> Failure {
    let said = format!("cannot {what} the bench's accounts: {}", refusal_sentence(refusal, at_deadline));
    // Nobody answered in time; everything else is an answer.
    if at_deadline || refusal.reason == Reason::Unavailable { Failure::Start(said) } else { Failure::No(said) }
}
