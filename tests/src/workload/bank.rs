//! Accounts and transfers between them: the money is the same at every moment, and no account is overdrawn.
//!
//! The key `bank/0003@p1`, the value a number.

use bytes::Bytes;
use protocol::{Operation, ScanOf, TxnId};

use super::{Spread, Workload, mark};
use crate::random::Random;
use crate::world::keys::Keys;

/// What the keys of accounts begin with.
pub const ACCOUNT: &str = "bank/";

/// The first key after all accounts.
pub const ACCOUNTS_END: &str = "bank0";

/// What each account holds at first.
pub const BALANCE: i64 = 20;

const AMOUNT_MAX: usize = 12;

/// Makes transfers and audits.
pub struct Bank {
    keys: Keys,
    accounts: Spread,
}

impl Bank {
    /// With so many accounts, at least two.
    #[must_use]
    pub fn new(participants: u32, accounts: u32) -> Self {
        let keys = Keys::new(participants);
        Self { accounts: Spread::new(&keys, ACCOUNT, accounts, participants), keys }
    }

    fn transfer(&self, random: &mut Random) -> Vec<Operation> {
        let count = self.accounts.keys.len();
        let from = random.below(count);
        let to = (from + 1 + random.below(count - 1)) % count;
        let amount = 1 + random.below(AMOUNT_MAX) as i64;
        let add = |account, delta| Operation::Add { key: self.accounts.key(account), delta, min: 0, max: i64::MAX };
        vec![add(from, -amount), add(to, amount)]
    }

    fn gets(&self) -> Vec<Operation> {
        self.accounts.keys.iter().map(|key| Operation::Get { key: key.clone() }).collect()
    }
}

impl Workload for Bank {
    fn opening(&mut self, txn: TxnId) -> Vec<Operation> {
        let put = |key: &Bytes| Operation::Put { key: key.clone(), value: BALANCE.to_string().into() };
        mark(&self.keys, txn, self.accounts.keys.iter().map(put).collect())
    }

    fn next(&mut self, txn: TxnId, random: &mut Random) -> Vec<Operation> {
        match random.below(10) {
            0 => vec![audit(ScanOf::Totals)],
            1 => vec![audit(ScanOf::Rows)],
            2 => self.gets(),
            _ => mark(&self.keys, txn, self.transfer(random)),
        }
    }
}

fn audit(of: ScanOf) -> Operation {
    let (start, end) = (Bytes::from_static(ACCOUNT.as_bytes()), Bytes::from_static(ACCOUNTS_END.as_bytes()));
    Operation::Scan { start, end, limit: 0, of }
}
