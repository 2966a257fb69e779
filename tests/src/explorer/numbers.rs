//! Things as numbers: equal things have the same one. A state of a world then is a few words.

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// All things of a kind that were ever met. What is empty has number 0.
pub(crate) struct Numbers<T> {
    all: Vec<T>,
    numbers: FxHashMap<T, u32>,
}

impl<T: Clone + Default + Eq + Hash> Numbers<T> {
    pub(crate) fn new() -> Self {
        let mut numbers = Self { all: Vec::new(), numbers: FxHashMap::default() };
        numbers.number(T::default());
        numbers
    }

    pub(crate) fn number(&mut self, thing: T) -> u32 {
        *self.numbers.entry(thing).or_insert_with_key(|thing| {
            self.all.push(thing.clone());
            self.all.len() as u32 - 1
        })
    }

    pub(crate) fn get(&self, number: u32) -> &T {
        &self.all[number as usize]
    }

    /// The number of a thing after a change.
    pub(crate) fn changed(&mut self, number: u32, change: impl FnOnce(&mut T)) -> u32 {
        let mut thing = self.get(number).clone();
        change(&mut thing);
        self.number(thing)
    }
}
