//! Rows and what operations do to them, one transaction after the other; and histories in which transactions overlap, though
//! each was done at one moment.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::operation::parse_number;
use protocol::{Condition, Operation, OperationResult, Reason, ScanOf, Totals, TxnId};
use tests::judge::{History, Layout, Outcome, Transaction};
use tests::random::Random;
use tests::workload::Workload;
use tests::workload::bank::Bank;
use tests::workload::lists::Lists;
use tests::workload::ring::Ring;
use tests::workload::sums::Sums;

pub(super) const LAYOUT: Layout = Layout { accounts: 7, links: 9, sets: 3 };

/// How far apart the moments are at which transactions are done.
const STEP_US: u64 = 10;

/// How long before and after it is done a transaction may begin and end.
const OVERLAP_US: usize = 60;

pub(super) type Rows = BTreeMap<Bytes, Bytes>;

/// Does all operations, or none.
pub(super) fn run(rows: &mut Rows, operations: &[Operation]) -> Result<Vec<OperationResult>, Reason> {
    let mut after = rows.clone();
    let results = operations.iter().map(|operation| step(&mut after, operation)).collect::<Result<Vec<_>, _>>()?;
    *rows = after;
    Ok(results)
}

fn step(rows: &mut Rows, operation: &Operation) -> Result<OperationResult, Reason> {
    match operation {
        Operation::Get { key } => return Ok(OperationResult::Value(rows.get(key).cloned())),
        Operation::Put { key, value } => _ = rows.insert(key.clone(), value.clone()),
        Operation::Delete { key } => _ = rows.remove(key),
        Operation::Add { key, delta, min, max } => {
            let before = rows.get(key).map_or(Some(0), |value| parse_number(value)).ok_or(Reason::NotANumber)?;
            let sum = before.checked_add(*delta).filter(|sum| (min..=max).contains(&sum)).ok_or(Reason::Bound)?;
            rows.insert(key.clone(), sum.to_string().into());
            return Ok(OperationResult::Number(sum));
        }
        Operation::Append { key, value } => {
            let before = rows.get(key).cloned().unwrap_or_default();
            rows.insert(key.clone(), [&before[..], value].concat().into());
        }
        Operation::Expect { key, condition } => {
            let found = rows.get(key);
            let holds = match condition {
                Condition::Exists => found.is_some(),
                Condition::Absent => found.is_none(),
                Condition::Equals(value) => found == Some(value),
            };
            holds.then_some(()).ok_or(Reason::Expectation)?;
        }
        Operation::Scan { start, end, of, .. } => {
            let range = rows.range(start.clone()..end.clone());
            let rows: Vec<_> = range.map(|(key, value)| (key.clone(), value.clone())).collect();
            return Ok(match of {
                ScanOf::Rows => OperationResult::Rows { rows, more: false },
                ScanOf::Totals => OperationResult::Totals(totals(&rows)),
            });
        }
    }
    Ok(OperationResult::Done)
}

fn totals(rows: &[(Bytes, Bytes)]) -> Totals {
    let numbers: Vec<i64> = rows.iter().filter_map(|(_, value)| parse_number(value)).collect();
    let negatives = numbers.iter().filter(|number| **number < 0).count() as u64;
    Totals { keys: rows.len() as u64, sum: numbers.iter().map(|number| i128::from(*number)).sum(), negatives }
}

/// A history of all workloads side by side, true by construction.
pub(super) fn history(seed: u64, transactions: usize) -> History {
    let mut random = Random(seed);
    let mut workloads: Vec<Box<dyn Workload>> = vec![
        Box::new(Lists::new(3, 6, 30)),
        Box::new(Bank::new(3, LAYOUT.accounts)),
        Box::new(Ring::new(3, LAYOUT.links)),
        Box::new(Sums::new(3, LAYOUT.sets, 4)),
    ];
    let mut history = History::default();
    for at in 0..transactions {
        let id = TxnId(1 + at as u128);
        let which = if at < workloads.len() { at } else { random.below(workloads.len()) };
        let workload = &mut workloads[which];
        let operations = if at == which { workload.opening(id) } else { workload.next(id, &mut random) };
        let is_opening = at == which;
        let transaction = do_one(&mut history.rows, id, operations, is_opening, &mut random);
        workload.heard(&transaction.operations, &transaction.outcome);
        history.transactions.push(transaction);
    }
    history
}

fn do_one(rows: &mut Rows, id: TxnId, operations: Vec<Operation>, surely: bool, random: &mut Random) -> Transaction {
    let done_us = 1_000 + id.0 as u64 * STEP_US;
    let mut transaction = Transaction {
        id,
        client: random.below(5) as u32,
        invoked_us: done_us - random.below(OVERLAP_US) as u64,
        completed_us: Some(done_us + random.below(OVERLAP_US) as u64),
        operations,
        outcome: Outcome::Unknown,
        submissions: 1,
    };
    let kind = if surely { 20 } else { random.below(20) };
    if kind == 0 {
        transaction.outcome = Outcome::Aborted(Reason::Conflict);
        return transaction;
    }
    let result = if kind == 1 { Err(Reason::Conflict) } else { run(rows, &transaction.operations) };
    if kind < 3 {
        // It was done or not, nobody knows.
        transaction.completed_us = None;
        return transaction;
    }
    transaction.outcome = match result {
        Ok(_) if kind == 3 => Outcome::Committed(None),
        Ok(results) => Outcome::Committed(Some(results)),
        Err(reason) => Outcome::Aborted(reason),
    };
    transaction
}
