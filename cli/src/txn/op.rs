//! The text form of operations.

use std::ops::RangeInclusive;

use protocol::{Condition, Operation, ScanOf};

/// Reads one operation.
pub(crate) fn parse(text: &str) -> Result<Operation, String> {
    let (name, rest) = text.split_once(':').ok_or_else(|| expected("OP:KEY, like get:greeting"))?;
    let key = || if rest.is_empty() { Err(expected("a key")) } else { Ok(rest.to_owned().into()) };
    let expect = |condition| key().map(|key| Operation::Expect { key, condition });
    match name {
        "get" => Ok(Operation::Get { key: key()? }),
        "put" => key_value(rest).map(|(key, value)| Operation::Put { key: key.into(), value: value.into() }),
        "delete" => Ok(Operation::Delete { key: key()? }),
        "add" => add(rest),
        "append" => key_value(rest).map(|(key, value)| Operation::Append { key: key.into(), value: value.into() }),
        "expect" => key_value(rest)
            .map(|(key, value)| Operation::Expect { key: key.into(), condition: Condition::Equals(value.into()) }),
        "expect-exists" => expect(Condition::Exists),
        "expect-absent" => expect(Condition::Absent),
        "scan" => scan(rest),
        "totals" => range(rest).map(|(start, end)| Operation::Scan {
            start: start.into(),
            end: end.into(),
            limit: 0,
            of: ScanOf::Totals,
        }),
        other => Err(format!(
            "there is no operation `{other}`; there are get, put, delete, add, append, expect, expect-exists, \
             expect-absent, scan and totals"
        )),
    }
}

fn expected(what: &str) -> String {
    format!("expected {what}")
}

/// The key ends at the first `=`.
fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| expected("KEY=VALUE"))?;
    if key.is_empty() {
        return Err(expected("a key before `=`"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `KEY:DELTA` or `KEY:DELTA:MIN..MAX`, read from its end: a key may hold colons.
fn add(text: &str) -> Result<Operation, String> {
    let form = || expected("KEY:DELTA or KEY:DELTA:MIN..MAX, like add:balance:-5:0..");
    let (before, last) = text.rsplit_once(':').ok_or_else(form)?;
    let (key, delta, bounds) = match last.split_once("..") {
        Some((min, max)) => {
            let (key, delta) = before.rsplit_once(':').ok_or_else(form)?;
            (key, delta, bounds(min, max)?)
        }
        None => (before, last, i64::MIN..=i64::MAX),
    };
    if key.is_empty() {
        return Err(form());
    }
    let delta = number(delta)?;
    Ok(Operation::Add { key: key.to_owned().into(), delta, min: *bounds.start(), max: *bounds.end() })
}

fn bounds(min: &str, max: &str) -> Result<RangeInclusive<i64>, String> {
    let min = if min.is_empty() { i64::MIN } else { number(min)? };
    let max = if max.is_empty() { i64::MAX } else { number(max)? };
    Ok(min..=max)
}

fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a whole number of 64 bits"))
}

/// `START..END` or `START..END:LIMIT`; what follows the last colon is a limit if it is a number.
fn scan(text: &str) -> Result<Operation, String> {
    let (rows, limit) = match text.rsplit_once(':').map(|(rows, limit)| (rows, limit.parse::<u32>())) {
        Some((rows, Ok(limit))) => (rows, limit),
        Some((_, Err(_))) | None => (text, 0),
    };
    let (start, end) = range(rows)?;
    Ok(Operation::Scan { start: start.into(), end: end.into(), limit, of: ScanOf::Rows })
}

fn range(text: &str) -> Result<(String, String), String> {
    let (start, end) = text.split_once("..").ok_or_else(|| expected("START..END"))?;
    Ok((start.to_owned(), end.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add_of(key: &'static str, delta: i64, min: i64, max: i64) -> Operation {
        Operation::Add { key: key.into(), delta, min, max }
    }

    #[test]
    fn operations_are_read_as_the_help_says() {
        assert_eq!(parse("get:a:b"), Ok(Operation::Get { key: "a:b".into() }));
        assert_eq!(parse("put:a=b=c"), Ok(Operation::Put { key: "a".into(), value: "b=c".into() }));
        assert_eq!(parse("put:a="), Ok(Operation::Put { key: "a".into(), value: "".into() }));
        assert_eq!(parse("delete:a"), Ok(Operation::Delete { key: "a".into() }));
        assert_eq!(parse("append:a=b"), Ok(Operation::Append { key: "a".into(), value: "b".into() }));
        assert_eq!(parse("add:a:5"), Ok(add_of("a", 5, i64::MIN, i64::MAX)));
        assert_eq!(parse("add:a:b:-5:0.."), Ok(add_of("a:b", -5, 0, i64::MAX)));
        assert_eq!(parse("add:a:-5:-7..9"), Ok(add_of("a", -5, -7, 9)));
        let expect = |condition| Ok(Operation::Expect { key: "a".into(), condition });
        assert_eq!(parse("expect:a=b"), expect(Condition::Equals("b".into())));
        assert_eq!(parse("expect-exists:a"), expect(Condition::Exists));
        assert_eq!(parse("expect-absent:a"), expect(Condition::Absent));
    }

    #[test]
    fn ranges_may_be_open_and_limited() {
        let rows = |start: &'static str, end: &'static str, limit| {
            Ok(Operation::Scan { start: start.into(), end: end.into(), limit, of: ScanOf::Rows })
        };
        assert_eq!(parse("scan:a..b"), rows("a", "b", 0));
        assert_eq!(parse("scan:a..b:10"), rows("a", "b", 10));
        assert_eq!(parse("scan:.."), rows("", "", 0));
        assert_eq!(parse("scan:a:1..b:c"), rows("a:1", "b:c", 0));
        assert!(matches!(parse("totals:a.."), Ok(Operation::Scan { of: ScanOf::Totals, .. })));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("get", "OP:KEY"),
            ("get:", "a key"),
            ("put:a", "KEY=VALUE"),
            ("put:=b", "a key before"),
            ("add:a", "KEY:DELTA"),
            ("add:a:x", "`x` is not a whole number"),
            ("add:a:99999999999999999999", "is not a whole number"),
            ("add:5:0..", "KEY:DELTA"),
            ("scan:a", "START..END"),
            ("frob:a", "no operation `frob`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
