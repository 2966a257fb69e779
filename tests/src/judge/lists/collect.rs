//! All lists of a history, what was appended to them, and by whom.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::Operation;

use crate::judge::history::{History, Outcome};
use crate::workload::lists::{LIST, elements};
use crate::world::keys::name_of;

/// One element that a transaction was to append.
#[derive(Clone, Copy)]
pub(super) struct Append {
    pub(super) element: u32,
    pub(super) list: u32,
    pub(super) by: u32,
    /// Counts the appends of its transaction.
    pub(super) order: u32,
    /// Whether its transaction appends no more to this list.
    pub(super) is_last: bool,
    /// Where it stands in the list at the end.
    pub(super) place: Option<u32>,
}

/// A list at the end.
pub(super) struct End<'a> {
    key: Bytes,
    value: &'a [u8],
    /// `None` if the value is no list.
    pub(super) elements: Option<Vec<u32>>,
    /// Where each element ends in the value.
    ends: Vec<u32>,
}

impl End<'_> {
    /// How many elements a value has that is a beginning of this one.
    pub(super) fn beginning(&self, value: &[u8]) -> Option<usize> {
        if self.elements.is_none() || !self.value.starts_with(value) {
            return None;
        }
        if value.is_empty() {
            return Some(0);
        }
        self.ends.binary_search(&(value.len() as u32)).ok().map(|last| last + 1)
    }
}

/// The lists of a history, numbered.
pub(super) struct Lists<'a> {
    numbers: BTreeMap<&'a [u8], u32>,
    pub(super) ends: Vec<End<'a>>,
    /// Ordered by element.
    pub(super) appends: Vec<Append>,
    /// An element that the workload appends twice, which it must not.
    pub(super) repeated: Option<Append>,
    /// For each transaction, whether one of its appends was seen.
    pub(super) is_seen: Vec<bool>,
    /// For each transaction, whether it touches a list.
    pub(super) is_involved: Vec<bool>,
    is_aborted: Vec<bool>,
}

impl<'a> Lists<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        let count = history.transactions.len();
        let (numbers, ends) = (BTreeMap::new(), Vec::new());
        let is_aborted = history.transactions.iter().map(|one| matches!(one.outcome, Outcome::Aborted(_))).collect();
        let (is_seen, is_involved) = (vec![false; count], vec![false; count]);
        let mut lists = Self { numbers, ends, appends: Vec::new(), repeated: None, is_seen, is_involved, is_aborted };
        for (key, _) in history.rows_of(LIST) {
            lists.add(history, key);
        }
        for (by, transaction) in history.transactions.iter().enumerate() {
            let mut order = 0;
            let first = lists.appends.len();
            for operation in &transaction.operations {
                let Some(key) = operation.key().filter(|key| key.starts_with(LIST.as_bytes())) else { continue };
                let list = lists.add(history, key);
                lists.is_involved[by] = true;
                let Operation::Append { value, .. } = operation else { continue };
                for element in elements(value).unwrap_or_default() {
                    let earlier = lists.appends[first..].iter_mut().filter(|append| append.list == list);
                    earlier.for_each(|append| append.is_last = false);
                    lists.appends.push(Append { element, list, by: by as u32, order, is_last: true, place: None });
                    order += 1;
                }
            }
        }
        lists.appends.sort_by_key(|append| append.element);
        lists.repeated = lists.appends.windows(2).find(|pair| pair[0].element == pair[1].element).map(|pair| pair[0]);
        lists
    }

    fn add(&mut self, history: &'a History, key: &'a Bytes) -> u32 {
        let next = self.ends.len() as u32;
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            let value = history.rows.get(key).map(|value| &value[..]).unwrap_or_default();
            let ends =
                value.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| at as u32 + 1).collect();
            self.ends.push(End { key: key.clone(), value, elements: elements(value), ends });
        }
        number
    }

    pub(super) fn number(&self, key: &[u8]) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    pub(super) fn name(&self, list: u32) -> String {
        self.ends.get(list as usize).map(|end| name_of(&end.key)).unwrap_or_default()
    }

    fn find(&self, element: u32) -> Option<usize> {
        self.appends.binary_search_by_key(&element, |append| append.element).ok()
    }

    pub(super) fn append_mut(&mut self, element: u32) -> Option<&mut Append> {
        let at = self.find(element)?;
        self.appends.get_mut(at)
    }

    pub(super) fn append(&self, list: u32, element: u32) -> Option<Append> {
        self.find(element).map(|at| self.appends[at]).filter(|append| append.list == list)
    }

    /// Who was to append an element to a list, whatever came of it.
    pub(super) fn writer_told(&self, list: u32, element: u32) -> Option<u32> {
        Some(self.append(list, element)?.by)
    }

    /// Who appended an element to a list, unless that was aborted.
    pub(super) fn writer(&self, list: u32, element: u32) -> Option<u32> {
        self.writer_told(list, element).filter(|by| !self.is_aborted[*by as usize])
    }

    pub(super) fn element_at(&self, list: u32, place: u32) -> Option<u32> {
        self.ends.get(list as usize)?.elements.as_ref()?.get(place as usize).copied()
    }

    fn writer_at(&self, list: u32, place: usize) -> Option<(u32, u32)> {
        let element = self.element_at(list, place as u32)?;
        Some((place as u32, self.writer(list, element)?))
    }

    /// The last of the first `length` elements that somebody appended: its place, and who.
    pub(super) fn writer_at_or_before(&self, list: u32, length: usize) -> Option<(u32, u32)> {
        (0..length).rev().find_map(|place| self.writer_at(list, place))
    }

    /// The first element from `place` on that somebody appended.
    pub(super) fn writer_at_or_after(&self, list: u32, place: usize) -> Option<(u32, u32)> {
        let length = self.ends[list as usize].elements.as_ref().map_or(0, Vec::len);
        (place..length).find_map(|place| self.writer_at(list, place))
    }
}
