//! The checkers of `tests::judge` are checked themselves: they find each kind of wrong history under its name, and nothing in right ones;
//! and three of them, which share no code, agree.

mod model;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::{Operation, OperationResult, Reason, TxnId};
use tests::judge::{
    Asked, History, Layout, Outcome, Question, Said, Transaction, Violation, adya, bank, brute, judge, lists, outcomes,
    pages, retries, ring, sums,
};
use tests::random::Random;
use tests::workload::lists::{LIST, element, elements, value};
use tests::workload::pages::{PAGE, page};

fn names(violations: &[Violation]) -> Vec<&'static str> {
    let mut names: Vec<_> = violations.iter().map(|violation| violation.name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

// ---- lists, by hand

/// A history of lists: `0..10 committed append a 1, get b 2 3` is a transaction; others are `aborted`, `unknown`, and `silent`
/// if it committed and its results were lost. The lists at the end: `a 1 2, b 3`.
fn told(transactions: &[&str], end: &str) -> History {
    let mut history = History::default();
    for (at, text) in transactions.iter().enumerate() {
        let (time, rest) = text.split_once(' ').expect("a time");
        let (outcome, steps) = rest.split_once(' ').expect("an outcome");
        let (begin, over) = time.split_once("..").expect("two times");
        let (operations, results) = steps.split(", ").map(told_step).unzip();
        let outcome = match outcome {
            "committed" => Outcome::Committed(Some(results)),
            "silent" => Outcome::Committed(None),
            "aborted" => Outcome::Aborted(Reason::Conflict),
            "unknown" => Outcome::Unknown,
            other => panic!("no outcome {other}"),
        };
        history.transactions.push(Transaction {
            id: TxnId(1 + at as u128),
            client: 1,
            invoked_us: begin.parse().expect("a time"),
            completed_us: over.parse().ok(),
            operations,
            outcome,
            submissions: 1,
        });
    }
    let lists = end.split(", ").filter(|text| !text.is_empty()).map(told_list);
    history.rows = lists.map(|(key, elements)| (key, value(&elements))).collect();
    history
}

fn told_list(text: &str) -> (Bytes, Vec<u32>) {
    let mut words = text.split(' ');
    let key = format!("{LIST}{}", words.next().expect("a list")).into();
    (key, words.map(|word| word.parse().expect("an element")).collect())
}

fn told_step(text: &str) -> (Operation, OperationResult) {
    let (verb, list) = text.split_once(' ').expect("a verb");
    let (key, elements) = told_list(list);
    let list = (!elements.is_empty()).then(|| value(&elements));
    match verb {
        "get" => (Operation::Get { key }, OperationResult::Value(list)),
        _ => (Operation::Append { key, value: element(elements[0]) }, OperationResult::Done),
    }
}

/// What a history of lists is blamed for; all opinions that can be had agree.
fn blamed(transactions: &[&str], end: &str) -> Vec<&'static str> {
    let history = told(transactions, end);
    let found = adya::check(&history);
    found.iter().for_each(|violation| println!("{violation}"));
    assert_eq!(found.is_empty(), brute::is_strictly_serializable(&history), "{transactions:?}");
    names(&found)
}

#[test]
fn right_lists_are_blamed_for_nothing() {
    assert!(blamed(&["0..10 committed append a 1", "5..15 committed get a"], "a 1").is_empty());
    assert!(blamed(&["0..10 committed append a 1, get a 1, append a 2, get a 1 2"], "a 1 2").is_empty());
    assert!(blamed(&["0..10 unknown append a 1, append b 2", "20..30 committed get a 1"], "a 1, b 2").is_empty());
    assert!(
        blamed(&["0..10 unknown append a 1", "20..30 committed get a", "40..50 committed get a 1"], "a 1").is_empty()
    );
    assert!(blamed(&["0..10 unknown append a 1", "20..30 silent append a 2, get a"], "a 2").is_empty());
    assert!(blamed(&["0..10 aborted append a 1", "20..30 committed get a"], "").is_empty());
    // What was over when the other began, in the same microsecond, was not before it.
    assert!(blamed(&["0..10 committed append a 1", "10..20 committed get a"], "a 1").is_empty());
}

#[test]
fn g0_is_a_cycle_of_writes() {
    let crossed = ["0..10 committed append a 1, append b 2", "0..10 committed append a 3, append b 4"];
    assert_eq!(blamed(&crossed, "a 1 3, b 4 2"), ["G0"]);
    let late = ["0..10 committed append a 1", "20..30 committed append a 2"];
    assert_eq!(blamed(&late, "a 2 1"), ["G0-realtime"]);
    // The second is between them in real time, and has read from the first.
    let over_a_read = ["0..10 committed append a 1", "20..30 committed get a 2 1", "40..50 committed append a 2"];
    assert_eq!(blamed(&over_a_read, "a 2 1"), ["G0-realtime"]);
}

#[test]
fn g1a_is_a_read_of_what_was_aborted() {
    assert_eq!(blamed(&["0..10 aborted append a 1", "0..10 committed get a 1"], ""), ["G1a"]);
    assert_eq!(blamed(&["0..10 aborted append a 1", "0..10 committed get a 1"], "a 1"), ["G1a"]);
    assert_eq!(blamed(&["0..10 aborted append a 1"], "a 1"), ["G1a"]);
}

#[test]
fn g1b_is_a_read_of_half_a_transaction() {
    let found = blamed(&["0..10 committed append a 1, append a 2", "0..10 committed get a 1"], "a 1 2");
    assert_eq!(found, ["G-single", "G1b"]);
}

#[test]
fn g1c_is_a_cycle_of_writes_and_reads() {
    let each_other = ["0..10 committed append a 1, get b 2", "0..10 committed append b 2, get a 1"];
    assert_eq!(blamed(&each_other, "a 1, b 2"), ["G1c"]);
    let too_early = ["0..10 committed get a 1", "20..30 committed append a 1"];
    assert_eq!(blamed(&too_early, "a 1"), ["G1c-realtime"]);
}

#[test]
fn g_single_is_a_read_that_missed_something() {
    let torn = ["0..10 committed append a 1, append b 2", "0..10 committed get a 1, get b"];
    assert_eq!(blamed(&torn, "a 1, b 2"), ["G-single"]);
    let lost_update = ["0..10 committed get a, append a 1", "0..10 committed get a, append a 2"];
    assert_eq!(blamed(&lost_update, "a 1 2"), ["G-single"]);
    let stale = ["0..10 committed append a 1", "20..30 committed get a"];
    assert_eq!(blamed(&stale, "a 1"), ["G-single-realtime"]);
}

#[test]
fn g2_is_write_skew() {
    let skew = ["0..10 committed get a, append b 1", "0..10 committed get b, append a 2"];
    assert_eq!(blamed(&skew, "a 2, b 1"), ["G2"]);
    // The second one is before the third and after the first, which began when the third was over.
    let long = ["20..30 committed get a", "0..50 committed append a 1, get b", "0..10 committed append b 2"];
    assert_eq!(blamed(&long, "a 1, b 2"), ["G2-realtime"]);
}

#[test]
fn what_lists_cannot_be_is_named() {
    let one = "0..10 committed append a 1";
    assert_eq!(
        blamed(&[one, "0..10 committed append a 2", "20..30 committed get a 2 1"], "a 1 2"),
        ["incompatible-order"]
    );
    assert_eq!(blamed(&[one], "a 1 1"), ["duplicate-elements"]);
    assert_eq!(blamed(&[one, "20..30 committed get a 1 1"], "a 1"), ["duplicate-elements"]);
    assert_eq!(blamed(&[one], ""), ["lost-append"]);
    assert_eq!(blamed(&[one, "0..10 committed append a 2"], "a 2"), ["lost-append"]);
    assert_eq!(blamed(&["0..10 unknown append a 1, append b 2"], "b 2"), ["lost-append"]);
    assert_eq!(blamed(&["0..10 unknown append a 1", "20..30 committed get a 1"], ""), ["lost-append"]);
    assert_eq!(blamed(&[one], "a 1 7"), ["never-appended"]);
    assert_eq!(blamed(&[one, "0..10 committed append b 2"], "a 1 2"), ["lost-append", "never-appended"]);
    assert_eq!(blamed(&["0..10 committed append a 1, append a 2"], "a 2 1"), ["reordered-appends"]);
    assert_eq!(blamed(&["0..10 committed append a 1, get a"], "a 1"), ["internal"]);
    assert_eq!(blamed(&["0..10 committed get a 1, append a 1"], "a 1"), ["internal"]);
    assert_eq!(blamed(&[one, "0..20 committed get a, get a 1"], "a 1"), ["G-single", "internal"]);
    let mut torn = told(&[one], "a 1");
    torn.rows.insert(Bytes::from_static(b"list/a"), Bytes::from_static(b"1 2"));
    assert!(names(&lists::check(&torn)).contains(&"malformed"));
}

#[test]
fn a_cycle_is_told_with_its_transactions_and_reasons() {
    let stale =
        told(&["0..10 committed append a 1", "20..30 committed get a", "3..5 committed append b 2"], "a 1, b 2");
    let [violation] = &lists::check(&stale)[..] else { panic!("one violation") };
    let expected = "G-single-realtime: a cycle of 2
    t2 of client 1, 20..30 us: get list/a [];
    t1 of client 1, 0..10 us: append list/a 1;
  t2 before t1: it read list/a without the 1 of t1 (rw)
  t1 before t2: it was over at 10 us, the other began at 20 us (realtime)
";
    assert_eq!(violation.to_string(), expected);
}

// ---- lists, by chance

/// A small history, true by construction.
fn small(random: &mut Random) -> History {
    let mut history = History::default();
    let mut rows = model::Rows::new();
    let mut next_element = 1;
    for at in 0..1 + random.below(7) {
        let mut step = |random: &mut Random| {
            let key = Bytes::from(format!("{LIST}{}", ["a", "b", "c"][random.below(3)]));
            if random.below(2) == 0 {
                return Operation::Get { key };
            }
            next_element += 1;
            Operation::Append { key, value: element(next_element) }
        };
        let operations: Vec<_> = (0..=random.below(3)).map(|_| step(random)).collect();
        let done_us = 100 + 10 * at as u64;
        let (invoked_us, over_us) = (done_us - random.below(25) as u64, done_us + random.below(25) as u64);
        let kind = random.below(12);
        let is_done = kind > 1;
        let results =
            if is_done { model::run(&mut rows, &operations).expect("nothing is refused") } else { Vec::new() };
        let (outcome, completed_us) = match kind {
            0 => (Outcome::Aborted(Reason::Conflict), Some(over_us)),
            1 | 2 => (Outcome::Unknown, None),
            3 => (Outcome::Committed(None), Some(over_us)),
            _ => (Outcome::Committed(Some(results)), Some(over_us)),
        };
        let id = TxnId(1 + at as u128);
        history.transactions.push(Transaction {
            id,
            client: 1,
            invoked_us,
            completed_us,
            operations,
            outcome,
            submissions: 1,
        });
    }
    history.rows = rows;
    history
}

/// Changes a list in some way.
fn spoil_list(list: Option<&Bytes>, random: &mut Random) -> Option<Bytes> {
    let mut elements = elements(list.map(|list| &list[..]).unwrap_or_default()).expect("a list");
    let at = random.below(elements.len().max(1));
    match random.below(5) {
        0 => elements.truncate(at),
        1 if !elements.is_empty() => _ = elements.remove(at),
        2 if elements.len() > 1 => elements.swap(at, (at + 1) % list.map_or(1, |_| 2)),
        3 => elements.push(1 + random.below(12) as u32),
        _ => elements.reverse(),
    }
    (!elements.is_empty()).then(|| value(&elements))
}

/// One change that may make a history wrong.
fn spoil(history: &mut History, random: &mut Random) {
    let at = random.below(history.transactions.len());
    let other = random.below(history.transactions.len());
    match random.below(6) {
        0 | 1 => {
            let Outcome::Committed(Some(results)) = &mut history.transactions[at].outcome else { return };
            let reads = results.iter_mut().filter(|result| matches!(result, OperationResult::Value(_)));
            if let Some(OperationResult::Value(list)) = reads.last() {
                *list = spoil_list(list.as_ref(), random);
            }
        }
        2 => {
            let keys: Vec<Bytes> = history.rows.keys().cloned().collect();
            let Some(key) = keys.get(at % keys.len().max(1)) else { return };
            match spoil_list(history.rows.get(key), random) {
                Some(list) => history.rows.insert(key.clone(), list),
                None => history.rows.remove(key),
            };
        }
        3 | 4 => {
            let times = |one: &Transaction| (one.invoked_us, one.completed_us);
            let (one, two) = (times(&history.transactions[at]), times(&history.transactions[other]));
            (history.transactions[at].invoked_us, history.transactions[at].completed_us) = two;
            (history.transactions[other].invoked_us, history.transactions[other].completed_us) = one;
        }
        _ => {
            let one = &mut history.transactions[at];
            one.outcome = match one.outcome {
                Outcome::Aborted(_) => Outcome::Committed(None),
                Outcome::Committed(_) | Outcome::Unknown => Outcome::Aborted(Reason::Conflict),
            };
        }
    }
}

/// Three opinions on histories of a few transactions, right ones and spoilt ones.
fn compare_opinions(seeds: std::ops::Range<u64>) -> BTreeMap<&'static str, usize> {
    let mut found = BTreeMap::new();
    for seed in seeds {
        let mut random = Random(seed);
        let mut history = small(&mut random);
        for spoilt in [false, true] {
            if spoilt {
                spoil(&mut history, &mut random);
            }
            let violations = adya::check(&history);
            let is_right = brute::is_strictly_serializable(&history);
            assert!(is_right || spoilt, "seed {seed}: no order explains {history:#?}");
            let names = names(&violations);
            assert_eq!(names.is_empty(), is_right, "seed {seed}: {violations:#?}\nof {history:#?}");
            assert!(!names.contains(&"adya"), "seed {seed}: {violations:#?}\nof {history:#?}");
            if spoilt {
                names.into_iter().for_each(|name| *found.entry(name).or_default() += 1);
                *found.entry(if is_right { "right" } else { "wrong" }).or_default() += 1;
            }
        }
    }
    found
}

#[test]
fn three_opinions_agree_on_spoilt_histories() {
    let found = compare_opinions(0..4_000);
    println!("{found:?}");
    // Besides G2-realtime, which chance finds too seldom.
    let expected = [
        "G-single",
        "G-single-realtime",
        "G0",
        "G0-realtime",
        "G1a",
        "G1b",
        "G1c",
        "G1c-realtime",
        "G2",
        "duplicate-elements",
        "incompatible-order",
        "internal",
        "lost-append",
        "never-appended",
        "reordered-appends",
        "right",
        "wrong",
    ];
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), expected);
}

#[test]
#[ignore = "a minute"]
fn three_opinions_agree_on_many_spoilt_histories() {
    println!("{:?}", compare_opinions(0..100_000));
}

// ---- all workloads

#[test]
fn right_histories_are_blamed_for_nothing() {
    let mut committed = 0;
    for seed in 0..30 {
        let history = model::history(seed, 400);
        committed += history.transactions.iter().filter(|transaction| transaction.is_committed()).count();
        assert_eq!(judge(&history, model::LAYOUT), [], "seed {seed}");
        assert_eq!(adya::check(&history), [], "seed {seed}");
    }
    assert!(committed > 30 * 400 / 2, "only {committed} committed");
}

/// What a right history is blamed for when this was done to it.
fn blamed_after(what: impl FnOnce(&mut History)) -> Vec<&'static str> {
    let mut history = model::history(7, 400);
    what(&mut history);
    names(&judge(&history, model::LAYOUT))
}

fn row(history: &History, prefix: &str) -> Bytes {
    history.rows_of(prefix).next().expect("such a row").0.clone()
}

/// The first committed transaction with results that has such an operation.
fn with(history: &mut History, is_it: impl Fn(&Operation) -> bool) -> &mut Transaction {
    let found =
        history.transactions.iter_mut().find(|one| one.results().is_some() && one.operations.iter().any(&is_it));
    found.expect("such a transaction")
}

fn results(transaction: &mut Transaction) -> &mut Vec<OperationResult> {
    let Outcome::Committed(Some(results)) = &mut transaction.outcome else { panic!("no results") };
    results
}

fn adds(prefix: &'static str) -> impl Fn(&Operation) -> bool {
    move |operation| matches!(operation, Operation::Add { key, .. } if key.starts_with(prefix.as_bytes()))
}

fn scans(prefix: &'static str) -> impl Fn(&Operation) -> bool {
    move |operation| matches!(operation, Operation::Scan { start, .. } if start.starts_with(prefix.as_bytes()))
}

fn gets(prefix: &'static str) -> impl Fn(&Operation) -> bool {
    move |operation| matches!(operation, Operation::Get { key } if key.starts_with(prefix.as_bytes()))
}

fn set(history: &mut History, prefix: &str, value: &'static str) {
    let key = row(history, prefix);
    history.rows.insert(key, Bytes::from_static(value.as_bytes()));
}

#[test]
fn money_that_appears_is_seen() {
    assert_eq!(blamed_after(|history| set(history, "bank/", "999")), ["balance", "money"]);
    assert_eq!(blamed_after(|history| _ = history.rows.remove(&row(history, "bank/"))), ["money"]);
    let audit = |history: &mut History| {
        let audit = results(with(history, scans("bank/")));
        match &mut audit[0] {
            OperationResult::Totals(totals) => totals.sum += 1,
            OperationResult::Rows { rows, .. } => _ = rows.pop(),
            OperationResult::Done | OperationResult::Value(_) | OperationResult::Number(_) => panic!("no audit"),
        }
    };
    assert_eq!(blamed_after(audit), ["money"]);
    let read = |history: &mut History| results(with(history, gets("bank/")))[0] = OperationResult::Value(None);
    assert_eq!(blamed_after(read), ["money"]);
    let overdrawn = |history: &mut History| results(with(history, adds("bank/")))[0] = OperationResult::Number(-1);
    assert_eq!(blamed_after(overdrawn), ["overdrawn"]);
}

#[test]
fn a_ring_that_breaks_is_seen() {
    assert_eq!(blamed_after(|history| set(history, "ring/", "0")), ["ring"]);
    assert_eq!(blamed_after(|history| set(history, "ring/", "far")), ["ring"]);
    assert_eq!(blamed_after(|history| _ = history.rows.remove(&row(history, "ring/"))), ["ring"]);
    let read = |history: &mut History| {
        let look = results(with(history, gets("ring/")));
        look[1] = look[0].clone();
    };
    assert_eq!(blamed_after(read), ["ring"]);
}

#[test]
fn sums_that_differ_are_seen() {
    assert_eq!(blamed_after(|history| set(history, "sum/1/", "12345")), ["counter", "sums"]);
    let read = |history: &mut History| {
        let OperationResult::Totals(totals) = &mut results(with(history, scans("sum/")))[0] else {
            panic!("no totals")
        };
        totals.sum += 1;
    };
    assert_eq!(blamed_after(read), ["sums"]);
    // The same counter of every set, so that no sum tells.
    let again = |history: &mut History| {
        let one = with(history, adds("sum/")).clone();
        model::run(&mut history.rows, &one.operations[..3]).unwrap();
    };
    assert_eq!(blamed_after(again), ["counter"]);
}

#[test]
fn untrue_outcomes_are_seen() {
    let marks = |one: &Transaction| -> Vec<Bytes> {
        let keys = one.operations.iter().filter_map(Operation::key);
        keys.filter(|key| key.starts_with(b"mark/")).cloned().collect()
    };
    let several = |history: &History| {
        let is_one = |one: &&Transaction| one.is_committed() && one.results().is_some() && marks(one).len() > 1;
        history.transactions.iter().position(|one| is_one(&one)).unwrap()
    };
    let only_outcomes = |what: &dyn Fn(&mut History, usize)| {
        let mut history = model::history(7, 400);
        let at = several(&history);
        what(&mut history, at);
        names(&outcomes::check(&history))
    };
    let lose_one = |history: &mut History, at: usize| _ = history.rows.remove(&marks(&history.transactions[at])[0]);
    assert_eq!(only_outcomes(&lose_one), ["half-done"]);
    let lose_all = |history: &mut History, at: usize| {
        marks(&history.transactions[at]).iter().for_each(|mark| _ = history.rows.remove(mark));
    };
    assert_eq!(only_outcomes(&lose_all), ["lost-commit"]);
    let twice = |history: &mut History, at: usize| {
        history.rows.insert(marks(&history.transactions[at])[0].clone(), Bytes::from_static(b"xx"));
    };
    assert_eq!(only_outcomes(&twice), ["done-twice"]);
    let lie = |history: &mut History, at: usize| history.transactions[at].outcome = Outcome::Aborted(Reason::Busy);
    assert_eq!(only_outcomes(&lie), ["aborted-done"]);
    let forget = |history: &mut History, at: usize| {
        lose_one(history, at);
        history.transactions[at].outcome = Outcome::Unknown;
    };
    assert_eq!(only_outcomes(&forget), ["half-done"]);
    let unasked = |history: &mut History, at: usize| _ = history.transactions.remove(at);
    assert_eq!(only_outcomes(&unasked), ["unasked"]);
}

#[test]
fn a_page_that_nobody_wrote_is_seen() {
    let key = Bytes::from(format!("{PAGE}0"));
    let judged = |outcome: Outcome, read: Option<Bytes>, end: Option<Bytes>| {
        let put = |number| Operation::Put { key: key.clone(), value: page(number) };
        let done = Outcome::Committed(Some(vec![OperationResult::Done]));
        let found = Outcome::Committed(Some(vec![OperationResult::Value(read)]));
        let asked = [(put(1), done), (put(2), outcome), (Operation::Get { key: key.clone() }, found)];
        let mut history = History::default();
        for (at, (operation, outcome)) in asked.into_iter().enumerate() {
            history.transactions.push(Transaction {
                id: TxnId(1 + at as u128),
                client: 1,
                invoked_us: 0,
                completed_us: Some(1),
                operations: vec![operation],
                outcome,
                submissions: 1,
            });
        }
        history.rows.extend(end.map(|value| (key.clone(), value)));
        names(&pages::check(&history))
    };
    let mixed = || Some([&page(1)[..4_000], &page(2)[4_000..]].concat().into());
    let aborted = || Outcome::Aborted(Reason::Conflict);
    assert!(judged(aborted(), Some(page(1)), Some(page(1))).is_empty());
    assert!(judged(Outcome::Unknown, Some(page(2)), Some(page(1))).is_empty());
    assert_eq!(judged(aborted(), Some(page(2)), Some(page(1))), ["page"]);
    assert_eq!(judged(Outcome::Unknown, mixed(), Some(page(1))), ["page"]);
    assert_eq!(judged(Outcome::Unknown, None, Some(page(1))), ["page"]);
    assert_eq!(judged(Outcome::Unknown, Some(page(1)), mixed()), ["page"]);
    assert_eq!(judged(Outcome::Unknown, Some(page(1)), None), ["page"]);
}

/// What was asked, when, and what was said to it when.
type Asking = (Asked, u64, Option<(u64, Said)>);

/// What is said of one transaction that writes, when these questions about it were asked and answered.
fn answered(questions: &[Asking]) -> Vec<&'static str> {
    let mut history = told(&["0..10 committed append a 1"], "a 1");
    let question = |(asked, asked_us, said): &Asking| Question {
        transaction: 0,
        asked: *asked,
        asked_us: *asked_us,
        said: said.clone(),
    };
    history.questions = questions.iter().map(question).collect();
    let found = [outcomes::check(&history), retries::check(&history)].concat();
    names(&found)
}

#[test]
fn answers_that_change_are_seen() {
    let committed = |us| Some((us, Said::Committed(None)));
    let aborted = |us| Some((us, Said::Aborted(Some(Reason::Conflict))));
    let reused = |us| Some((us, Said::Aborted(Some(Reason::IdReused))));
    let status = |us, said| (Asked::Status, us, Some((us + 1, said)));
    let first = (Asked::Same, 0, committed(10));
    assert!(answered(&[first.clone(), (Asked::Same, 20, committed(30)), (Asked::Other, 20, reused(30))]).is_empty());
    assert!(answered(&[first.clone(), (Asked::Same, 20, None), status(30, Said::Committed(None))]).is_empty());
    assert!(answered(&[status(5, Said::Unknown), first.clone(), status(12, Said::InProgress)]).is_empty());
    // Asked again after an abort, it is a new try.
    assert!(answered(&[(Asked::Same, 0, aborted(5)), (Asked::Same, 6, committed(10))]).is_empty());
    assert!(
        answered(&[(Asked::Same, 0, aborted(5)), (Asked::Same, 6, None), status(9, Said::Committed(None))]).is_empty()
    );

    assert_eq!(answered(&[(Asked::Same, 0, aborted(5)), status(9, Said::Committed(None))]), ["told-both"]);
    assert_eq!(answered(&[(Asked::Same, 0, aborted(5)), (Asked::Same, 4, committed(10))]), ["told-both"]);
    assert_eq!(answered(&[first.clone(), (Asked::Same, 5, aborted(20))]), ["told-both"]);
    assert_eq!(answered(&[first.clone(), (Asked::Same, 20, aborted(30))]), ["changed-outcome"]);
    assert_eq!(answered(&[first.clone(), (Asked::Same, 20, reused(30))]), ["refused-retry"]);
    assert_eq!(answered(&[first.clone(), (Asked::Other, 20, committed(30))]), ["reused-id"]);
    assert_eq!(answered(&[first.clone(), status(20, Said::Unknown)]), ["forgotten"]);
    assert_eq!(answered(&[first, status(20, Said::Aborted(None))]), ["forgotten"]);
    let with = |number| Said::Committed(Some(vec![OperationResult::Number(number)]));
    let twice = [(Asked::Same, 0, Some((10, with(1)))), (Asked::Same, 20, Some((30, with(2))))];
    assert_eq!(answered(&twice), ["changed-results"]);
    let mut refused = told(&["0..10 aborted append a 1"], "");
    refused.transactions[0].outcome = Outcome::Aborted(Reason::IdReused);
    assert_eq!(names(&retries::check(&refused)), ["refused-retry"]);
}

/// A checker and its name.
type Checker = (&'static str, fn(&History) -> Vec<Violation>);

#[test]
#[ignore = "a measurement"]
fn what_a_verdict_costs() {
    const TRANSACTIONS: usize = 1_000;
    let checkers: [Checker; 8] = [
        ("lists", lists::check),
        ("bank", |history| bank::check(history, model::LAYOUT.accounts)),
        ("ring", |history| ring::check(history, model::LAYOUT.links)),
        ("sums", |history| sums::check(history, model::LAYOUT.sets)),
        ("outcomes", outcomes::check),
        ("retries", retries::check),
        ("all of these", |history| judge(history, model::LAYOUT)),
        ("lists, with adya", adya::check),
    ];
    let histories: Vec<History> = (0..50).map(|seed| model::history(seed, TRANSACTIONS)).collect();
    for (name, check) in checkers {
        let begin = Instant::now();
        for history in &histories {
            assert_eq!(check(history), []);
        }
        let each: Duration = begin.elapsed() / (histories.len() * TRANSACTIONS) as u32;
        println!("{name}: {} ns a transaction", each.as_nanos());
    }
}

#[test]
fn a_workload_that_did_not_run_is_not_missed() {
    assert_eq!(judge(&History::default(), model::LAYOUT), []);
    assert_eq!(judge(&History::default(), Layout::default()), []);
}
