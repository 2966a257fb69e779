//! Large rows, written whole and read whole: a page is one number over and over, so a reader sees a mixed one. Values of this
//! size are read from the log, and many of them in one answer fill a connection.
//!
//! The key `page/0002@p1`, the value `17 17 17 `, and so on.

use bytes::Bytes;
use protocol::{Operation, TxnId};

use super::{Spread, Workload, mark};
use crate::random::Random;
use crate::world::keys::Keys;

/// What the keys of pages begin with.
pub const PAGE: &str = "page/";

/// Bytes of a page, at most: one with other rows fits a record of the smallest log that is simulated.
const PAGE_BYTES_MAX: usize = 8 << 10;

/// Pages in the largest answer there may be (`protocol::limits::RESULTS_BYTES_MAX`).
const PAGES_PER_ANSWER: usize = 240;

/// Makes readers of single pages, and now and then a new content.
pub struct Pages {
    keys: Keys,
    pages: Spread,
    next_number: u32,
}

impl Pages {
    /// With so many pages, at most one at each participant.
    #[must_use]
    pub fn new(participants: u32, pages: u32) -> Self {
        assert!(pages <= participants, "{pages} pages at {participants} participants make large records");
        let keys = Keys::new(participants);
        Self { pages: Spread::new(&keys, PAGE, pages, participants), keys, next_number: 0 }
    }

    fn write(&mut self, at: usize) -> Operation {
        self.next_number += 1;
        Operation::Put { key: self.pages.key(at), value: page(self.next_number) }
    }

    /// One page as often as an answer holds it.
    #[must_use]
    pub fn read_much(participants: u32, at: u32) -> Vec<Operation> {
        let key = super::numbered(&Keys::new(participants), PAGE, at, participants);
        vec![Operation::Get { key }; PAGES_PER_ANSWER]
    }
}

impl Workload for Pages {
    fn opening(&mut self, txn: TxnId) -> Vec<Operation> {
        let operations = (0..self.pages.keys.len()).map(|at| self.write(at)).collect();
        mark(&self.keys, txn, operations)
    }

    fn next(&mut self, txn: TxnId, random: &mut Random) -> Vec<Operation> {
        let at = random.below(self.pages.keys.len());
        if random.per_mille(900) {
            return vec![Operation::Get { key: self.pages.key(at) }];
        }
        let operations = vec![self.write(at)];
        mark(&self.keys, txn, operations)
    }
}

/// The page of a number.
#[must_use]
pub fn page(number: u32) -> Bytes {
    let text = format!("{number} ");
    Bytes::from(text.repeat(PAGE_BYTES_MAX / text.len()))
}
