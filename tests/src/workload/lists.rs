//! Lists that are only appended to, and read whole: who reads one knows which appends came before it, and in which order.
//!
//! The key `list/0003@p1`, the value `17 4 23 `: each append adds one number that nobody else ever appends, and a space.
//! A list that has grown long makes room for a new one, so that a read stays short.

use std::fmt::Write as _;

use bytes::Bytes;
use protocol::{Operation, TxnId};

use super::{Workload, mark, numbered};
use crate::random::Random;
use crate::world::keys::Keys;

/// What the keys of lists begin with.
pub const LIST: &str = "list/";

const OPERATIONS_MAX: usize = 5;

/// Makes transactions over a few lists at a time.
pub struct Lists {
    keys: Keys,
    participants: u32,
    /// Lists in use: number and appends so far.
    open: Vec<(u32, u32)>,
    appends_max: u32,
    next_list: u32,
    next_element: u32,
}

impl Lists {
    /// Uses `open` lists at a time, each for `appends_max` appends.
    #[must_use]
    pub fn new(participants: u32, open: u32, appends_max: u32) -> Self {
        let keys = Keys::new(participants);
        let open: Vec<_> = (0..open).map(|number| (number, 0)).collect();
        Self { keys, participants, next_list: open.len() as u32, open, appends_max, next_element: 1 }
    }

    fn append(&mut self, at: usize) -> Operation {
        let key = self.key(at);
        let value = element(self.next_element);
        self.next_element += 1;
        self.open[at].1 += 1;
        if self.open[at].1 == self.appends_max {
            self.open[at] = (self.next_list, 0);
            self.next_list += 1;
        }
        Operation::Append { key, value }
    }

    fn key(&self, at: usize) -> Bytes {
        numbered(&self.keys, LIST, self.open[at].0, self.participants)
    }
}

impl Workload for Lists {
    fn opening(&mut self, _: TxnId) -> Vec<Operation> {
        Vec::new()
    }

    fn next(&mut self, txn: TxnId, random: &mut Random) -> Vec<Operation> {
        let reads_only = random.per_mille(200);
        let operations = (0..=random.below(OPERATIONS_MAX)).map(|_| {
            let at = random.below(self.open.len());
            if reads_only || random.per_mille(500) { Operation::Get { key: self.key(at) } } else { self.append(at) }
        });
        let operations = operations.collect();
        mark(&self.keys, txn, operations)
    }
}

/// What is appended for one element.
#[must_use]
pub fn element(number: u32) -> Bytes {
    Bytes::from(format!("{number} "))
}

/// The value of a list with these elements.
#[must_use]
pub fn value(elements: &[u32]) -> Bytes {
    let mut text = String::new();
    for element in elements {
        let _ = write!(text, "{element} ");
    }
    Bytes::from(text)
}

/// The elements of a list; `None` if its value is none.
#[must_use]
pub fn elements(value: &[u8]) -> Option<Vec<u32>> {
    let text = std::str::from_utf8(value).ok()?;
    text.split_inclusive(' ').map(|element| element.strip_suffix(' ')?.parse().ok()).collect()
}
