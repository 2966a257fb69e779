//! Runs the operations of a transaction against the table, under locks that it already holds.
//!
//! Nothing is changed here: the result is what the transaction would write, and what it read.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::{Bound, ControlFlow};

use bytes::{Bytes, BytesMut};
use engine::{Table, TableError};
use planted::planted;
use protocol::limits::{RESULTS_BYTES_MAX, VALUE_BYTES_MAX, WRITE_SET_BYTES_MAX};
use protocol::operation::{ROW_BYTES_FIXED, parse_number, result_bytes};
use protocol::{Condition, Operation, OperationResult, Reason, ScanOf, Totals, Write};

use crate::limits::VISITED_KEYS_MAX;
use crate::locks::{LockSet, Mode};

/// What a transaction comes to at this participant.
#[derive(Debug, Default)]
pub(crate) struct Execution {
    /// One for each operation.
    pub(crate) results: Vec<OperationResult>,
    /// The new values, ordered by key.
    pub(crate) writes: Vec<Write>,
}

/// Why a transaction cannot be done here, and which operation is to blame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    pub(crate) operation: Option<u16>,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { reason, operation: None }
    }
}

/// The locks that operations need.
pub(crate) fn locks_of(operations: &[Operation]) -> LockSet {
    let mut keys = Vec::with_capacity(operations.len());
    let mut ranges = Vec::new();
    for operation in operations {
        match operation {
            Operation::Scan { .. } if planted!("scans-unlocked") => {}
            Operation::Scan { start, end, .. } => ranges.push((start.clone(), end.clone())),
            Operation::Get { key }
            | Operation::Put { key, .. }
            | Operation::Delete { key }
            | Operation::Add { key, .. }
            | Operation::Append { key, .. }
            | Operation::Expect { key, .. } => {
                keys.push((key.clone(), if operation.writes() { Mode::Exclusive } else { Mode::Shared }));
            }
        }
    }
    LockSet::new(keys, ranges)
}

/// Runs `operations` in order; each sees what those before it wrote.
///
/// # Errors
/// The first operation that is refused.
pub(crate) fn execute(table: &Table, operations: &[Operation]) -> Result<Execution, Refused> {
    let mut run = Run { table, written: BTreeMap::new(), written_bytes: 0, results_bytes: 2, visited_keys: 0 };
    let mut results = Vec::with_capacity(operations.len());
    for (at, operation) in operations.iter().enumerate() {
        let result = run.step(operation).map_err(|reason| Refused { reason, operation: Some(at as u16) })?;
        run.results_bytes += result_bytes(&result);
        if run.results_bytes > RESULTS_BYTES_MAX {
            return Err(Refused { reason: Reason::TooLarge, operation: Some(at as u16) });
        }
        results.push(result);
    }
    let writes = run.written.into_iter().map(|(key, value)| Write { key, value }).collect();
    Ok(Execution { results, writes })
}

struct Run<'a> {
    table: &'a Table,
    written: BTreeMap<Bytes, Option<Bytes>>,
    written_bytes: usize,
    results_bytes: usize,
    visited_keys: usize,
}

impl Run<'_> {
    fn step(&mut self, operation: &Operation) -> Result<OperationResult, Reason> {
        match operation {
            Operation::Get { key } => Ok(OperationResult::Value(self.get(key)?)),
            Operation::Put { key, value } => self.set(key, Some(value.clone())),
            Operation::Delete { key } => self.set(key, None),
            Operation::Add { key, delta, min, max } => self.add(key, *delta, *min, *max),
            Operation::Append { key, value } => self.append(key, value),
            Operation::Expect { key, condition } => self.expect(key, condition),
            Operation::Scan { start, end, limit, of } => match of {
                ScanOf::Rows => self.rows(start, end, *limit),
                ScanOf::Totals => self.totals(start, end),
            },
        }
    }

    fn get(&self, key: &Bytes) -> Result<Option<Bytes>, Reason> {
        match self.written.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.table.get(key).map_err(damaged),
        }
    }

    fn set(&mut self, key: &Bytes, value: Option<Bytes>) -> Result<OperationResult, Reason> {
        let bytes = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        self.written_bytes += key.len() + bytes(&value);
        if let Some(before) = self.written.insert(key.clone(), value) {
            self.written_bytes -= key.len() + bytes(&before);
        }
        if self.written_bytes > WRITE_SET_BYTES_MAX { Err(Reason::TooLarge) } else { Ok(OperationResult::Done) }
    }

    fn add(&mut self, key: &Bytes, delta: i64, min: i64, max: i64) -> Result<OperationResult, Reason> {
        let before = match self.get(key)? {
            None => 0,
            Some(value) => parse_number(&value).ok_or(Reason::NotANumber)?,
        };
        let sum = before.checked_add(delta).filter(|sum| (min..=max).contains(sum)).ok_or(Reason::Bound)?;
        self.set(key, Some(Bytes::from(sum.to_string())))?;
        Ok(OperationResult::Number(sum))
    }

    fn append(&mut self, key: &Bytes, value: &Bytes) -> Result<OperationResult, Reason> {
        let before = self.get(key)?.unwrap_or_default();
        if before.len() + value.len() > VALUE_BYTES_MAX {
            return Err(Reason::TooLarge);
        }
        let mut after = BytesMut::with_capacity(before.len() + value.len());
        after.extend_from_slice(&before);
        after.extend_from_slice(value);
        self.set(key, Some(after.freeze()))
    }

    fn expect(&self, key: &Bytes, condition: &Condition) -> Result<OperationResult, Reason> {
        let found = self.get(key)?;
        let holds = match condition {
            Condition::Exists => found.is_some(),
            Condition::Absent => found.is_none(),
            Condition::Equals(value) => found.as_ref() == Some(value),
        };
        if holds { Ok(OperationResult::Done) } else { Err(Reason::Expectation) }
    }

    fn rows(&mut self, start: &Bytes, end: &Bytes, limit: u32) -> Result<OperationResult, Reason> {
        let rows_max = if limit == 0 { usize::MAX } else { limit as usize };
        let mut bytes_left = RESULTS_BYTES_MAX.saturating_sub(self.results_bytes + ROW_BYTES_FIXED);
        let mut rows = Vec::new();
        let mut more = false;
        self.scan(start, end, |key, value| {
            let bytes = ROW_BYTES_FIXED + key.len() + value.len();
            more = rows.len() == rows_max || bytes > bytes_left;
            if more {
                return ControlFlow::Break(());
            }
            bytes_left -= bytes;
            // Not clones: those would make the bytes of the table larger, for ever.
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        })?;
        Ok(OperationResult::Rows { rows, more })
    }

    fn totals(&mut self, start: &Bytes, end: &Bytes) -> Result<OperationResult, Reason> {
        let mut totals = Totals::default();
        self.scan(start, end, |_, value| {
            totals.keys += 1;
            if let Some(number) = parse_number(value) {
                totals.sum += i128::from(number);
                totals.negatives += u64::from(number < 0);
            }
            ControlFlow::Continue(())
        })?;
        Ok(OperationResult::Totals(totals))
    }

    /// Visits the table's rows and this transaction's own, merged in the order of keys.
    fn scan(
        &mut self,
        start: &Bytes,
        end: &Bytes,
        mut visit: impl FnMut(&Bytes, &Bytes) -> ControlFlow<()>,
    ) -> Result<(), Reason> {
        if !end.is_empty() && end <= start {
            return Ok(());
        }
        let mut left = VISITED_KEYS_MAX + 1 - self.visited_keys;
        let mut meet = |key: &Bytes, value: &Bytes| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { visit(key, value) }
        };
        let upper = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        let mut own = self.written.range::<Bytes, _>((Bound::Included(start), upper)).peekable();
        let mut broken = false;
        let stored = self.table.scan(start, end, &mut |key, value| {
            let flow = merge_step(&mut own, key, value, &mut meet);
            broken = flow.is_break();
            flow
        });
        stored.map_err(damaged)?;
        for (own_key, own_value) in own {
            if broken {
                break;
            }
            if let Some(own_value) = own_value {
                broken = meet(own_key, own_value).is_break();
            }
        }
        self.visited_keys = VISITED_KEYS_MAX + 1 - left;
        if left == 0 { Err(Reason::TooLarge) } else { Ok(()) }
    }
}

/// Visits this transaction's own rows before `key`, then `key` as this transaction sees it.
fn merge_step<'a>(
    own: &mut Peekable<impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>>,
    key: &Bytes,
    value: &Bytes,
    visit: &mut impl FnMut(&Bytes, &Bytes) -> ControlFlow<()>,
) -> ControlFlow<()> {
    while let Some((own_key, own_value)) = own.next_if(|(own_key, _)| *own_key < key) {
        if let Some(own_value) = own_value {
            visit(own_key, own_value)?;
        }
    }
    match own.next_if(|(own_key, _)| *own_key == key) {
        Some((_, None)) => ControlFlow::Continue(()),
        Some((_, Some(own_value))) => visit(key, own_value),
        None => visit(key, value),
    }
}

/// The table has said which file and where; the vote only says that.
fn damaged(_: TableError) -> Reason {
    Reason::Damaged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &'static str) -> Bytes {
        Bytes::from(name)
    }

    fn table(rows: &[(&'static str, &'static str)]) -> Table {
        let table = Table::new();
        rows.iter()
            .for_each(|(name, value)| table.apply(engine::Lsn(0), 0, name.as_bytes(), Some(Bytes::from(*value))));
        table
    }

    fn put(name: &'static str, value: impl Into<Bytes>) -> Operation {
        Operation::Put { key: key(name), value: value.into() }
    }

    fn scan(start: &'static str, end: &'static str, limit: u32, of: ScanOf) -> Operation {
        Operation::Scan { start: key(start), end: key(end), limit, of }
    }

    fn results(table: &Table, operations: &[Operation]) -> Result<Vec<OperationResult>, (Reason, Option<u16>)> {
        execute(table, operations).map(|done| done.results).map_err(|refused| (refused.reason, refused.operation))
    }

    /// The last result, which is of a scan: its rows as `key=value`, and whether there are more.
    fn last_rows(table: &Table, operations: &[Operation]) -> (String, bool) {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("a test's words");
        match execute(table, operations).expect("it is done").results.pop() {
            Some(OperationResult::Rows { rows, more }) => {
                let rows: Vec<String> = rows.iter().map(|(key, value)| text(key) + "=" + &text(value)).collect();
                (rows.join(" "), more)
            }
            other => unreachable!("{other:?}"),
        }
    }

    fn zeros(length: usize) -> Bytes {
        Bytes::from(vec![0; length])
    }

    #[test]
    fn a_scan_sees_what_is_stored_and_what_was_written_in_the_order_of_keys() {
        let table = table(&[("b", "1"), ("d", "2"), ("f", "3"), ("h", "4")]);
        let mut operations: Vec<Operation> = ["a", "c", "e", "f", "i"].map(|name| put(name, "new")).to_vec();
        operations.push(Operation::Delete { key: key("d") });
        let mut rows_of = |start, end, limit| {
            operations.push(scan(start, end, limit, ScanOf::Rows));
            last_rows(&table, &operations)
        };
        assert_eq!(rows_of("a", "", 0), ("a=new b=1 c=new e=new f=new h=4 i=new".to_owned(), false));
        assert_eq!(rows_of("b", "h", 0), ("b=1 c=new e=new f=new".to_owned(), false));
        assert_eq!(rows_of("b", "h", 4), ("b=1 c=new e=new f=new".to_owned(), false));
        assert_eq!(rows_of("b", "h", 3), ("b=1 c=new e=new".to_owned(), true));
        for (start, end) in [("h", "b"), ("c", "c")] {
            assert_eq!(rows_of(start, end, 0), (String::new(), false));
        }
    }

    #[test]
    fn totals_count_all_keys_and_sum_what_is_a_number() {
        let table = table(&[("a", "-3"), ("b", "0"), ("c", "10"), ("d", "-2"), ("e", "word")]);
        let totals = OperationResult::Totals(Totals { keys: 5, sum: 5, negatives: 2 });
        assert_eq!(results(&table, &[scan("a", "", 0, ScanOf::Totals)]), Ok(vec![totals]));
    }

    /// A count takes two bytes, and a value five besides its own.
    #[test]
    fn results_may_be_full_to_their_last_byte() {
        let table = table(&[("b", "2")]);
        let refused = |bytes: usize| {
            table.apply(engine::Lsn(0), 0, b"a", Some(zeros(RESULTS_BYTES_MAX - 2 - 6 - 5 + bytes)));
            results(&table, &[Operation::Get { key: key("b") }, Operation::Get { key: key("a") }]).err()
        };
        assert_eq!(refused(0), None);
        assert_eq!(refused(1), Some((Reason::TooLarge, Some(1))));
    }

    /// A list of rows takes six bytes, and each row six besides its key and value.
    #[test]
    fn rows_may_fill_the_results_to_their_last_byte() {
        let table = table(&[]);
        let half = RESULTS_BYTES_MAX / 2 - 2 - 6 - 7;
        let rest = RESULTS_BYTES_MAX - 2 - 6 - 7 - half - 7;
        let found = |bytes: [usize; 2]| {
            table.apply(engine::Lsn(0), 0, b"a", Some(zeros(bytes[0])));
            table.apply(engine::Lsn(0), 0, b"b", Some(zeros(bytes[1])));
            match results(&table, &[scan("a", "", 0, ScanOf::Rows)]).expect("it is done").as_slice() {
                [OperationResult::Rows { rows, more }] => (rows.len(), *more),
                other => unreachable!("{} results", other.len()),
            }
        };
        assert_eq!(found([half, rest]), (2, false));
        assert_eq!(found([half, rest + 1]), (1, true));
        assert_eq!(found([RESULTS_BYTES_MAX, 1]), (0, true));
    }

    #[test]
    fn what_is_written_twice_counts_once_and_may_be_full_to_the_last_byte() {
        let table = table(&[]);
        let half = WRITE_SET_BYTES_MAX / 2;
        let refused = |bytes: usize| {
            let last = put("b", zeros(half - 2 + bytes));
            results(&table, &[put("a", zeros(half)), put("a", zeros(half)), last]).err()
        };
        assert_eq!(refused(0), None);
        assert_eq!(refused(1), Some((Reason::TooLarge, Some(2))));
    }

    #[test]
    fn a_value_may_be_appended_to_up_to_its_last_byte() {
        let table = table(&[]);
        table.apply(engine::Lsn(0), 0, b"a", Some(zeros(VALUE_BYTES_MAX - 2)));
        let refused =
            |length: usize| results(&table, &[Operation::Append { key: key("a"), value: zeros(length) }]).err();
        assert_eq!(refused(2), None);
        assert_eq!(refused(3), Some((Reason::TooLarge, Some(0))));
    }

    #[test]
    fn the_scans_of_a_transaction_visit_no_more_than_they_may() {
        const ROWS: usize = 1_000;
        let table = Table::new();
        for row in 0..ROWS as u32 {
            table.apply(engine::Lsn(0), 0, &row.to_be_bytes(), Some(Bytes::new()));
        }
        let mut operations = vec![scan("", "", 0, ScanOf::Totals); VISITED_KEYS_MAX / ROWS];
        assert_eq!(results(&table, &operations).map(|results| results.len()), Ok(operations.len()));
        operations.push(scan("", "", 1, ScanOf::Rows));
        assert_eq!(results(&table, &operations), Err((Reason::TooLarge, Some((operations.len() - 1) as u16))));
    }
}
