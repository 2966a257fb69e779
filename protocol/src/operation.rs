//! What a transaction does, and what it gets back.
//!
//! Numbers are decimal text, so that `put x 5` and `add x 1` meet, and people can read them.

use bytes::{BufMut, Bytes};

use crate::codec::{Malformed, Reader, put_count, put_key, put_value};
use crate::limits::{KEY_BYTES_MAX, OPERATIONS_MAX, RESULTS_BYTES_MAX, TXN_BYTES_MAX, VALUE_BYTES_MAX};

/// One step of a transaction. Steps run in order and see what earlier ones of the same
/// transaction wrote at the same participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads a value.
    Get {
        /// Which.
        key: Bytes,
    },
    /// Writes a value.
    Put {
        /// Which.
        key: Bytes,
        /// The new value.
        value: Bytes,
    },
    /// Removes a value; nothing happens if there is none.
    Delete {
        /// Which.
        key: Bytes,
    },
    /// Adds to a number, from 0 if there is none; refused if the sum leaves `min..=max`.
    Add {
        /// Which.
        key: Bytes,
        /// How much.
        delta: i64,
        /// The smallest sum allowed.
        min: i64,
        /// The largest sum allowed.
        max: i64,
    },
    /// Writes `value` after what is there.
    Append {
        /// Which.
        key: Bytes,
        /// What to append.
        value: Bytes,
    },
    /// Refuses the transaction unless `condition` holds.
    Expect {
        /// Which.
        key: Bytes,
        /// What has to hold.
        condition: Condition,
    },
    /// Reads all keys from `start` up to but without `end` (to the last key if `end` is empty),
    /// and keeps others from adding, changing or removing any of them until the transaction ends.
    Scan {
        /// The first key.
        start: Bytes,
        /// The key after the last one.
        end: Bytes,
        /// At most so many rows; 0 is as many as fit in the results. Totals always cover all.
        limit: u32,
        /// What to return of them.
        of: ScanOf,
    },
}

/// What an [`Operation::Expect`] demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is a value.
    Exists,
    /// There is none.
    Absent,
    /// The value is this one.
    Equals(Bytes),
}

/// What a scan returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanOf {
    /// The keys and values.
    Rows,
    /// Their count and the sum of those that are numbers.
    Totals,
}

/// The totals of a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Keys in the range.
    pub keys: u64,
    /// The sum of all values that are numbers.
    pub sum: i128,
    /// How many of them are below zero.
    pub negatives: u64,
}

/// What an operation gives back, in the order of the operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationResult {
    /// Of put, delete, append and expect.
    Done,
    /// Of get.
    Value(Option<Bytes>),
    /// Of add: the sum.
    Number(i64),
    /// Of scan, ordered by key.
    Rows {
        /// Keys and values.
        rows: Vec<(Bytes, Bytes)>,
        /// Whether the limit cut the range short.
        more: bool,
    },
    /// Of scan.
    Totals(Totals),
}

impl Operation {
    /// Whether it can change anything.
    #[must_use]
    pub fn writes(&self) -> bool {
        match self {
            Self::Put { .. } | Self::Delete { .. } | Self::Add { .. } | Self::Append { .. } => true,
            Self::Get { .. } | Self::Expect { .. } | Self::Scan { .. } => false,
        }
    }

    /// Whether more may be stored after it than before.
    #[must_use]
    pub fn may_enlarge(&self) -> bool {
        match self {
            Self::Put { .. } | Self::Add { .. } | Self::Append { .. } => true,
            Self::Delete { .. } | Self::Get { .. } | Self::Expect { .. } | Self::Scan { .. } => false,
        }
    }

    /// The key that it touches; none for a scan.
    #[must_use]
    pub fn key(&self) -> Option<&Bytes> {
        match self {
            Self::Get { key }
            | Self::Put { key, .. }
            | Self::Delete { key }
            | Self::Add { key, .. }
            | Self::Append { key, .. }
            | Self::Expect { key, .. } => Some(key),
            Self::Scan { .. } => None,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Get { key } => {
                out.put_u8(1);
                put_key(out, key);
            }
            Self::Put { key, value } => {
                out.put_u8(2);
                put_key(out, key);
                put_value(out, value);
            }
            Self::Delete { key } => {
                out.put_u8(3);
                put_key(out, key);
            }
            Self::Add { key, delta, min, max } => {
                out.put_u8(4);
                put_key(out, key);
                out.put_i64_le(*delta);
                out.put_i64_le(*min);
                out.put_i64_le(*max);
            }
            Self::Append { key, value } => {
                out.put_u8(5);
                put_key(out, key);
                put_value(out, value);
            }
            Self::Expect { key, condition } => {
                out.put_u8(6);
                put_key(out, key);
                match condition {
                    Condition::Exists => out.put_u8(1),
                    Condition::Absent => out.put_u8(2),
                    Condition::Equals(value) => {
                        out.put_u8(3);
                        put_value(out, value);
                    }
                }
            }
            Self::Scan { start, end, limit, of } => {
                out.put_u8(7);
                put_key(out, start);
                put_key(out, end);
                out.put_u32_le(*limit);
                out.put_u8(match of {
                    ScanOf::Rows => 1,
                    ScanOf::Totals => 2,
                });
            }
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let code = reader.u8("operation")?;
        Ok(match code {
            1 => Self::Get { key: reader.key()? },
            2 => Self::Put { key: reader.key()?, value: reader.value()? },
            3 => Self::Delete { key: reader.key()? },
            4 => Self::Add {
                key: reader.key()?,
                delta: reader.i64("delta")?,
                min: reader.i64("min")?,
                max: reader.i64("max")?,
            },
            5 => Self::Append { key: reader.key()?, value: reader.value()? },
            6 => Self::Expect { key: reader.key()?, condition: Condition::read(reader)? },
            7 => Self::Scan {
                start: reader.key()?,
                end: reader.key()?,
                limit: reader.u32("limit")?,
                of: ScanOf::read(reader)?,
            },
            code => return Err(Malformed::UnknownCode { field: "operation", code }),
        })
    }
}

impl Condition {
    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(match reader.u8("condition")? {
            1 => Self::Exists,
            2 => Self::Absent,
            3 => Self::Equals(reader.value()?),
            code => return Err(Malformed::UnknownCode { field: "condition", code }),
        })
    }
}

impl ScanOf {
    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        match reader.u8("scan of")? {
            1 => Ok(Self::Rows),
            2 => Ok(Self::Totals),
            code => Err(Malformed::UnknownCode { field: "scan of", code }),
        }
    }
}

/// The smallest encoded operation: its code and an empty key.
const OPERATION_BYTES_MIN: usize = 3;

/// Encodes a list of operations.
pub(crate) fn put_operations(out: &mut Vec<u8>, operations: &[Operation]) {
    let start = out.len();
    put_count(out, operations.len(), OPERATIONS_MAX);
    for operation in operations {
        operation.put(out);
    }
    assert!(out.len() - start <= TXN_BYTES_MAX, "operations of {} bytes", out.len() - start);
}

/// Decodes a list of operations.
pub(crate) fn read_operations(reader: &mut Reader) -> Result<Vec<Operation>, Malformed> {
    let before = reader.remaining();
    let count = reader.count(OPERATION_BYTES_MIN, OPERATIONS_MAX, "operations")?;
    let operations = (0..count).map(|_| Operation::read(reader)).collect::<Result<Vec<_>, _>>()?;
    let found = before - reader.remaining();
    if found > TXN_BYTES_MAX {
        return Err(Malformed::TooLong { field: "operations", found, max: TXN_BYTES_MAX });
    }
    Ok(operations)
}

/// Says why a list of operations cannot be sent, if so.
///
/// # Errors
/// The first limit that it exceeds.
pub fn check(operations: &[Operation]) -> Result<(), Malformed> {
    let too_long = |field, found, max| Err(Malformed::TooLong { field, found, max });
    if operations.len() > OPERATIONS_MAX {
        return too_long("operations", operations.len(), OPERATIONS_MAX);
    }
    for operation in operations {
        let (longest_key, value_bytes) = match operation {
            Operation::Get { key } | Operation::Delete { key } | Operation::Add { key, .. } => (key.len(), 0),
            Operation::Put { key, value } | Operation::Append { key, value } => (key.len(), value.len()),
            Operation::Expect { key, condition } => match condition {
                Condition::Equals(value) => (key.len(), value.len()),
                Condition::Exists | Condition::Absent => (key.len(), 0),
            },
            Operation::Scan { start, end, .. } => (start.len().max(end.len()), 0),
        };
        if longest_key > KEY_BYTES_MAX {
            return too_long("key", longest_key, KEY_BYTES_MAX);
        }
        if value_bytes > VALUE_BYTES_MAX {
            return too_long("value", value_bytes, VALUE_BYTES_MAX);
        }
    }
    let encoded_bytes = operations_bytes(operations);
    if encoded_bytes > TXN_BYTES_MAX {
        return too_long("transaction", encoded_bytes, TXN_BYTES_MAX);
    }
    Ok(())
}

/// What a list of operations takes when encoded.
#[must_use]
pub fn operations_bytes(operations: &[Operation]) -> usize {
    2 + operations.iter().map(encoded_bytes).sum::<usize>()
}

fn encoded_bytes(operation: &Operation) -> usize {
    let fixed = 1 + 2;
    fixed
        + match operation {
            Operation::Get { key } | Operation::Delete { key } => key.len(),
            Operation::Put { key, value } | Operation::Append { key, value } => key.len() + 4 + value.len(),
            Operation::Add { key, .. } => key.len() + 24,
            Operation::Expect { key, condition } => {
                key.len()
                    + match condition {
                        Condition::Exists | Condition::Absent => 1,
                        Condition::Equals(value) => 5 + value.len(),
                    }
            }
            Operation::Scan { start, end, .. } => start.len() + 2 + end.len() + 5,
        }
}

/// A fingerprint of a list of operations: its crc32c and its encoded length. Tells a retry from
/// an id that was used again for something else.
#[must_use]
pub fn digest(operations: &[Operation], scratch: &mut Vec<u8>) -> u64 {
    scratch.clear();
    put_operations(scratch, operations);
    u64::from(crc32c::crc32c(scratch)) << 32 | scratch.len() as u64
}

/// The encoded length of the operations that a digest was made of, in bytes.
#[must_use]
pub fn bytes_of_digest(digest: u64) -> usize {
    digest as u32 as usize
}

/// Encodes results with their count.
pub(crate) fn put_results(out: &mut Vec<u8>, results: &[OperationResult]) {
    let start = out.len();
    put_count(out, results.len(), OPERATIONS_MAX);
    for result in results {
        match result {
            OperationResult::Done => out.put_u8(1),
            OperationResult::Value(None) => out.put_u8(2),
            OperationResult::Value(Some(value)) => {
                out.put_u8(3);
                put_value(out, value);
            }
            OperationResult::Number(number) => {
                out.put_u8(4);
                out.put_i64_le(*number);
            }
            OperationResult::Rows { rows, more } => {
                out.put_u8(5);
                out.put_u8(u8::from(*more));
                out.put_u32_le(rows.len() as u32);
                for (key, value) in rows {
                    put_key(out, key);
                    put_value(out, value);
                }
            }
            OperationResult::Totals(totals) => {
                out.put_u8(6);
                out.put_u64_le(totals.keys);
                out.put_i128_le(totals.sum);
                out.put_u64_le(totals.negatives);
            }
        }
    }
    assert!(out.len() - start <= RESULTS_BYTES_MAX, "results of {} bytes", out.len() - start);
}

/// What results take when encoded, without encoding them.
#[must_use]
pub fn results_bytes(results: &[OperationResult]) -> usize {
    2 + results.iter().map(result_bytes).sum::<usize>()
}

/// What one result takes when encoded.
#[must_use]
pub fn result_bytes(result: &OperationResult) -> usize {
    match result {
        OperationResult::Done | OperationResult::Value(None) => 1,
        OperationResult::Value(Some(value)) => 5 + value.len(),
        OperationResult::Number(_) => 9,
        OperationResult::Rows { rows, .. } => {
            6 + rows.iter().map(|(key, value)| ROW_BYTES_FIXED + key.len() + value.len()).sum::<usize>()
        }
        OperationResult::Totals(_) => 33,
    }
}

/// What a row takes besides its key and value: two lengths.
pub const ROW_BYTES_FIXED: usize = 6;

/// Decodes results.
pub(crate) fn read_results(reader: &mut Reader) -> Result<Vec<OperationResult>, Malformed> {
    let before = reader.remaining();
    let count = reader.count(1, OPERATIONS_MAX, "results")?;
    let results = (0..count).map(|_| read_result(reader)).collect::<Result<Vec<_>, _>>()?;
    let found = before - reader.remaining();
    if found > RESULTS_BYTES_MAX {
        return Err(Malformed::TooLong { field: "results", found, max: RESULTS_BYTES_MAX });
    }
    Ok(results)
}

fn read_result(reader: &mut Reader) -> Result<OperationResult, Malformed> {
    Ok(match reader.u8("result")? {
        1 => OperationResult::Done,
        2 => OperationResult::Value(None),
        3 => OperationResult::Value(Some(reader.value()?)),
        4 => OperationResult::Number(reader.i64("number")?),
        5 => {
            let more = match reader.u8("more")? {
                0 => false,
                1 => true,
                code => return Err(Malformed::UnknownCode { field: "more", code }),
            };
            let count = reader.u32("rows")? as usize;
            if count.saturating_mul(ROW_BYTES_FIXED) > reader.remaining().min(RESULTS_BYTES_MAX) {
                return Err(Malformed::Truncated("rows"));
            }
            let rows =
                (0..count).map(|_| Ok((reader.key()?, reader.value()?))).collect::<Result<Vec<_>, Malformed>>()?;
            OperationResult::Rows { rows, more }
        }
        6 => OperationResult::Totals(Totals {
            keys: reader.u64("keys")?,
            sum: reader.i128("sum")?,
            negatives: reader.u64("negatives")?,
        }),
        code => return Err(Malformed::UnknownCode { field: "result", code }),
    })
}

/// The number that a value holds, if it holds one.
#[must_use]
pub fn parse_number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_bytes_are_the_real_ones() {
        let (key, value) = (Bytes::from_static(b"key"), Bytes::from_static(b"some value"));
        for operation in [
            Operation::Get { key: key.clone() },
            Operation::Put { key: key.clone(), value: value.clone() },
            Operation::Delete { key: key.clone() },
            Operation::Add { key: key.clone(), delta: 1, min: 2, max: 3 },
            Operation::Append { key: key.clone(), value: value.clone() },
            Operation::Expect { key: key.clone(), condition: Condition::Exists },
            Operation::Expect { key: key.clone(), condition: Condition::Absent },
            Operation::Expect { key: key.clone(), condition: Condition::Equals(value.clone()) },
            Operation::Scan { start: key, end: value, limit: 1, of: ScanOf::Rows },
        ] {
            let mut out = Vec::new();
            operation.put(&mut out);
            assert_eq!(encoded_bytes(&operation), out.len(), "{operation:?}");
        }
    }

    #[test]
    fn numbers_are_decimal_text_within_64_bits() {
        for (text, number) in [("0", 0), ("-5", -5), ("+5", 5), ("007", 7), ("-9223372036854775808", i64::MIN)] {
            assert_eq!(parse_number(text.as_bytes()), Some(number));
        }
        for text in ["", "-", "+", " 5", "5 ", "5.0", "1e3", "0x5", "9223372036854775808", "\u{0665}"] {
            assert_eq!(parse_number(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_number(&[0xff]), None);
    }
}
