//! The table over the log: an ordered index in memory; small values inline, large ones where the log holds them.
//!
//! Invariants: a large value is read from the log only when its record is durable, until then it is kept in memory; its
//! crc is checked at every read; `live` is the sum of the lengths of the large values that entries point at, by segment.
//! The owner logs what it applies: `apply` writes nothing. Not here: how the table is written again (`checkpoint`).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use seam::Place;

use crate::error::TableError;
use crate::limits::INLINE_VALUE_BYTES_MAX;
use crate::lsn::Lsn;
use crate::slice::{self, Pointer};
use crate::storage::Storage;

/// Figures of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TableStats {
    /// Number of keys.
    pub keys: usize,
    /// Bytes of large values that entries point at.
    pub large_bytes: u64,
    /// Large values held in memory because their record is not durable yet.
    pub pending: usize,
}

/// A handle of the table; clones share it. For one thread.
#[derive(Clone, Default)]
pub struct Table(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    entries: BTreeMap<Bytes, Value>,
    /// What all entries take in slices, with large values as pointers.
    slice_bytes: u64,
    /// What keys and values take of the heap, beside the tree.
    heap_bytes: u64,
    /// The size beyond which it may not grow, if there is one.
    memory_max: Option<u64>,
    /// Live bytes of large values by segment index; no zero entries.
    live: BTreeMap<u64, u64>,
    /// Large values in memory: where they end in the log, and their key.
    pending: VecDeque<(Lsn, Bytes)>,
    durable: Lsn,
    /// Large values before this position may not be pointed at any more: the last checkpoint's begin.
    floor: Lsn,
    files: Option<Files>,
}

/// Where the log's bytes are.
struct Files {
    storage: Arc<dyn Storage>,
    segment_bytes: u64,
    slots: BTreeMap<u64, u32>,
}

#[derive(Clone, Debug)]
enum Value {
    Inline(Bytes),
    Large { pointer: Pointer, pending: Option<Bytes> },
}

/// Entries of a node of the tree, at most and after keys came in ascending order, as a start finds them.
const NODE_ENTRIES: usize = 11;
const NODE_ENTRIES_SPARSE: usize = 6;

/// What an entry takes in the tree when its nodes are filled as little as that: each leaf comes with one entry in a node
/// above it, and those with a seventh as many nodes again.
const ENTRY_BYTES: u64 = {
    let leaf = NODE_ENTRIES * (size_of::<Bytes>() + size_of::<Value>()) + 32;
    let inner = leaf + (NODE_ENTRIES + 1) * 8;
    ((leaf + inner / NODE_ENTRIES_SPARSE) / (NODE_ENTRIES_SPARSE + 1)) as u64
};

/// What so many bytes take of the heap: sizes there are multiples of 16, with a head of 8, from 32 on.
fn heap_bytes(bytes: usize) -> u64 {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) as u64 }
}

impl Value {
    /// What the entry takes in a slice, with a large value as a pointer.
    fn slice_bytes(&self, key: &[u8]) -> u64 {
        let inline = match self {
            Value::Inline(bytes) => bytes.len(),
            Value::Large { .. } => 0,
        };
        (slice::ENTRY_BYTES_MAX + key.len() + inline) as u64
    }

    /// What its bytes take of the heap. Large ones are there only until they are durable.
    fn heap_bytes(&self) -> u64 {
        match self {
            Value::Inline(bytes) => heap_bytes(bytes.len()),
            Value::Large { .. } => 0,
        }
    }

    /// Length of the value.
    fn len(&self) -> usize {
        match self {
            Value::Inline(bytes) => bytes.len(),
            Value::Large { pointer, .. } => pointer.length as usize,
        }
    }
}

impl Table {
    /// An empty table. `Store::open` connects it to its log; before that it holds every value in memory.
    #[must_use]
    pub fn new() -> Table {
        Table::default()
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// A large value's bytes are damaged or cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TableError> {
        let inner = self.0.borrow();
        inner.entries.get(key).map(|value| inner.read(value)).transpose()
    }

    /// Length of the value of `key`, which is not read.
    #[must_use]
    pub fn value_bytes(&self, key: &[u8]) -> Option<usize> {
        self.0.borrow().entries.get(key).map(Value::len)
    }

    /// Visits the entries from `start` to before `end` (empty: to the last) in key order, until `visit` breaks.
    /// `visit` must not call `apply`.
    ///
    /// # Errors
    /// A large value's bytes are damaged or cannot be read; entries before it were visited.
    pub fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&Bytes, &Bytes) -> ControlFlow<()>,
    ) -> Result<(), TableError> {
        if !end.is_empty() && start >= end {
            return Ok(());
        }
        let inner = self.0.borrow();
        let upper = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        for (key, value) in inner.entries.range::<[u8], _>((Bound::Included(start), upper)) {
            let flow = match value {
                Value::Inline(bytes) => visit(key, bytes),
                Value::Large { .. } => visit(key, &inner.read(value)?),
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Sets `key` to `value`, or removes it. The value lies at `offset` of the payload of the owner's record at `at`.
    ///
    /// The owner calls this for absolute values only (never "add to"), at run time as in replay, for a record that is
    /// appended before the next call of `Store::checkpoint_slice` or `checkpoint_end`.
    ///
    /// # Panics
    /// A large value lies before the last checkpoint's begin: the owner did not log it again there.
    pub fn apply(&self, at: Place, offset: u32, key: &[u8], value: Option<Bytes>) {
        let mut inner = self.0.borrow_mut();
        let Some(value) = value else {
            if let Some(old) = inner.entries.remove(key) {
                inner.slice_bytes -= old.slice_bytes(key);
                inner.heap_bytes -= heap_bytes(key.len()) + old.heap_bytes();
                inner.forget(&old);
            }
            return;
        };
        if value.len() <= INLINE_VALUE_BYTES_MAX || inner.files.is_none() {
            return inner.set(key, Value::Inline(Bytes::copy_from_slice(&value)));
        }
        let at = Lsn::from(at);
        assert!(at >= inner.floor, "a large value at {at} was not logged again at the checkpoint {}", inner.floor);
        let length = u32::try_from(value.len()).expect("a value is smaller than a record");
        let pointer = Pointer { lsn: Lsn(at.0 + u64::from(offset)), length, crc: crc32c::crc32c(&value) };
        inner.point(key, pointer, Some(value));
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.borrow().entries.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> TableStats {
        let inner = self.0.borrow();
        TableStats { keys: inner.entries.len(), large_bytes: inner.live.values().sum(), pending: inner.pending.len() }
    }

    /// What it takes in memory, in bytes, without large values: as much as it takes at most after a start.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.0.borrow().memory_bytes()
    }

    /// What it may take more after a start than now, in bytes: keys come in order then, which fills nodes less.
    #[must_use]
    pub fn sparse_bytes(&self) -> u64 {
        self.0.borrow().entries.len() as u64 * ENTRY_BYTES / 4
    }

    /// Says beyond which size it may not grow, if there is one. That is for the owner to keep to.
    pub fn limit(&self, memory_max: Option<u64>) {
        self.0.borrow_mut().memory_max = memory_max;
    }

    /// Whether what takes more memory may be applied.
    #[must_use]
    pub fn may_grow(&self) -> bool {
        let inner = self.0.borrow();
        inner.memory_max.is_none_or(|max| inner.memory_bytes() < max)
    }

    /// Connects the table to its log, before replay; what replay applies is durable.
    pub(crate) fn attach(&self, storage: Arc<dyn Storage>, segment_bytes: u64, slots: BTreeMap<u64, u32>) {
        let durable = Lsn(u64::MAX);
        let files = Some(Files { storage, segment_bytes, slots });
        *self.0.borrow_mut() = Inner { durable, files, ..Inner::default() };
    }

    /// Values up to here can be read from the log.
    pub(crate) fn set_durable(&self, durable: Lsn) {
        self.0.borrow_mut().set_durable(durable);
    }

    /// Large values before here may not be applied any more.
    pub(crate) fn set_floor(&self, floor: Lsn) {
        self.0.borrow_mut().floor = floor;
    }

    pub(crate) fn segment_listed(&self, index: u64, slot: u32) {
        if let Some(files) = &mut self.0.borrow_mut().files {
            files.slots.insert(index, slot);
        }
    }

    pub(crate) fn segment_freed(&self, index: u64) {
        let mut inner = self.0.borrow_mut();
        assert!(!inner.live.contains_key(&index), "segment {index} was freed although values live in it");
        if let Some(files) = &mut inner.files {
            files.slots.remove(&index);
        }
    }

    /// What all entries take in slices, with large values as pointers.
    pub(crate) fn slice_bytes(&self) -> u64 {
        self.0.borrow().slice_bytes
    }

    /// Live bytes of large values in a segment.
    pub(crate) fn live_bytes(&self, index: u64) -> u64 {
        self.0.borrow().live.get(&index).copied().unwrap_or(0)
    }

    /// A segment that values live in and that is not known, if there is one.
    pub(crate) fn missing_segment(&self) -> Option<u64> {
        let inner = self.0.borrow();
        let files = inner.files.as_ref()?;
        inner.live.keys().copied().find(|index| !files.slots.contains_key(index))
    }

    /// Applies a table slice at `at` in replay; `None` if its bytes are not a slice.
    pub(crate) fn load(&self, at: Lsn, payload: &[u8]) -> Option<()> {
        let mut inner = self.0.borrow_mut();
        slice::parse(payload, &mut |entry| match entry {
            slice::Entry::Whole { key, value, .. } if value.len() <= INLINE_VALUE_BYTES_MAX => {
                inner.set(key, Value::Inline(Bytes::copy_from_slice(value)));
            }
            slice::Entry::Whole { key, value, offset } => {
                let lsn = Lsn(at.0 + offset as u64);
                let pointer = Pointer { lsn, length: value.len() as u32, crc: crc32c::crc32c(value) };
                inner.point(key, pointer, None);
            }
            slice::Entry::Pointer { key, pointer } => inner.point(key, pointer, None),
        })
    }

    /// Writes the entries after `cursor` as a slice until it has `bytes_max` bytes or `keys_max` entries.
    pub(crate) fn walk(&self, walk: &mut Walk) -> WalkEnd {
        let inner = self.0.borrow();
        walk.bytes.clear();
        walk.bytes.extend_from_slice(&[0; slice::HEAD_BYTES]);
        walk.moved.clear();
        walk.pointer_bytes = 0;
        let start = walk.cursor.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_ref()));
        let mut entries = inner.entries.range::<[u8], _>((start, Bound::Unbounded));
        let mut count = 0_u32;
        let mut last = None;
        let end = loop {
            let Some((key, value)) = entries.next() else { break WalkEnd::Last };
            // An entry larger than a slice gets one of its own.
            let full = walk.bytes.len() + key.len() + inner.emit_bytes(value, walk) > walk.bytes_max;
            if count > 0 && (full || count as usize >= walk.keys_max) {
                break WalkEnd::More;
            }
            inner.emit(key, value, walk);
            walk.pointer_bytes += value.slice_bytes(key);
            count += 1;
            last = Some(key);
        };
        walk.bytes[..slice::HEAD_BYTES].copy_from_slice(&count.to_le_bytes());
        if let Some(last) = last {
            walk.cursor = Some(Bytes::copy_from_slice(last));
        }
        walk.entries = count;
        end
    }

    /// Points the values that the last walk wrote whole at their new place, in the slice at `at`.
    pub(crate) fn moved(&self, at: Lsn, moved: &mut Vec<Moved>) {
        let mut inner = self.0.borrow_mut();
        for Moved { key, offset, value, crc } in moved.drain(..) {
            let pointer = Pointer { lsn: Lsn(at.0 + offset as u64), length: value.len() as u32, crc };
            inner.point(&key, pointer, Some(value));
        }
    }
}

/// A walk over the table in slices.
#[derive(Default)]
pub(crate) struct Walk {
    /// The last key that was written.
    pub(crate) cursor: Option<Bytes>,
    /// Segments whose values are written whole.
    pub(crate) victims: Vec<u64>,
    pub(crate) bytes_max: usize,
    pub(crate) keys_max: usize,
    /// The slice.
    pub(crate) bytes: Vec<u8>,
    /// Number of entries in it, and what they take without the large values that are written whole.
    pub(crate) entries: u32,
    pub(crate) pointer_bytes: u64,
    /// Its large values that were written whole.
    pub(crate) moved: Vec<Moved>,
}

/// A large value that was written again.
pub(crate) struct Moved {
    key: Bytes,
    offset: usize,
    value: Bytes,
    crc: u32,
}

impl Moved {
    pub(crate) fn bytes(&self) -> u64 {
        self.value.len() as u64
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WalkEnd {
    More,
    Last,
}

impl Inner {
    fn memory_bytes(&self) -> u64 {
        self.heap_bytes + self.entries.len() as u64 * ENTRY_BYTES
    }

    fn set(&mut self, key: &[u8], value: Value) {
        self.slice_bytes += value.slice_bytes(key);
        self.heap_bytes += value.heap_bytes();
        if let Some(held) = self.entries.get_mut(key) {
            let old = std::mem::replace(held, value);
            self.slice_bytes -= old.slice_bytes(key);
            self.heap_bytes -= old.heap_bytes();
            self.forget(&old);
        } else {
            self.heap_bytes += heap_bytes(key.len());
            self.entries.insert(Bytes::copy_from_slice(key), value);
        }
    }

    fn forget(&mut self, old: &Value) {
        let Value::Large { pointer, .. } = old else { return };
        let Some(segment_bytes) = self.files.as_ref().map(|files| files.segment_bytes) else { return };
        let index = pointer.lsn.segment(segment_bytes);
        let live = self.live.get_mut(&index).expect("a large value is counted where it lives");
        *live -= u64::from(pointer.length);
        if *live == 0 {
            self.live.remove(&index);
        }
    }

    fn point(&mut self, key: &[u8], pointer: Pointer, value: Option<Bytes>) {
        let files = self.files.as_ref().expect("the table is connected to its log before values are applied");
        *self.live.entry(pointer.lsn.segment(files.segment_bytes)).or_insert(0) += u64::from(pointer.length);
        let end = Lsn(pointer.lsn.0 + u64::from(pointer.length));
        let pending = value.filter(|_| end > self.durable);
        if pending.is_some() {
            self.pending.push_back((end, Bytes::copy_from_slice(key)));
        }
        self.set(key, Value::Large { pointer, pending });
    }

    fn set_durable(&mut self, durable: Lsn) {
        self.durable = durable;
        while let Some((end, _)) = self.pending.front()
            && *end <= durable
        {
            let Some((_, key)) = self.pending.pop_front() else { return };
            if let Some(Value::Large { pointer, pending }) = self.entries.get_mut(&key)
                && pointer.lsn.0 + u64::from(pointer.length) <= durable.0
            {
                *pending = None;
            }
        }
    }

    fn read(&self, value: &Value) -> Result<Bytes, TableError> {
        match value {
            // A clone would make the bytes of the table larger, for ever.
            Value::Inline(bytes) => Ok(Bytes::copy_from_slice(bytes)),
            Value::Large { pending: Some(bytes), .. } => Ok(bytes.clone()),
            Value::Large { pointer, pending: None } => self.read_at(*pointer),
        }
    }

    fn read_at(&self, pointer: Pointer) -> Result<Bytes, TableError> {
        let files = self.files.as_ref().expect("a table with large values is connected to its log");
        let offset = pointer.lsn.offset(files.segment_bytes);
        let index = pointer.lsn.segment(files.segment_bytes);
        let corrupt = |file: String, reason: String| TableError::Corrupt { file, offset, lsn: pointer.lsn, reason };
        let Some(&slot) = files.slots.get(&index) else {
            return Err(corrupt(format!("segment {index}"), "the log has no such segment".to_owned()));
        };
        let name = || files.storage.segment_name(slot);
        match files.storage.value(slot, offset, pointer.length as usize) {
            Ok(bytes) if crc32c::crc32c(&bytes) == pointer.crc => Ok(bytes),
            Ok(_) => Err(corrupt(name(), "the value's checksum does not match".to_owned())),
            Err(error) => Err(corrupt(name(), error.to_string())),
        }
    }

    /// Most bytes that an entry adds to a walk's slice, without its key.
    fn emit_bytes(&self, value: &Value, walk: &Walk) -> usize {
        slice::ENTRY_BYTES_MAX
            + match value {
                Value::Inline(bytes) => bytes.len(),
                Value::Large { pointer, .. } if self.is_victim(pointer, walk) => pointer.length as usize,
                Value::Large { .. } => 0,
            }
    }

    fn is_victim(&self, pointer: &Pointer, walk: &Walk) -> bool {
        let segment_bytes = self.files.as_ref().map_or(u64::MAX, |files| files.segment_bytes);
        walk.victims.contains(&pointer.lsn.segment(segment_bytes))
    }

    /// Appends one entry to a walk's slice.
    fn emit(&self, key: &Bytes, value: &Value, walk: &mut Walk) {
        let (pointer, pending) = match value {
            Value::Inline(bytes) => {
                slice::emit_whole(&mut walk.bytes, key, bytes);
                return;
            }
            Value::Large { pointer, pending } => (*pointer, pending),
        };
        if !self.is_victim(&pointer, walk) {
            return slice::emit_pointer(&mut walk.bytes, key, pointer);
        }
        let bytes = pending.clone().map_or_else(|| self.read_at(pointer), Ok);
        match bytes {
            Ok(bytes) => {
                let offset = slice::emit_whole(&mut walk.bytes, key, &bytes);
                walk.moved.push(Moved { key: key.clone(), offset, value: bytes, crc: pointer.crc });
            }
            // The damaged value stays where it is, so that it is reported to whoever asks for it.
            Err(error) => {
                tracing::error!(%error, "a damaged value cannot be moved");
                slice::emit_pointer(&mut walk.bytes, key, pointer);
            }
        }
    }
}
