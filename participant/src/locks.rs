//! Who may touch what: shared and exclusive locks on keys, shared locks on ranges.
//!
//! A transaction asks once, for everything that it needs here. Requests queue in the order of
//! arrival; a request is blocked by every earlier one that conflicts with it, granted or not. A
//! transaction that would be blocked by an older one gives way instead (wait-die), so every wait
//! is of an older transaction for a younger one, and no circle of waits can form, here or across
//! participants.
//!
//! Not here: time. The caller bounds how long a transaction waits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use hashbrown::HashMap;
use planted::planted;
use protocol::{Age, TxnId};
use rustc_hash::FxBuildHasher;

/// How a key is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// With other readers.
    Shared,
    /// Alone.
    Exclusive,
}

/// Everything that a transaction needs to lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LockSet {
    /// Each key once, in order.
    keys: Vec<(Bytes, Mode)>,
    /// Ranges `start..end`, shared, apart from each other, in order; an empty end is unbounded.
    ranges: Vec<(Bytes, Bytes)>,
}

impl LockSet {
    /// From any list of keys; a key that occurs twice is locked in the stronger mode.
    pub(crate) fn new(mut keys: Vec<(Bytes, Mode)>, ranges: Vec<(Bytes, Bytes)>) -> Self {
        keys.sort_unstable();
        keys.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = if planted!("upgrade-forgotten") { kept.1.min(later.1) } else { kept.1.max(later.1) };
            }
            same
        });
        Self { keys, ranges: merged(ranges) }
    }
}

/// The same ranges, each key in one of them at most, in order.
fn merged(mut ranges: Vec<(Bytes, Bytes)>) -> Vec<(Bytes, Bytes)> {
    ranges.retain(|(start, end)| end.is_empty() || start < end);
    ranges.sort_unstable();
    ranges.dedup_by(|(start, end), (_, kept_end)| {
        let touches = kept_end.is_empty() || *start <= *kept_end;
        if touches && !kept_end.is_empty() && (end.is_empty() || *end > *kept_end) {
            *kept_end = end.clone();
        }
        touches
    });
    ranges
}

/// What a request for locks comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All are held.
    Granted,
    /// The request stands in its queues.
    Waits,
    /// Nothing is held: an older transaction is in the way.
    GivesWay,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    txn: TxnId,
    age: Age,
    mode: Mode,
    arrival: u64,
}

/// The requests on one key, in the order of arrival. Nearly always one.
#[derive(Debug)]
struct Queue {
    first: Request,
    others: Vec<Request>,
}

impl Queue {
    fn iter(&self) -> impl Iterator<Item = &Request> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Removes a transaction's request; whether any other is left.
    fn remove(&mut self, txn: TxnId) -> bool {
        if self.first.txn != txn {
            self.others.retain(|request| request.txn != txn);
            return true;
        }
        if self.others.is_empty() {
            return false;
        }
        self.first = self.others.remove(0);
        true
    }
}

#[derive(Debug)]
struct RangeRequest {
    start: Bytes,
    end: Bytes,
    request: Request,
}

#[derive(Debug)]
struct Owner {
    set: LockSet,
    arrival: u64,
    granted: bool,
}

/// All locks and all requests of a participant.
#[derive(Default)]
pub(crate) struct LockTable {
    queues: BTreeMap<Bytes, Queue>,
    ranges: Vec<RangeRequest>,
    owners: HashMap<TxnId, Owner, FxBuildHasher>,
    /// How many of the owners wait.
    waiting: usize,
    arrivals: u64,
}

impl fmt::Debug for LockTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queues, ranges, owners, waiting, arrivals } = self;
        let owners: BTreeMap<_, _> = owners.iter().collect();
        f.debug_tuple("LockTable").field(queues).field(ranges).field(&owners).field(waiting).field(arrivals).finish()
    }
}

impl LockTable {
    /// Asks for everything in `set` at once.
    pub(crate) fn acquire(&mut self, txn: TxnId, age: Age, set: LockSet) -> Answer {
        assert!(!self.owners.contains_key(&txn), "{txn:?} asks for locks twice");
        let arrival = self.arrivals;
        let mut blocked = false;
        let mut gives_way = false;
        self.for_each_conflict(txn, &set, arrival, |blocker| {
            blocked = true;
            gives_way |= blocker.age < age;
        });
        if gives_way {
            return Answer::GivesWay;
        }
        self.enqueue(txn, age, set, !blocked);
        if blocked { Answer::Waits } else { Answer::Granted }
    }

    /// Takes the locks of a promise that was found in the log.
    pub(crate) fn restore(&mut self, txn: TxnId, age: Age, set: LockSet) {
        self.enqueue(txn, age, set, true);
    }

    /// Gives up everything that a transaction holds or waits for, and returns the transactions
    /// whose waiting that ends, in the order of arrival.
    pub(crate) fn release(&mut self, txn: TxnId) -> Vec<TxnId> {
        let Some(owner) = self.owners.remove(&txn) else { return Vec::new() };
        self.waiting -= usize::from(!owner.granted);
        for (key, _) in &owner.set.keys {
            let queue = self.queues.get_mut(key).expect("an owner's key has a queue");
            if !queue.remove(txn) {
                self.queues.remove(key);
            }
        }
        if !owner.set.ranges.is_empty() {
            self.ranges.retain(|range| range.request.txn != txn);
        }
        if self.waiting == 0 {
            return Vec::new();
        }
        let candidates = self.waiting_behind(&owner.set);
        candidates
            .into_iter()
            .map(|(_, candidate)| candidate)
            .filter(|candidate| self.grant_if_free(*candidate))
            .collect()
    }

    /// Those who wait for something that overlaps `set`, in the order of arrival.
    fn waiting_behind(&self, set: &LockSet) -> BTreeSet<(u64, TxnId)> {
        let mut candidates = BTreeSet::new();
        let mut meet = |request: &Request| {
            if self.owners.get(&request.txn).is_some_and(|owner| !owner.granted) {
                candidates.insert((request.arrival, request.txn));
            }
        };
        for (key, mode) in &set.keys {
            if let Some(queue) = self.queues.get(key) {
                queue.iter().for_each(&mut meet);
            }
            if *mode == Mode::Exclusive {
                let covering = self.ranges.iter().filter(|range| in_range(key, &range.start, &range.end));
                covering.for_each(|range| meet(&range.request));
            }
        }
        for (start, end) in &set.ranges {
            self.queues_in(start, end).for_each(|queue| queue.iter().for_each(&mut meet));
        }
        candidates
    }

    /// The keys that a transaction shares, and its ranges.
    pub(crate) fn reads_of(&self, txn: TxnId) -> (Vec<Bytes>, Vec<(Bytes, Bytes)>) {
        let Some(owner) = self.owners.get(&txn) else { return (Vec::new(), Vec::new()) };
        let shared = owner.set.keys.iter().filter(|(_, mode)| *mode == Mode::Shared);
        if planted!("read-locks-unlogged") {
            return (Vec::new(), Vec::new());
        }
        (shared.map(|(key, _)| key.clone()).collect(), owner.set.ranges.clone())
    }

    /// Whether nothing is locked or waited for.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.ranges.is_empty() && self.owners.is_empty() && self.waiting == 0
    }

    fn enqueue(&mut self, txn: TxnId, age: Age, set: LockSet, granted: bool) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        for (key, mode) in &set.keys {
            let request = Request { txn, age, mode: *mode, arrival };
            match self.queues.get_mut(key) {
                Some(queue) => queue.others.push(request),
                None => _ = self.queues.insert(key.clone(), Queue { first: request, others: Vec::new() }),
            }
        }
        for (start, end) in &set.ranges {
            let request = Request { txn, age, mode: Mode::Shared, arrival };
            self.ranges.push(RangeRequest { start: start.clone(), end: end.clone(), request });
        }
        self.waiting += usize::from(!granted);
        self.owners.insert(txn, Owner { set, arrival, granted });
    }

    fn grant_if_free(&mut self, txn: TxnId) -> bool {
        let Some(owner) = self.owners.get(&txn) else { return false };
        if owner.granted {
            return false;
        }
        let mut blocked = false;
        self.for_each_conflict(txn, &owner.set, owner.arrival, |_| blocked = true);
        if !blocked && let Some(owner) = self.owners.get_mut(&txn) {
            owner.granted = true;
            self.waiting -= 1;
        }
        !blocked
    }

    /// Visits every request before `arrival` that conflicts with `set`.
    fn for_each_conflict(&self, txn: TxnId, set: &LockSet, arrival: u64, mut visit: impl FnMut(&Request)) {
        let mut meet = |request: &Request, mode: Mode| {
            let conflicts =
                (mode == Mode::Exclusive && !planted!("read-locks-dropped")) || request.mode == Mode::Exclusive;
            if conflicts && request.arrival < arrival && request.txn != txn {
                visit(request);
            }
        };
        for (key, mode) in &set.keys {
            if let Some(queue) = self.queues.get(key) {
                queue.iter().for_each(|request| meet(request, *mode));
            }
            if *mode == Mode::Exclusive {
                for range in self.ranges.iter().filter(|range| in_range(key, &range.start, &range.end)) {
                    meet(&range.request, Mode::Exclusive);
                }
            }
        }
        for (start, end) in &set.ranges {
            for queue in self.queues_in(start, end) {
                queue.iter().for_each(|request| meet(request, Mode::Shared));
            }
        }
    }

    fn queues_in<'a>(&'a self, start: &'a Bytes, end: &'a Bytes) -> impl Iterator<Item = &'a Queue> {
        self.queues
            .range::<Bytes, _>(start..)
            .take_while(move |(key, _)| in_range(key, start, end))
            .map(|(_, queue)| queue)
    }
}

fn in_range(key: &Bytes, start: &Bytes, end: &Bytes) -> bool {
    key >= start && (end.is_empty() || key < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(number: u64) -> Age {
        Age { admitted_us: number, coordinator: 1 }
    }

    fn exclusive(keys: &[&'static str]) -> LockSet {
        LockSet::new(keys.iter().map(|key| (Bytes::from(*key), Mode::Exclusive)).collect(), vec![])
    }

    fn shared(keys: &[&'static str]) -> LockSet {
        LockSet::new(keys.iter().map(|key| (Bytes::from(*key), Mode::Shared)).collect(), vec![])
    }

    fn range(start: &'static str, end: &'static str) -> LockSet {
        LockSet::new(vec![], vec![(Bytes::from(start), Bytes::from(end))])
    }

    /// A table in which transaction `n` has age `n`: the smaller, the older.
    struct Story(LockTable);

    impl Story {
        fn ask(&mut self, txn: u64, set: LockSet) -> Answer {
            self.0.acquire(TxnId(u128::from(txn)), age(txn), set)
        }

        fn end(&mut self, txn: u64) -> Vec<u128> {
            self.0.release(TxnId(u128::from(txn))).into_iter().map(|granted| granted.0).collect()
        }
    }

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        let mut story = Story(LockTable::default());
        assert_eq!(story.ask(5, shared(&["a"])), Answer::Granted);
        assert_eq!(story.ask(4, shared(&["a"])), Answer::Granted);
        assert_eq!(story.ask(3, exclusive(&["a"])), Answer::Waits);
        assert_eq!(story.end(5), []);
        assert_eq!(story.end(4), [3]);
        assert_eq!(story.end(3), []);
        assert!(story.0.is_empty());
    }

    #[test]
    fn the_younger_gives_way_and_holds_nothing() {
        let mut story = Story(LockTable::default());
        assert_eq!(story.ask(1, exclusive(&["a"])), Answer::Granted);
        assert_eq!(story.ask(2, exclusive(&["a", "b"])), Answer::GivesWay);
        assert_eq!(story.ask(3, exclusive(&["b"])), Answer::Granted);
    }

    #[test]
    fn a_reader_does_not_overtake_a_waiting_writer() {
        let mut story = Story(LockTable::default());
        assert_eq!(story.ask(9, shared(&["a"])), Answer::Granted);
        assert_eq!(story.ask(5, exclusive(&["a"])), Answer::Waits);
        assert_eq!(story.ask(7, shared(&["a"])), Answer::GivesWay);
        assert_eq!(story.ask(3, shared(&["a"])), Answer::Waits);
        assert_eq!(story.end(9), [5]);
        assert_eq!(story.end(5), [3]);
    }

    #[test]
    fn a_scan_keeps_new_keys_out_of_its_range() {
        let mut story = Story(LockTable::default());
        assert_eq!(story.ask(9, range("b", "d")), Answer::Granted);
        assert_eq!(story.ask(8, exclusive(&["c"])), Answer::Waits);
        assert_eq!(story.ask(7, exclusive(&["d"])), Answer::Granted);
        assert_eq!(story.ask(6, shared(&["b"])), Answer::Granted);
        assert_eq!(story.end(9), [8]);
    }

    #[test]
    fn a_scan_waits_for_every_writer_in_its_range() {
        let mut story = Story(LockTable::default());
        assert_eq!(story.ask(8, exclusive(&["b"])), Answer::Granted);
        assert_eq!(story.ask(9, exclusive(&["c"])), Answer::Granted);
        assert_eq!(story.ask(2, range("a", "")), Answer::Waits);
        assert_eq!(story.end(8), []);
        assert_eq!(story.end(9), [2]);
    }

    #[test]
    fn one_that_stops_waiting_lets_those_behind_it_through() {
        let mut story = Story(LockTable::default());
        assert_eq!(story.ask(9, shared(&["a"])), Answer::Granted);
        assert_eq!(story.ask(5, exclusive(&["a"])), Answer::Waits);
        assert_eq!(story.ask(3, shared(&["a"])), Answer::Waits);
        assert_eq!(story.end(5), [3]);
        assert_eq!((story.end(3), story.end(9)), (vec![], vec![]));
        assert!(story.0.is_empty());
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let bytes = |text: &'static str| Bytes::from(text);
        let set = |ranges: &[(&'static str, &'static str)]| {
            LockSet::new(vec![], ranges.iter().map(|(start, end)| (bytes(start), bytes(end))).collect())
        };
        assert_eq!(set(&[("c", "d"), ("a", "b"), ("b", "c"), ("x", "x")]), set(&[("a", "d")]));
        assert_eq!(set(&[("a", "z"), ("b", "c")]), set(&[("a", "z")]));
        assert_eq!(set(&[("a", "c"), ("b", ""), ("f", "g")]), set(&[("a", "")]));
        assert_eq!(set(&[("a", "b"), ("c", "d")]).ranges.len(), 2);
    }

    #[test]
    fn a_key_named_twice_is_locked_once_in_the_stronger_mode() {
        let both = LockSet::new(vec![(Bytes::from("a"), Mode::Exclusive), (Bytes::from("a"), Mode::Shared)], vec![]);
        assert_eq!(both, exclusive(&["a"]));
    }
}
