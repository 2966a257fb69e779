//! A ring of keys, each naming the next one. A transaction turns `a -> b -> c -> d` into `a -> c -> b -> d`, by three
//! expectations and three puts; done whole or not at all, and one after the other, the ring stays one ring.
//!
//! The key `ring/0003@p1`, the value the next key's number. What a transaction expects, the workload knows from earlier answers; if
//! that is old, the transaction is refused and the ring is read again.

use bytes::Bytes;
use protocol::{Condition, Operation, OperationResult, TxnId};

use super::{Spread, Workload, mark, number_of};
use crate::judge::Outcome;
use crate::random::Random;
use crate::world::keys::Keys;

/// What the keys of links begin with.
pub const LINK: &str = "ring/";

/// Makes rotations and looks at the whole ring.
pub struct Ring {
    keys: Keys,
    links: Spread,
    /// For each key the next one, as far as is known.
    known: Vec<u32>,
    /// A refusal has shown that it is not known.
    is_stale: bool,
}

impl Ring {
    /// With so many keys, at least four.
    #[must_use]
    pub fn new(participants: u32, links: u32) -> Self {
        assert!(links >= 4, "a ring of {links} has no four keys to rotate");
        let keys = Keys::new(participants);
        let known = (0..links).map(|number| (number + 1) % links).collect();
        Self { links: Spread::new(&keys, LINK, links, participants), keys, known, is_stale: false }
    }

    fn look(&self) -> Vec<Operation> {
        self.links.keys.iter().map(|key| Operation::Get { key: key.clone() }).collect()
    }

    fn rotation(&self, random: &mut Random) -> Vec<Operation> {
        let next = |of: u32| self.known[of as usize];
        let a = random.below(self.known.len()) as u32;
        let (b, c, d) = (next(a), next(next(a)), next(next(next(a))));
        let expect = |key: u32, is: u32| {
            let condition = Condition::Equals(is.to_string().into());
            Operation::Expect { key: self.links.key(key as usize), condition }
        };
        let put = |key: u32, value: u32| Operation::Put {
            key: self.links.key(key as usize),
            value: value.to_string().into(),
        };
        vec![expect(a, b), expect(b, c), expect(c, d), put(a, c), put(c, b), put(b, d)]
    }

    fn learn(&mut self, key: &Bytes, value: &[u8]) {
        let next = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok());
        if let (Some(link), Some(next)) =
            (number_of(key, LINK), next.filter(|next| (*next as usize) < self.known.len()))
        {
            self.known[link as usize] = next;
        }
    }
}

impl Workload for Ring {
    fn opening(&mut self, txn: TxnId) -> Vec<Operation> {
        let links = self.links.keys.iter().zip(&self.known);
        let put = |(key, next): (&Bytes, &u32)| Operation::Put { key: key.clone(), value: next.to_string().into() };
        mark(&self.keys, txn, links.map(put).collect())
    }

    fn next(&mut self, txn: TxnId, random: &mut Random) -> Vec<Operation> {
        if std::mem::take(&mut self.is_stale) || random.per_mille(100) {
            return self.look();
        }
        mark(&self.keys, txn, self.rotation(random))
    }

    fn heard(&mut self, operations: &[Operation], outcome: &Outcome) {
        let Outcome::Committed(results) = outcome else {
            self.is_stale = true;
            return;
        };
        for (at, operation) in operations.iter().enumerate() {
            if let Operation::Put { key, value } = operation {
                self.learn(key, value);
            }
            let result = results.as_ref().and_then(|results| results.get(at));
            if let (Operation::Get { key }, Some(OperationResult::Value(Some(value)))) = (operation, result) {
                self.learn(key, value);
            }
        }
    }
}
