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

/// How far a transaction's operations have come. They go on slice by slice, under locks that are held all the while, so
/// that what they find is of one moment.
#[derive(Debug)]
pub(crate) struct Execution {
    /// One for each operation that is done.
    results: Vec<OperationResult>,
    written: BTreeMap<Bytes, Option<Bytes>>,
    written_bytes: usize,
    results_bytes: usize,
    visited_keys: usize,
    /// The scan in which the last slice ended.
    scan: Option<Scan>,
}

/// A scan that is under way.
#[derive(Debug)]
struct Scan {
    /// Everything before is done.
    from: Bytes,
    found: Found,
}

/// What a scan has found.
#[derive(Debug)]
enum Found {
    Rows { rows: Vec<(Bytes, Bytes)>, rows_max: usize, bytes_left: usize, more: bool },
    Totals(Totals),
}

/// What a transaction comes to at this participant.
#[derive(Debug)]
pub(crate) struct Executed {
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

impl Default for Execution {
    fn default() -> Self {
        Self {
            results: Vec::new(),
            written: BTreeMap::new(),
            written_bytes: 0,
            results_bytes: 2,
            visited_keys: 0,
            scan: None,
        }
    }
}

impl Execution {
    /// Bytes that it holds so far.
    pub(crate) fn bytes(&self) -> usize {
        let of_scan = match &self.scan {
            Some(Scan { found: Found::Rows { rows, .. }, .. }) => {
                rows.iter().map(|(key, value)| ROW_BYTES_FIXED + key.len() + value.len()).sum()
            }
            Some(Scan { found: Found::Totals(_), .. }) | None => 0,
        };
        self.results_bytes + self.written_bytes + of_scan
    }

    /// Goes on with `operations` in order, each of which sees what those before it wrote, for `units` of work at most
    /// (see [`units_of`]), which it takes off. Whether all are done.
    ///
    /// # Errors
    /// The first operation that is refused.
    pub(crate) fn advance(
        &mut self,
        table: &Table,
        operations: &[Operation],
        units: &mut usize,
    ) -> Result<bool, Refused> {
        while let Some(operation) = operations.get(self.results.len()) {
            let at = Some(self.results.len() as u16);
            let done = Run { table, units, run: self }.step(operation);
            let Some(result) = done.map_err(|reason| Refused { reason, operation: at })? else { return Ok(false) };
            self.results_bytes += result_bytes(&result);
            if self.results_bytes > RESULTS_BYTES_MAX {
                return Err(Refused { reason: Reason::TooLarge, operation: at });
            }
            self.results.push(result);
        }
        Ok(true)
    }

    /// What all operations came to.
    pub(crate) fn finish(self) -> Executed {
        let writes = self.written.into_iter().map(|(key, value)| Write { key, value }).collect();
        Executed { results: self.results, writes }
    }
}

/// Whether operations may be more work than fits in a slice. All others are done at once.
pub(crate) fn may_be_long(operations: &[Operation]) -> bool {
    operations.iter().any(|operation| matches!(operation, Operation::Scan { .. }))
}

/// What it takes to visit a row: a key is one unit, and so are every 1,024 bytes of its value.
fn units_of(value: &Bytes) -> usize {
    1 + value.len() / 1_024
}

struct Run<'a> {
    table: &'a Table,
    units: &'a mut usize,
    run: &'a mut Execution,
}

impl Run<'_> {
    /// The operation's result; `None` if the slice is over before.
    fn step(&mut self, operation: &Operation) -> Result<Option<OperationResult>, Reason> {
        let done = match operation {
            Operation::Get { key } => OperationResult::Value(self.get(key)?),
            Operation::Put { key, value } => self.set(key, Some(value.clone()))?,
            Operation::Delete { key } => self.set(key, None)?,
            Operation::Add { key, delta, min, max } => self.add(key, *delta, *min, *max)?,
            Operation::Append { key, value } => self.append(key, value)?,
            Operation::Expect { key, condition } => self.expect(key, condition)?,
            Operation::Scan { start, end, limit, of } => {
                let begun = self.run.scan.take();
                let scan = begun.unwrap_or_else(|| Scan {
                    from: start.clone(),
                    found: Found::new(*of, *limit, self.run.results_bytes),
                });
                return self.go_on(scan, end);
            }
        };
        Ok(Some(done))
    }

    fn get(&self, key: &Bytes) -> Result<Option<Bytes>, Reason> {
        match self.run.written.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.table.get(key).map_err(damaged),
        }
    }

    fn set(&mut self, key: &Bytes, value: Option<Bytes>) -> Result<OperationResult, Reason> {
        let bytes = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let run = &mut *self.run;
        run.written_bytes += key.len() + bytes(&value);
        if let Some(before) = run.written.insert(key.clone(), value) {
            run.written_bytes -= key.len() + bytes(&before);
        }
        if run.written_bytes > WRITE_SET_BYTES_MAX { Err(Reason::TooLarge) } else { Ok(OperationResult::Done) }
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

    fn go_on(&mut self, scan: Scan, end: &Bytes) -> Result<Option<OperationResult>, Reason> {
        let Scan { from, mut found } = scan;
        let rest = self.scan(&from, end, |key, value| found.take(key, value))?;
        if let Some(from) = rest {
            self.run.scan = Some(Scan { from, found });
            return Ok(None);
        }
        Ok(Some(match found {
            Found::Rows { rows, more, .. } => OperationResult::Rows { rows, more },
            Found::Totals(totals) => OperationResult::Totals(totals),
        }))
    }

    /// Visits the table's rows and this transaction's own, merged in the order of keys. Returns where to go on if the
    /// slice is over.
    fn scan(
        &mut self,
        start: &Bytes,
        end: &Bytes,
        mut visit: impl FnMut(&Bytes, &Bytes) -> ControlFlow<()>,
    ) -> Result<Option<Bytes>, Reason> {
        if !end.is_empty() && end <= start {
            return Ok(None);
        }
        let Self { table, units, run } = self;
        let mut left = VISITED_KEYS_MAX + 1 - run.visited_keys;
        let mut meet = |key: &Bytes, value: &Bytes| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { visit(key, value) }
        };
        let upper = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        let mut own = run.written.range::<Bytes, _>((Bound::Included(start), upper)).peekable();
        let mut broken = false;
        let mut rest = None;
        let stored = table.scan(start, end, &mut |key, value| {
            let flow = own_before(&mut own, key, &mut meet);
            if flow.is_continue() && **units == 0 {
                rest = Some(Bytes::copy_from_slice(key));
                return ControlFlow::Break(());
            }
            **units = units.saturating_sub(units_of(value));
            let flow = if flow.is_continue() { own_or_stored(&mut own, key, value, &mut meet) } else { flow };
            broken = flow.is_break();
            flow
        });
        stored.map_err(damaged)?;
        for (own_key, own_value) in own {
            if broken || rest.is_some() {
                break;
            }
            if let Some(own_value) = own_value {
                broken = meet(own_key, own_value).is_break();
            }
        }
        run.visited_keys = VISITED_KEYS_MAX + 1 - left;
        if left == 0 { Err(Reason::TooLarge) } else { Ok(rest) }
    }
}

impl Found {
    fn new(of: ScanOf, limit: u32, results_bytes: usize) -> Self {
        match of {
            ScanOf::Rows => Self::Rows {
                rows: Vec::new(),
                rows_max: if limit == 0 { usize::MAX } else { limit as usize },
                bytes_left: RESULTS_BYTES_MAX.saturating_sub(results_bytes + ROW_BYTES_FIXED),
                more: false,
            },
            ScanOf::Totals => Self::Totals(Totals::default()),
        }
    }

    fn take(&mut self, key: &Bytes, value: &Bytes) -> ControlFlow<()> {
        match self {
            Self::Rows { rows, rows_max, bytes_left, more } => {
                let bytes = ROW_BYTES_FIXED + key.len() + value.len();
                *more = rows.len() == *rows_max || bytes > *bytes_left;
                if *more {
                    return ControlFlow::Break(());
                }
                *bytes_left -= bytes;
                // Not clones: those would make the bytes of the table larger, for ever.
                rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            }
            Self::Totals(totals) => {
                totals.keys += 1;
                if let Some(number) = parse_number(value) {
                    totals.sum += i128::from(number);
                    totals.negatives += u64::from(number < 0);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Visits this transaction's own rows before `key`.
fn own_before<'a>(
    own: &mut Peekable<impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>>,
    key: &Bytes,
    visit: &mut impl FnMut(&Bytes, &Bytes) -> ControlFlow<()>,
) -> ControlFlow<()> {
    while let Some((own_key, own_value)) = own.next_if(|(own_key, _)| *own_key < key) {
        if let Some(own_value) = own_value {
            visit(own_key, own_value)?;
        }
    }
    ControlFlow::Continue(())
}

/// Visits `key` as this transaction sees it.
fn own_or_stored<'a>(
    own: &mut Peekable<impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>>,
    key: &Bytes,
    value: &Bytes,
    visit: &mut impl FnMut(&Bytes, &Bytes) -> ControlFlow<()>,
) -> ControlFlow<()> {
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
        rows.iter().for_each(|(name, value)| {
            table.apply(engine::Place::default(), 0, name.as_bytes(), Some(Bytes::from(*value)))
        });
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

    /// All at once; and in slices, which come to the same.
    fn execute(table: &Table, operations: &[Operation]) -> Result<Executed, Refused> {
        let run = |units_of_slice: usize| {
            let mut execution = Execution::default();
            while !execution.advance(table, operations, &mut units_of_slice.clone())? {}
            Ok(execution.finish())
        };
        let told = |run: &Result<Executed, Refused>| format!("{run:?}");
        let whole = run(usize::MAX);
        for units_of_slice in [2, 999] {
            assert_eq!(told(&run(units_of_slice)), told(&whole), "in slices of {units_of_slice}");
        }
        whole
    }

    #[test]
    fn a_slice_visits_no_more_rows_than_it_may_and_the_next_one_goes_on_behind_them() {
        let table = table(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")]);
        let operations = [put("bb", "1"), Operation::Delete { key: key("c") }, scan("a", "", 0, ScanOf::Rows)];
        let mut execution = Execution::default();
        let mut slice = || {
            let mut units = 2;
            let is_done = execution.advance(&table, &operations, &mut units).expect("it is not refused");
            (is_done, units, execution.bytes())
        };
        let row_bytes = ROW_BYTES_FIXED + 2;
        let (first, second, third) = (slice(), slice(), slice());
        assert_eq!((first.0, first.1), (false, 0));
        assert_eq!((second.0, second.1, second.2 - first.2), (false, 0, row_bytes), "d; bb came with the first");
        assert_eq!((third.0, third.1), (true, 1));
        assert_eq!(last_rows(&table, &operations).0, "a=1 b=1 bb=1 d=1 e=1");
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
            table.apply(engine::Place::default(), 0, b"a", Some(zeros(RESULTS_BYTES_MAX - 2 - 6 - 5 + bytes)));
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
            table.apply(engine::Place::default(), 0, b"a", Some(zeros(bytes[0])));
            table.apply(engine::Place::default(), 0, b"b", Some(zeros(bytes[1])));
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
        table.apply(engine::Place::default(), 0, b"a", Some(zeros(VALUE_BYTES_MAX - 2)));
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
            table.apply(engine::Place::default(), 0, &row.to_be_bytes(), Some(Bytes::new()));
        }
        let mut operations = vec![scan("", "", 0, ScanOf::Totals); VISITED_KEYS_MAX / ROWS];
        assert_eq!(results(&table, &operations).map(|results| results.len()), Ok(operations.len()));
        operations.push(scan("", "", 1, ScanOf::Rows));
        assert_eq!(results(&table, &operations), Err((Reason::TooLarge, Some((operations.len() - 1) as u16))));
    }
}
