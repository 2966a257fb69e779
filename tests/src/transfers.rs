//! Money transfers that leave a trace: each writes a row at both accounts, so that afterwards it
//! can be told of every single one whether it happened, and whether it happened whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use client::{Client, ClientError, Options, Outcome, Transaction};
use protocol::message::TxnStatus;
use protocol::{OperationResult, Totals, TxnId};

/// What every account holds at first.
pub const BALANCE: i64 = 1_000;

/// What a client was told of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Committed.
    Committed,
    /// Aborted.
    Aborted,
    /// Nothing.
    Unknown,
}

/// All transfers of a run, and what their clients were told.
pub type Transfers = BTreeMap<u128, (u32, u32, Told)>;

/// The key of a balance.
pub fn balance(account: u32) -> String {
    format!("balance/{{{account}}}")
}

fn trace(account: u32, txn: TxnId) -> String {
    format!("trace/{{{account}}}/{txn}")
}

/// Connects, waiting for a coordinator that is just starting.
pub async fn connect(address: &str) -> Client {
    let mut last = None;
    for _ in 0..100 {
        match Client::connect(address, Options::default()).await {
            Ok(client) => return client,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no connection to {address}: {last:?}");
}

/// Gives accounts `1..=accounts` their first balance.
pub async fn open_accounts(client: &Client, accounts: u32) {
    let mut opening = Transaction::new();
    for account in 1..=accounts {
        opening = opening.put(balance(account), BALANCE.to_string());
    }
    let outcome = client.submit(opening).await.expect("the accounts are opened");
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
}

/// A transfer of one from `from` to `to` that leaves a trace at both.
pub fn transfer(txn: TxnId, from: u32, to: u32) -> Transaction {
    Transaction::with_id(txn)
        .add_within(balance(from), -1, 0..=i64::MAX)
        .add(balance(to), 1)
        .put(trace(from, txn), "out")
        .put(trace(to, txn), "in")
}

/// Transfers between random accounts until `stop`, one after the other, or until `count_max`.
pub async fn keep_transferring(
    client: Client,
    seed: u64,
    accounts: u32,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    count_max: usize,
) -> Transfers {
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move |below: u32| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 16) as u32 % below
    };
    let mut told = Transfers::new();
    while !stop.load(Ordering::Relaxed) && told.len() < count_max {
        let from = 1 + next(accounts);
        let to = 1 + (from + next(accounts - 1)) % accounts;
        let transaction = transfer(TxnId(u128::from(seed) << 64 | told.len() as u128), from, to);
        let txn = transaction.id();
        let heard = match client.submit(transaction).await {
            Ok(Outcome::Committed { .. }) => Told::Committed,
            Ok(Outcome::Aborted { .. }) => Told::Aborted,
            Err(ClientError::Unknown { .. }) => Told::Unknown,
            Err(error) => panic!("{error}"),
        };
        if heard == Told::Committed {
            done.fetch_add(1, Ordering::Relaxed);
        }
        told.insert(txn.0, (from, to, heard));
    }
    told
}

/// The total of all balances.
pub async fn totals(client: &Client) -> Totals {
    let audit = Transaction::new().totals("balance/", "balance0").deadline(Duration::from_secs(30));
    match client.submit(audit).await {
        Ok(Outcome::Committed { results: Some(results) }) => match results[..] {
            [OperationResult::Totals(totals)] => totals,
            _ => panic!("an audit returned {results:?}"),
        },
        other => panic!("an audit came to {other:?}"),
    }
}

/// Checks that no money was made or lost.
pub async fn assert_conserved(client: &Client, accounts: u32) {
    let expected = Totals { keys: u64::from(accounts), sum: i128::from(accounts) * i128::from(BALANCE), negatives: 0 };
    assert_eq!(totals(client).await, expected);
}

/// Checks each transfer against what its client was told: the acknowledged ones are whole, the
/// refused ones left nothing, and what nobody knew has by now happened whole or not at all.
pub async fn assert_told_the_truth(client: &Client, told: &Transfers) {
    let told: Vec<_> = told.iter().map(|(txn, transfer)| (TxnId(*txn), *transfer)).collect();
    for looked_at in told.chunks(500) {
        let look = looked_at
            .iter()
            .fold(Transaction::new(), |look, (txn, (from, to, _))| look.get(trace(*from, *txn)).get(trace(*to, *txn)));
        let Ok(Outcome::Committed { results: Some(results) }) = client.submit(look).await else {
            panic!("the traces cannot be read");
        };
        let found = |result: &OperationResult| matches!(result, OperationResult::Value(Some(_)));
        for ((txn, (_, _, heard)), pair) in looked_at.iter().zip(results.chunks(2)) {
            assert_told_the_truth_of(client, *txn, *heard, [found(&pair[0]), found(&pair[1])]).await;
        }
    }
}

async fn assert_told_the_truth_of(client: &Client, txn: TxnId, heard: Told, found: [bool; 2]) {
    match heard {
        Told::Committed => assert_eq!(found, [true, true], "{txn} was acknowledged and is not there"),
        Told::Aborted => assert_eq!(found, [false, false], "{txn} was refused and is there"),
        Told::Unknown => {
            assert_eq!(found[0], found[1], "half of {txn} happened");
            let status = client.status(txn).await.expect("a status");
            let is_true = match status {
                TxnStatus::Committed => found[0],
                TxnStatus::Aborted | TxnStatus::Unknown => !found[0],
                TxnStatus::InProgress => false,
            };
            assert!(is_true, "{txn} is {status:?}, and its traces say {found:?}");
        }
    }
}
