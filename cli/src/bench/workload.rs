//! What the clients of a bench do: transfers and reads between accounts on the participants that
//! the settings ask for.

use bytes::Bytes;
use client::Transaction;
use protocol::TxnId;
use protocol::routing::{BinTable, bin_of};
use rand::{Rng, RngExt};

use crate::bench::distribution::Sampler;
use crate::bench::namespace::Namespace;
use crate::bench::settings::Settings;

/// The largest amount that one transfer moves.
const AMOUNT_MAX: i64 = 10;

/// Picks of a second account before a suitable one is taken from a list: a skewed distribution may
/// have little of it elsewhere.
const PICKS_MAX: usize = 32;

/// One transaction to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    from: usize,
    to: usize,
    amount: i64,
}

/// What a transaction is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Moves money.
    Transfer,
    /// Would move money, but the receiving participant must refuse it.
    Refused,
    /// Reads two balances.
    Read,
}

/// Makes plans and transactions.
#[derive(Debug)]
pub(crate) struct Workload {
    keys: Vec<Bytes>,
    owner: Vec<usize>,
    owned: Vec<Vec<usize>>,
    sampler: Sampler,
    cross: f64,
    read_only: f64,
    abort: f64,
}

impl Workload {
    /// The workload of these settings on these participants, with the accounts of a run.
    pub(crate) fn new(settings: &Settings, participants: &[u32], namespace: Namespace) -> Result<Self, String> {
        let accounts = settings.accounts;
        let table = BinTable::even(participants);
        let order = table.participants();
        let keys: Vec<Bytes> = (0..accounts).map(|account| Bytes::from(namespace.key(account))).collect();
        let owner: Vec<usize> = keys
            .iter()
            .map(|key| order.iter().position(|number| *number == table.participant_of(bin_of(key))).unwrap_or(0))
            .collect();
        let mut owned = vec![Vec::new(); order.len()];
        for (account, owner) in owner.iter().enumerate() {
            owned[*owner].push(account);
        }
        let workload = Self {
            keys,
            owner,
            owned,
            sampler: Sampler::new(settings.distribution, accounts)?,
            cross: settings.cross,
            read_only: settings.read_only,
            abort: settings.abort,
        };
        workload.check()?;
        Ok(workload)
    }

    fn check(&self) -> Result<(), String> {
        let used = self.owned.iter().filter(|accounts| !accounts.is_empty()).count();
        if self.cross > 0.0 && used < 2 {
            return Err("transfers across participants need two participants with accounts: more --participants or \
                        --accounts, or --cross 0"
                .to_owned());
        }
        if self.cross < 1.0 && self.owned.iter().any(|accounts| accounts.len() == 1) {
            return Err(
                "transfers within a participant need two accounts on each: more --accounts, or --cross 1".to_owned()
            );
        }
        Ok(())
    }

    /// The key of an account.
    pub(crate) fn key(&self, account: usize) -> Bytes {
        self.keys[account].clone()
    }

    /// What comes next.
    pub(crate) fn plan(&self, rng: &mut impl Rng) -> Plan {
        let from = self.sampler.pick(rng);
        let cross = rng.random_bool(self.cross);
        let to = self.partner(from, cross, rng);
        let draw: f64 = rng.random();
        let kind = if draw < self.read_only {
            Kind::Read
        } else if draw < self.read_only + self.abort {
            Kind::Refused
        } else {
            Kind::Transfer
        };
        Plan { kind, from, to, amount: rng.random_range(1..=AMOUNT_MAX) }
    }

    /// Another account, on another participant or on the same one.
    fn partner(&self, from: usize, cross: bool, rng: &mut impl Rng) -> usize {
        let suits = |to: usize| to != from && (self.owner[to] != self.owner[from]) == cross;
        for _ in 0..PICKS_MAX {
            let to = self.sampler.pick(rng);
            if suits(to) {
                return to;
            }
        }
        loop {
            let to = if cross {
                rng.random_range(0..self.keys.len())
            } else {
                let neighbours = &self.owned[self.owner[from]];
                neighbours[rng.random_range(0..neighbours.len())]
            };
            if suits(to) {
                return to;
            }
        }
    }

    /// The transaction of a plan under a new id.
    pub(crate) fn transaction(&self, plan: Plan) -> Transaction {
        self.fill(Transaction::new(), plan)
    }

    /// The same transaction again.
    pub(crate) fn transaction_again(&self, plan: Plan, id: TxnId) -> Transaction {
        self.fill(Transaction::with_id(id), plan)
    }

    fn fill(&self, transaction: Transaction, plan: Plan) -> Transaction {
        let (from, to) = (self.key(plan.from), self.key(plan.to));
        match plan.kind {
            Kind::Read => transaction.get(from).get(to),
            Kind::Transfer => transaction.add_within(from, -plan.amount, 0..=i64::MAX).add(to, plan.amount),
            // No sum is so small.
            Kind::Refused => transaction.add(from, -plan.amount).add_within(to, plan.amount, i64::MIN..=i64::MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::distribution::Distribution;
    use crate::bench::settings::Preset;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn settings() -> Settings {
        Settings { accounts: 1_000, ..Preset::Default.settings() }
    }

    fn plans(settings: &Settings) -> (Workload, Vec<Plan>) {
        let workload = Workload::new(settings, &[1, 2, 3, 4, 5], Namespace::new(7)).unwrap();
        let mut rng = StdRng::seed_from_u64(7);
        let plans = (0..10_000).map(|_| workload.plan(&mut rng)).collect();
        (workload, plans)
    }

    fn share(plans: &[Plan], of: impl Fn(&Plan) -> bool) -> f64 {
        plans.iter().filter(|plan| of(plan)).count() as f64 / plans.len() as f64
    }

    #[test]
    fn the_shares_are_as_asked_whatever_the_distribution() {
        for distribution in [Distribution::Uniform, Distribution::Zipf(1.5), Distribution::Hotspot(0.01)] {
            let settings = Settings { distribution, cross: 0.7, read_only: 0.2, abort: 0.5, ..settings() };
            let (workload, plans) = plans(&settings);
            assert!(plans.iter().all(|plan| plan.from != plan.to));
            let near = |found: f64, asked: f64| assert!((found - asked).abs() < 0.03, "{found} for {asked}");
            near(share(&plans, |plan| workload.owner[plan.from] != workload.owner[plan.to]), 0.7);
            near(share(&plans, |plan| plan.kind == Kind::Read), 0.2);
            near(share(&plans, |plan| plan.kind == Kind::Refused), 0.5);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plans() {
        assert_eq!(plans(&settings()).1, plans(&settings()).1);
    }

    #[test]
    fn a_transaction_again_has_the_same_operations_under_the_same_id() {
        let (workload, plans) = plans(&settings());
        let first = workload.transaction(plans[0]);
        assert_eq!(workload.transaction_again(plans[0], first.id()), first);
        assert_ne!(workload.transaction(plans[0]).id(), first.id());
    }

    #[test]
    fn what_cannot_be_is_said() {
        let one = Workload::new(&settings(), &[1], Namespace::new(7)).unwrap_err();
        assert!(one.contains("--cross 0"), "{one}");
        assert!(Workload::new(&Settings { cross: 0.0, ..settings() }, &[1], Namespace::new(7)).is_ok());
        let few = Settings { accounts: 2, cross: 0.5, ..settings() };
        assert!(Workload::new(&few, &[1, 2, 3, 4, 5], Namespace::new(7)).is_err());
    }
}
