//! A second opinion on lists, by the crate `adya`, which is somebody else's work after the same papers.
//!
//! It is told the same transactions, each as a process of its own, and a last one that reads every list at the end; so what was lost
//! is a read that contradicts real time. It does not see elements that nobody appended, nor in which order one transaction's own appends to
//! one list came, nor can it read what is no list: a history in which our checker found those is not compared. For all others both
//! must say yes, or both no; if our checker found nothing but cycles, `adya` must have found one of the same class in the same history; what
//! our checker saw without a cycle must have the same name there.

use std::collections::BTreeMap;

use adya::history::{History as Asked, Interner, Mop, Op, OpType, ReadValue, Scalar};
use adya::{Opts, Valid, Workload};
use bytes::Bytes;
use protocol::{Operation, OperationResult};

use super::history::{History, Outcome, Transaction};
use super::{Violation, blame, lists};
use crate::workload::lists::{LIST, elements};

/// What our checker finds and `adya` does not look for.
const NOT_COMPARED: [&str; 3] = ["malformed", "never-appended", "reordered-appends"];

/// What `adya` says when no transaction depends on any other.
const NO_EDGES: &str = "empty-transaction-graph";

/// Long enough that it never gives up on a cycle.
const SEARCH: std::time::Duration = std::time::Duration::from_secs(600);

/// What our checker finds; and if the second opinion is another, that too, as `adya`.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut ours = lists::check(history);
    if ours.iter().any(|violation| NOT_COMPARED.contains(&violation.name)) {
        return ours;
    }
    let theirs = second_opinion(history);
    let names: Vec<&str> = ours.iter().map(|violation| violation.name).collect();
    if let Err(why) = compare(&names, &theirs) {
        blame(&mut ours, "adya", format!("{why}: our checker says {names:?}, adya {theirs:?}"));
    }
    ours
}

/// The anomalies that `adya` finds; none if it finds the history strictly serializable.
///
/// # Panics
/// If it says that it does not know.
#[must_use]
pub fn second_opinion(history: &History) -> Vec<String> {
    let options = Opts { timeout: SEARCH, ..Opts::default() };
    let report = adya::check(&translate(history), Workload::ListAppend, &options);
    let knows = report.valid != Valid::Unknown || report.anomaly_types == [NO_EDGES];
    assert!(knows, "adya does not know: {:?}", report.anomaly_types);
    if report.valid == Valid::False { report.anomaly_types } else { Vec::new() }
}

fn compare(ours: &[&str], theirs: &[String]) -> Result<(), String> {
    if ours.is_empty() != theirs.is_empty() {
        return Err("one finds something, the other nothing".to_owned());
    }
    let is_cycle = |name: &str| {
        name.starts_with("G0") || name.starts_with("G1c") || name.starts_with("G-") || name.starts_with("G2")
    };
    let only_cycles = ours.iter().all(|name| is_cycle(name));
    for name in ours {
        // What was lost closes a cycle there, of whatever class.
        let is_compared = if is_cycle(name) { only_cycles } else { *name != "lost-append" };
        if is_compared && !theirs.iter().any(|their| same_name(name, their)) {
            return Err(format!("only one finds {name}"));
        }
    }
    Ok(())
}

/// Whether two names stand for the same. `adya` tells more classes apart, and names some cycles in real time only by the model that they
/// break: it keeps of real time what does not follow from the rest, and a step that is also a read counts as the read alone.
fn same_name(our: &str, their: &str) -> bool {
    let plain = their.replace("-item", "").replace("G-nonadjacent", "G2");
    let their = match plain.as_str() {
        "future-read" => "internal",
        "strong-PL-1-cycle-exists" => "G0-realtime",
        "strong-PL-2-cycle-exists" => "G1c-realtime",
        "strong-snapshot-isolation-cycle-exists" => "G-single-realtime",
        "PL-SS-cycle-exists" => "G2-realtime",
        other => other,
    };
    our == their
}

/// Something that happened in a history.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Begin,
    End,
}

fn translate(history: &History) -> Asked {
    let mut translator = Translator::default();
    let touches = |transaction: &Transaction| {
        let keys = transaction.operations.iter().filter_map(Operation::key);
        keys.filter(|key| key.starts_with(LIST.as_bytes())).count() > 0
    };
    let asked = history.transactions.iter().enumerate().filter(|(_, transaction)| touches(transaction));
    let mut events: Vec<(u64, Event, usize)> = Vec::new();
    for (at, transaction) in asked {
        events.push((transaction.invoked_us, Event::Begin, at));
        let over_us = transaction.completed_us.filter(|_| transaction.outcome != Outcome::Unknown);
        events.push((over_us.unwrap_or(u64::MAX), Event::End, at));
    }
    events.sort_unstable();
    for (_, event, at) in events {
        let transaction = &history.transactions[at];
        let kind = match (&event, &transaction.outcome) {
            (Event::Begin, _) => OpType::Invoke,
            (Event::End, Outcome::Committed(_)) => OpType::Ok,
            (Event::End, Outcome::Aborted(_)) => OpType::Fail,
            (Event::End, Outcome::Unknown) => OpType::Info,
        };
        let value = translator.operations(transaction, event == Event::End);
        translator.push(kind, at, value);
    }
    let last = translator.last_read(history);
    translator.push(OpType::Invoke, history.transactions.len(), Vec::new());
    translator.push(OpType::Ok, history.transactions.len(), last);
    Asked::from_ops(translator.ops, translator.interner)
}

#[derive(Default)]
struct Translator {
    ops: Vec<Op>,
    interner: Interner,
    keys: BTreeMap<Bytes, u32>,
}

impl Translator {
    fn push(&mut self, kind: OpType, process: usize, value: Vec<Mop>) {
        let index = self.ops.len() as u64;
        self.ops.push(Op { index, kind, process: Some(process as i64), value, time: None });
    }

    fn key(&mut self, key: &Bytes) -> u32 {
        let interner = &mut self.interner;
        let name = || Scalar::Str(String::from_utf8_lossy(key).into_owned());
        *self.keys.entry(key.clone()).or_insert_with(|| interner.intern(name()))
    }

    fn list(&mut self, value: &[u8]) -> Vec<u32> {
        let elements = elements(value).unwrap_or_default();
        elements.into_iter().map(|element| self.interner.intern(Scalar::Int(i64::from(element)))).collect()
    }

    /// All appends; and what was read, at the end of a transaction that has its results.
    fn operations(&mut self, transaction: &Transaction, at_end: bool) -> Vec<Mop> {
        let mut translated = Vec::new();
        for (at, operation) in transaction.operations.iter().enumerate() {
            let Some(key) = operation.key().filter(|key| key.starts_with(LIST.as_bytes())) else { continue };
            let key = self.key(key);
            let read = transaction.results().filter(|_| at_end).map(|results| &results[at]);
            if let Operation::Append { value, .. } = operation {
                translated.extend(self.list(value).into_iter().map(|value| Mop::Append { key, value }));
            } else if let Some(OperationResult::Value(value)) = read {
                let list = self.list(value.as_deref().unwrap_or_default());
                translated.push(Mop::Read { key, value: ReadValue::List(list) });
            }
        }
        translated
    }

    /// All lists at the end.
    fn last_read(&mut self, history: &History) -> Vec<Mop> {
        for (key, _) in history.rows_of(LIST) {
            self.key(key);
        }
        let keys: Vec<(Bytes, u32)> = self.keys.iter().map(|(key, id)| (key.clone(), *id)).collect();
        let read = |(key, id): (Bytes, u32)| {
            let list = self.list(history.rows.get(&key).map(|value| &value[..]).unwrap_or_default());
            Mop::Read { key: id, value: ReadValue::List(list) }
        };
        keys.into_iter().map(read).collect()
    }
}
