//! Strict serializability, from lists that are only appended to (`crate::workload::lists`): a read shows which appends came
//! before it and in which order, so what must have come before what follows from the lists themselves (Kingsbury and Alvaro,
//! "Elle", VLDB 2020). The lists at the end order all appends.
//!
//! A transaction of unknown outcome counts as committed if one of its appends was seen anywhere. If nothing is found, there is an
//! order of all transactions that explains every read and the end, and agrees with real time; if something is, there is none.
//!
//! Names: `G0`, `G1a`, `G1b`, `G1c`, `G-single`, `G2` (Adya 1999), with `-realtime` where only real time closes the cycle;
//! `incompatible-order`: a read that is no beginning of the list at the end; `duplicate-elements`; `never-appended`;
//! `reordered-appends`: of one transaction; `internal`: a read that contradicts its own transaction; `lost-append`; `malformed`.

mod collect;

use std::fmt::Write as _;

use protocol::{Operation, OperationResult};

use super::graph::{Edge, Graph, Kind};
use super::history::{History, Outcome, Transaction};
use super::{Violation, blame};
use crate::workload::lists::{LIST, elements};
use collect::{Append, Lists};

/// Judges all lists.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut checker = Checker { history, lists: Lists::new(history), edges: Vec::new(), violations: Vec::new() };
    checker.check_ends();
    checker.check_reads();
    checker.check_appends();
    checker.order_in_real_time();
    checker.check_cycles();
    checker.violations
}

struct Checker<'a> {
    history: &'a History,
    lists: Lists<'a>,
    edges: Vec<Edge>,
    violations: Vec<Violation>,
}

/// Where a transaction stands in a list while its operations are gone through.
#[derive(Clone, Default)]
struct Own {
    list: u32,
    /// What it has appended to it so far.
    appended: Vec<u32>,
    /// How long its first read found the list, without its own appends.
    base: Option<usize>,
}

impl Checker<'_> {
    fn blame(&mut self, name: &'static str, story: String) {
        blame(&mut self.violations, name, story);
    }

    fn transaction(&self, at: u32) -> &Transaction {
        &self.history.transactions[at as usize]
    }

    // ---- the lists at the end

    fn check_ends(&mut self) {
        if let Some(append) = self.lists.repeated {
            self.blame("malformed", format!("the workload appends {} twice", append.element));
        }
        for list in 0..self.lists.ends.len() as u32 {
            let key = self.lists.name(list);
            let Some(found) = self.lists.ends[list as usize].elements.clone() else {
                self.blame("malformed", format!("{key} holds no list at the end"));
                continue;
            };
            for (place, element) in found.iter().enumerate() {
                self.see(list, *element, place, &key);
            }
            self.order_writes(list, &found);
        }
    }

    /// An element stands in a list at the end.
    fn see(&mut self, list: u32, element: u32, place: usize, key: &str) {
        let Some(append) = self.lists.append_mut(element).filter(|append| append.list == list) else {
            self.blame("never-appended", format!("{element} in {key} at the end"));
            return;
        };
        if append.place.is_some() {
            self.blame("duplicate-elements", format!("{element} is in {key} twice at the end"));
            return;
        }
        append.place = Some(place as u32);
        let by = append.by;
        self.lists.is_seen[by as usize] = true;
        if self.transaction(by).is_aborted() {
            let id = self.transaction(by).id;
            self.blame("G1a", format!("{element} in {key} at the end, appended by {id:?}, which was aborted"));
        }
    }

    fn order_writes(&mut self, list: u32, found: &[u32]) {
        let mut before: Option<u32> = None;
        for (place, element) in found.iter().enumerate() {
            let Some(by) = self.lists.writer(list, *element) else { continue };
            self.link(before, by, Kind::WriteWrite, (list, place as u32));
            before = Some(by);
        }
    }

    fn link(&mut self, from: Option<u32>, to: u32, kind: Kind, at: (u32, u32)) {
        if let Some(from) = from.filter(|from| *from != to) {
            self.edges.push(Edge { from, to, kind, at });
        }
    }

    // ---- reads

    fn check_reads(&mut self) {
        let history = self.history;
        for (at, transaction) in history.transactions.iter().enumerate() {
            let mut own: Vec<Own> = Vec::new();
            for (operation, result) in transaction.done() {
                let Some(list) = operation.key().and_then(|key| self.lists.number(key)) else { continue };
                let place = own.iter().position(|own| own.list == list).unwrap_or_else(|| {
                    own.push(Own { list, ..Own::default() });
                    own.len() - 1
                });
                if let Operation::Append { value, .. } = operation {
                    own[place].appended.extend(elements(value).unwrap_or_default());
                } else if let (Operation::Get { .. }, OperationResult::Value(value)) = (operation, result) {
                    self.check_read(at as u32, &mut own[place], value.as_deref().unwrap_or_default());
                }
            }
        }
    }

    fn check_read(&mut self, reader: u32, own: &mut Own, value: &[u8]) {
        let end = &self.lists.ends[own.list as usize];
        if let Some(length) = end.beginning(value) {
            let read = end.elements.as_deref().unwrap_or_default()[..length].to_vec();
            self.check_own(reader, own, &read);
            self.order_read(reader, own, &read);
            return;
        }
        let (id, key) = (self.transaction(reader).id, self.lists.name(own.list));
        let Some(read) = elements(value) else {
            self.blame("malformed", format!("{id:?} read no list in {key}: {}", String::from_utf8_lossy(value)));
            return;
        };
        self.check_own(reader, own, &read);
        self.check_strange(reader, own.list, &read);
        let at_end = self.lists.ends[own.list as usize].elements.clone().unwrap_or_default();
        if !read.starts_with(&at_end) {
            self.blame("incompatible-order", format!("{id:?} read {key} as {read:?}, at the end it is {at_end:?}"));
        }
    }

    /// A read that is no beginning of what is there at the end.
    fn check_strange(&mut self, reader: u32, list: u32, read: &[u32]) {
        let (id, key) = (self.transaction(reader).id, self.lists.name(list));
        for (place, element) in read.iter().enumerate() {
            if read[..place].contains(element) {
                self.blame("duplicate-elements", format!("{id:?} read {element} twice in {key}"));
            }
            match self.lists.writer_told(list, *element).map(|by| (by, self.transaction(by))) {
                None => self.blame("never-appended", format!("{id:?} read {element} in {key}")),
                Some((_, writer)) if writer.is_aborted() => {
                    let writer = writer.id;
                    self.blame(
                        "G1a",
                        format!("{id:?} read {element} in {key}, appended by {writer:?}, which was aborted"),
                    );
                }
                Some((by, _)) => self.lists.is_seen[by as usize] = true,
            }
        }
    }

    /// What a transaction reads agrees with what it has read and appended before.
    fn check_own(&mut self, reader: u32, own: &mut Own, read: &[u32]) {
        let base = read.len().checked_sub(own.appended.len()).filter(|base| read[*base..] == own.appended);
        let last = base.and_then(|base| read[..base].last());
        let is_own =
            |last: &&u32| self.lists.writer_told(own.list, **last) == Some(reader) && !own.appended.contains(*last);
        let is_future = last.filter(is_own).is_some();
        if base.is_none() || own.base.is_some_and(|before| Some(before) != base) || is_future {
            let (id, key) = (self.transaction(reader).id, self.lists.name(own.list));
            let (appended, before) = (&own.appended, own.base);
            let story =
                format!("{id:?} read {key} as {read:?} after it had appended {appended:?}; it began with {before:?}");
            self.blame("internal", story);
        }
        own.base = own.base.or(base);
        let Some(last) = last.filter(|_| own.appended.is_empty()) else { return };
        let Some(append) = self.lists.append(own.list, *last).filter(|append| !append.is_last && append.by != reader)
        else {
            return;
        };
        let (id, key, writer) =
            (self.transaction(reader).id, self.lists.name(own.list), self.transaction(append.by).id);
        self.blame("G1b", format!("{id:?} read {key} up to {last}, after which {writer:?} appended more"));
    }

    fn order_read(&mut self, reader: u32, own: &Own, read: &[u32]) {
        let list = own.list;
        let base = read.len().saturating_sub(own.appended.len());
        if let Some((place, by)) = self.lists.writer_at_or_before(list, base) {
            self.link(Some(by), reader, Kind::WriteRead, (list, place));
        }
        if let Some((place, by)) = self.lists.writer_at_or_after(list, read.len()) {
            self.link(Some(reader), by, Kind::ReadWrite, (list, place));
        }
    }

    // ---- appends

    fn check_appends(&mut self) {
        let appends = std::mem::take(&mut self.lists.appends);
        for append in appends.iter().filter(|append| append.place.is_none()) {
            let transaction = self.transaction(append.by);
            if transaction.is_committed() || (!transaction.is_aborted() && self.lists.is_seen[append.by as usize]) {
                let (id, key) = (transaction.id, self.lists.name(append.list));
                self.blame("lost-append", format!("{} of {id:?} is not in {key} at the end", append.element));
            }
        }
        let mut by_transaction: Vec<&Append> = appends.iter().collect();
        by_transaction.sort_by_key(|append| (append.by, append.list, append.order));
        for pair in by_transaction.windows(2) {
            let (one, other) = (pair[0], pair[1]);
            let are_placed = one.place.is_some() && other.place.is_some();
            if (one.by, one.list) == (other.by, other.list) && are_placed && one.place > other.place {
                let (id, key) = (self.transaction(one.by).id, self.lists.name(one.list));
                let story = format!("{id:?} appended {} and then {} to {key}", one.element, other.element);
                self.blame("reordered-appends", story);
            }
        }
        self.lists.appends = appends;
    }

    // ---- order

    /// Whoever is over before another begins is before it. Moments are nodes from the number of transactions on.
    fn order_in_real_time(&mut self) {
        let mut events: Vec<(u64, bool, u32)> = Vec::new();
        for (at, transaction) in self.history.transactions.iter().enumerate() {
            let at = at as u32;
            if transaction.is_aborted() || !self.lists.is_involved[at as usize] {
                continue;
            }
            events.push((transaction.invoked_us, false, at));
            if let Some(us) = transaction.completed_us.filter(|_| transaction.outcome != Outcome::Unknown) {
                events.push((us, true, at));
            }
        }
        events.sort_unstable();
        let first_moment = self.history.transactions.len() as u32;
        let (mut moment, mut is_new) = (None, true);
        for (_, is_end, at) in events {
            if is_end {
                if is_new {
                    let next = moment.map_or(first_moment, |moment| moment + 1);
                    self.link(moment, next, Kind::RealTime, (0, 0));
                    (moment, is_new) = (Some(next), false);
                }
                self.link(Some(at), moment.unwrap_or(first_moment), Kind::RealTime, (0, 0));
            } else {
                self.link(moment, at, Kind::RealTime, (0, 0));
                is_new = true;
            }
        }
    }

    fn check_cycles(&mut self) {
        let transactions = self.history.transactions.len() as u32;
        let last = self.edges.iter().map(|edge| edge.from.max(edge.to) + 1).max().unwrap_or_default();
        let graph = Graph::new(transactions, transactions.max(last), &self.edges);
        for component in graph.components() {
            let (name, cycle) =
                graph.worst_cycle(&component).expect("a component has a cycle, and each one has a class");
            let story = self.tell(&cycle);
            self.blame(name, story);
        }
    }

    /// A cycle for people: its transactions, and why each is before the next.
    fn tell(&self, cycle: &[Edge]) -> String {
        let mut story = format!("a cycle of {}\n", cycle.len());
        for edge in cycle {
            let _ = writeln!(story, "    {}", describe(self.transaction(edge.from)));
        }
        for edge in cycle {
            let (from, to) = (self.transaction(edge.from), self.transaction(edge.to));
            let key = self.lists.name(edge.at.0);
            let element = self.lists.element_at(edge.at.0, edge.at.1).unwrap_or_default();
            let why = match edge.kind {
                Kind::WriteWrite => format!("{:?} appended {element} to {key} after it (ww)", to.id),
                Kind::WriteRead => format!("{:?} read {key} up to its {element} (wr)", to.id),
                Kind::ReadWrite => format!("it read {key} without the {element} of {:?} (rw)", to.id),
                Kind::RealTime => {
                    let over_us = from.completed_us.unwrap_or_default();
                    format!("it was over at {over_us} us, the other began at {} us (realtime)", to.invoked_us)
                }
            };
            let _ = writeln!(story, "  {:?} before {:?}: {why}", from.id, to.id);
        }
        story
    }
}

/// A transaction on one line.
fn describe(transaction: &Transaction) -> String {
    let over = transaction.completed_us.map_or("?".to_owned(), |us| us.to_string());
    let mut line =
        format!("{:?} of client {}, {}..{over} us:", transaction.id, transaction.client, transaction.invoked_us);
    let results = transaction.results();
    for (at, operation) in transaction.operations.iter().enumerate() {
        let Some(key) = operation.key().filter(|key| key.starts_with(LIST.as_bytes())) else { continue };
        let key = crate::world::keys::name_of(key);
        let _ = match (operation, results.map(|results| &results[at])) {
            (Operation::Append { value, .. }, _) => {
                write!(line, " append {key} {};", String::from_utf8_lossy(value).trim())
            }
            (_, Some(OperationResult::Value(value))) => {
                let value = value.as_deref().unwrap_or_default();
                write!(line, " get {key} [{}];", String::from_utf8_lossy(value).trim())
            }
            _ => write!(line, " get {key};"),
        };
    }
    line
}
