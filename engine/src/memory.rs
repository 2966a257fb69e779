//! A fake disk for tests and the simulator: files in memory, sectors that tear, operations that fail, a power cut.
//!
//! The model: what was synced stays; of a write that was not, a power cut keeps any subset of its sectors; a created or
//! deleted name that was not synced may be there or not. After a power cut every operation fails until
//! [`Memory::crash`]. An operation of [`Storage`] is as many steps as system calls of its real form (create, allocate,
//! write, sync, rename, sync the directory), each counted and each able to fail.
//! Not here: decay: use [`Memory::edit_segment`].

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::buffer::Buffer;
use crate::limits::{SECTOR_BYTES, SUPERBLOCK_BYTES};
use crate::storage::{Completion, Disk, Storage};

/// What an operation does instead of working.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It fails; of a write any subset of the sectors may be on the disk after the next power cut.
    Io,
    /// A write stops half way; other operations fail.
    Short,
    /// It finds no space; of a write any subset of the sectors may be on the disk after the next power cut.
    NoSpace,
    /// The power is cut while it runs.
    PowerCut,
    /// A write is acknowledged and nothing of it reaches the disk; other operations work.
    Lost,
    /// A write is acknowledged and reaches another place of its file; other operations work.
    Misdirected,
}

/// The shared state of a fake disk. Clones are handles of the same disk, which outlives the logs opened on it.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    superblock: Option<Vec<u8>>,
    segments: BTreeMap<u32, Vec<u8>>,
    /// Space that is set aside, by slot.
    reserved: BTreeMap<u32, u64>,
    /// Writes whose sectors may or may not survive a power cut.
    unsynced: Vec<(Target, usize, Vec<u8>)>,
    /// Names that may or may not survive a power cut: their state before.
    names: Vec<Name>,
    in_flight: VecDeque<Completion>,
    /// Writes in flight as they were issued, oldest first.
    issued: VecDeque<(u32, usize, Vec<u8>)>,
    operations: u64,
    fired: Vec<Fault>,
    faults: BTreeMap<u64, Fault>,
    off: bool,
    held: bool,
    space_bytes: Option<u64>,
    /// What a group write takes: so many microseconds, and a second for so many bytes.
    pace: Option<(u64, u64)>,
    /// Numbers that were drawn at random, here and on all copies: no two draw the same.
    draws: Arc<AtomicU64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Superblock,
    Segment(u32),
}

#[derive(Clone)]
enum Name {
    CreatedSuperblock(Vec<u8>),
    Created(u32, u64),
    Deleted(u32, Vec<u8>),
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Fault::Io | Fault::Short => io::Error::other("input/output error"),
            Fault::NoSpace => io::ErrorKind::StorageFull.into(),
            Fault::PowerCut => power_is_off(),
            Fault::Lost | Fault::Misdirected => unreachable!("a disk that lies reports no error"),
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    /// Counts a write; the fault planned for it, or an error if it cannot run at all.
    fn write_operation(&mut self) -> io::Result<Option<Fault>> {
        if self.off {
            return Err(power_is_off());
        }
        self.operations += 1;
        let fault = self.faults.remove(&self.operations);
        self.off = fault == Some(Fault::PowerCut);
        self.fired.extend(fault);
        Ok(fault)
    }

    /// Counts an operation that is not a write; a lie that was planned for it waits for the next write.
    fn operation(&mut self) -> io::Result<Option<Fault>> {
        let fault = self.write_operation()?;
        if let Some(lie @ (Fault::Lost | Fault::Misdirected)) = fault {
            self.fired.pop();
            self.faults.entry(self.operations + 1).or_insert(lie);
            return Ok(None);
        }
        Ok(fault)
    }

    /// What a disk that lies does with a write.
    fn put_falsely(&mut self, lie: Fault, target: Target, offset: usize, bytes: &[u8]) {
        let length = self.file(target).map_or(0, |file| file.len());
        if lie == Fault::Misdirected && length > bytes.len() {
            let last = length - bytes.len();
            let elsewhere = (offset + length / 2) % last / SECTOR_BYTES * SECTOR_BYTES;
            self.put(target, if elsewhere == offset { last } else { elsewhere }, bytes);
        }
    }

    /// Counts an operation that is not a write: it happens or it does not.
    fn simple_operation(&mut self) -> io::Result<()> {
        self.operation()?.map_or(Ok(()), |fault| Err(fault.error()))
    }

    /// Creates a file under another name, allocates and fills it, syncs it: the steps before it gets its name.
    fn prepare_file(&mut self) -> io::Result<()> {
        (0..4).try_for_each(|_| self.simple_operation())
    }

    /// Gives a file its name and syncs the directory. A name that is not synced, or is being given when the power is
    /// cut, may be there or not.
    fn give_name(&mut self, name: Name, give: impl FnOnce(&mut State)) -> io::Result<()> {
        match self.operation()? {
            None => {
                give(self);
                self.names.push(name);
                self.sync_directory()
            }
            Some(fault) => {
                if fault == Fault::PowerCut {
                    self.names.push(name);
                }
                Err(fault.error())
            }
        }
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.simple_operation()?;
        self.names.clear();
        Ok(())
    }

    fn file(&mut self, target: Target) -> Option<&mut Vec<u8>> {
        match target {
            Target::Superblock => self.superblock.as_mut(),
            Target::Segment(slot) => self.segments.get_mut(&slot),
        }
    }

    fn put(&mut self, target: Target, offset: usize, bytes: &[u8]) {
        if let Some(file) = self.file(target) {
            let end = offset + bytes.len();
            file.resize(file.len().max(end), 0);
            file[offset..end].copy_from_slice(bytes);
        }
    }

    /// Whether a file of so many bytes would fit.
    fn find_space(&mut self, bytes: u64) -> io::Result<()> {
        let files: u64 = self.segments.values().map(|file| file.len() as u64).sum();
        let used = files + self.reserved.values().sum::<u64>();
        if self.space_bytes.is_some_and(|space| used + bytes > space) {
            self.fired.push(Fault::NoSpace);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn segment(&self, slot: u32, offset: u64, length: usize) -> io::Result<&[u8]> {
        let file = self.segments.get(&slot).ok_or(io::ErrorKind::NotFound)?;
        let range = file.get(offset as usize..).and_then(|rest| rest.get(..length));
        range.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Memory {
    /// An empty disk without limit of space.
    #[must_use]
    pub fn new() -> Memory {
        Memory::default()
    }

    /// The disk's files.
    #[must_use]
    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    /// The disk's way to write groups.
    #[must_use]
    pub fn disk(&self) -> MemoryDisk {
        MemoryDisk(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations so far: each open, read, write, sync, allocation, rename and deletion counts.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Faults that have happened since this was last asked, the oldest first.
    #[must_use]
    pub fn take_fired(&self) -> Vec<Fault> {
        std::mem::take(&mut self.state().fired)
    }

    /// Plans a fault for the operation that is the `nth` from now, counted from 1.
    pub fn fail(&self, nth: u64, fault: Fault) {
        let mut state = self.state();
        let at = state.operations + nth;
        state.faults.insert(at, fault);
    }

    /// Forgets the faults that are planned.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Limits the space for segment files, in bytes.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.state().space_bytes = bytes;
    }

    /// Says how long a group write is reported to take: so many microseconds, and a second for so many bytes. Otherwise no time.
    pub fn set_pace(&self, fixed_us: u64, bytes_per_second: u64) {
        self.state().pace = Some((fixed_us, bytes_per_second));
    }

    /// While held, group writes do not finish; [`Memory::release`] lets single ones.
    pub fn hold(&self, held: bool) {
        self.state().held = held;
    }

    /// Finishes the oldest group write in flight although they are held; whether there was one.
    pub fn release(&self) -> bool {
        self.state().finish()
    }

    /// Group writes that were issued and have not finished.
    #[must_use]
    pub fn writes_in_flight(&self) -> usize {
        self.state().issued.len()
    }

    /// Whether a fault has cut the power.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state().off
    }

    /// Bytes of all segment files.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.state().segments.values().map(|file| file.len() as u64).sum()
    }

    /// Cuts the power and restores it: any subset of unsynced sectors survives, chosen from `seed`.
    pub fn crash(&self, seed: u64) {
        let mut random = seed;
        self.crash_choosing(&mut || {
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = random;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ mixed >> 31) & 1 == 1
        });
    }

    /// Cuts the power and restores it; `keep` is asked for each unsynced sector and name in turn whether it survives.
    pub fn crash_choosing(&self, keep: &mut dyn FnMut() -> bool) {
        let mut state = self.state();
        let issued = std::mem::take(&mut state.issued);
        let in_flight = issued.into_iter().map(|(slot, offset, bytes)| (Target::Segment(slot), offset, bytes));
        let mut writes = std::mem::take(&mut state.unsynced);
        writes.extend(in_flight);
        for (target, offset, bytes) in writes {
            for (sector, part) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if keep() {
                    state.put(target, offset + sector * SECTOR_BYTES, part);
                }
            }
        }
        for name in std::mem::take(&mut state.names) {
            match (name, keep()) {
                (Name::CreatedSuperblock(bytes), true) => _ = state.superblock.get_or_insert(bytes),
                (Name::CreatedSuperblock(_), false) => state.superblock = None,
                (Name::Created(slot, bytes), true) => {
                    state.segments.entry(slot).or_insert_with(|| vec![0; bytes as usize]);
                }
                (Name::Created(slot, _), false) | (Name::Deleted(slot, _), true) => _ = state.segments.remove(&slot),
                (Name::Deleted(slot, bytes), false) => _ = state.segments.entry(slot).or_insert(bytes),
            }
        }
        state.reserved.clear();
        state.in_flight.clear();
        state.faults.clear();
        state.off = false;
        state.held = false;
    }

    /// Changes a segment file's bytes (damage, truncation). `None` if there is no such file.
    pub fn edit_segment<T>(&self, slot: u32, edit: impl FnOnce(&mut Vec<u8>) -> T) -> Option<T> {
        self.state().segments.get_mut(&slot).map(edit)
    }

    /// Changes the superblock file's bytes. `None` if there is none.
    pub fn edit_superblock<T>(&self, edit: impl FnOnce(&mut Vec<u8>) -> T) -> Option<T> {
        self.state().superblock.as_mut().map(edit)
    }

    /// Writes the files into a directory, as a node would find them there.
    ///
    /// # Errors
    /// What the operating system answers.
    pub fn save(&self, dir: &Path) -> io::Result<()> {
        let state = self.state();
        if let Some(superblock) = &state.superblock {
            std::fs::write(dir.join(self.superblock_name()), superblock)?;
        }
        state.segments.iter().try_for_each(|(slot, file)| std::fs::write(dir.join(self.segment_name(*slot)), file))
    }

    /// Removes a segment file; whether there was one.
    pub fn remove_segment(&self, slot: u32) -> bool {
        self.state().segments.remove(&slot).is_some()
    }

    /// Removes the superblock file; whether there was one.
    pub fn remove_superblock(&self) -> bool {
        self.state().superblock.take().is_some()
    }

    /// Slots of the segment files.
    #[must_use]
    pub fn slots(&self) -> Vec<u32> {
        self.state().segments.keys().copied().collect()
    }

    /// An empty disk that draws other numbers at random than this one.
    #[must_use]
    pub fn beside(&self) -> Memory {
        Memory(Arc::new(Mutex::new(State { draws: Arc::clone(&self.state().draws), ..State::default() })))
    }

    /// A disk of its own with the same content, and the same group writes in flight. It draws other numbers at random.
    #[must_use]
    pub fn copy(&self) -> Memory {
        let state = self.state();
        Memory(Arc::new(Mutex::new(State {
            superblock: state.superblock.clone(),
            segments: state.segments.clone(),
            unsynced: state.unsynced.clone(),
            names: state.names.clone(),
            issued: state.issued.clone(),
            draws: Arc::clone(&state.draws),
            ..State::default()
        })))
    }
}

impl State {
    fn finish(&mut self) -> bool {
        let Some((slot, offset, bytes)) = self.issued.pop_front() else { return false };
        let mut buffer = Buffer::with_capacity(bytes.len());
        buffer.pad_to(bytes.len());
        buffer.content_mut().copy_from_slice(&bytes);
        let elapsed_us =
            self.pace.map_or(0, |(fixed_us, rate)| fixed_us + bytes.len() as u64 * 1_000_000 / rate.max(1));
        let result = match self.write_operation() {
            Err(error) => {
                self.unsynced.push((Target::Segment(slot), offset, bytes));
                Err(error)
            }
            Ok(None) => {
                self.put(Target::Segment(slot), offset, &bytes);
                Ok(bytes.len())
            }
            Ok(Some(Fault::Short)) => {
                self.put(Target::Segment(slot), offset, &bytes[..bytes.len() / 2]);
                Ok(bytes.len() / 2)
            }
            Ok(Some(lie @ (Fault::Lost | Fault::Misdirected))) => {
                self.put_falsely(lie, Target::Segment(slot), offset, &bytes);
                Ok(bytes.len())
            }
            Ok(Some(fault)) => {
                self.unsynced.push((Target::Segment(slot), offset, bytes));
                Err(fault.error())
            }
        };
        self.in_flight.push_back(Completion { result, buffer, elapsed_us });
        true
    }
}

/// Writes groups to a [`Memory`]: a write finishes when it is asked for, unless writes are held.
pub struct MemoryDisk(Memory);

impl Disk for MemoryDisk {
    fn write(&mut self, slot: u32, offset: u64, buffer: Buffer) {
        assert!(buffer.is_aligned() && buffer.len().is_multiple_of(SECTOR_BYTES));
        self.0.state().issued.push_back((slot, offset as usize, buffer.content().to_vec()));
    }

    fn reap(&mut self) -> Option<Completion> {
        let mut state = self.0.state();
        if !state.held {
            state.finish();
        }
        state.in_flight.pop_front()
    }
}

impl Storage for Memory {
    fn random_u64(&self) -> u64 {
        0x6c6f_6701 + self.state().draws.fetch_add(1, Ordering::Relaxed)
    }

    fn superblock_read(&self) -> io::Result<Option<Vec<u8>>> {
        let mut state = self.state();
        state.simple_operation()?;
        Ok(state.superblock.clone())
    }

    fn superblock_create(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.prepare_file()?;
        state.give_name(Name::CreatedSuperblock(bytes.to_vec()), |state| state.superblock = Some(bytes.to_vec()))
    }

    fn superblock_write(&self, copy: usize, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let (target, offset) = (Target::Superblock, copy * SUPERBLOCK_BYTES);
        state.simple_operation()?;
        match state.write_operation()? {
            None => {}
            Some(lie @ (Fault::Lost | Fault::Misdirected)) => {
                state.put_falsely(lie, target, offset, bytes);
                return Ok(());
            }
            Some(Fault::Short) => {
                // The rest is written in a second attempt, which fails.
                state.put(target, offset, &bytes[..bytes.len() / 2]);
                return Err(Fault::Short.error());
            }
            Some(fault) => {
                state.unsynced.push((target, offset, bytes.to_vec()));
                return Err(fault.error());
            }
        }
        if let Err(error) = state.simple_operation() {
            state.unsynced.push((target, offset, bytes.to_vec()));
            return Err(error);
        }
        state.put(target, offset, bytes);
        Ok(())
    }

    fn segments(&self) -> io::Result<BTreeMap<u32, u64>> {
        let mut state = self.state();
        state.simple_operation()?;
        state.reserved.clear();
        state.sync_directory()?;
        Ok(state.segments.iter().map(|(&slot, file)| (slot, file.len() as u64)).collect())
    }

    fn segment_reserve(&self, slot: u32, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        assert!(!state.segments.contains_key(&slot), "slot {slot} has a file");
        state.find_space(bytes)?;
        // It is created, and allocated.
        state.simple_operation()?;
        state.simple_operation()?;
        state.reserved.insert(slot, bytes);
        Ok(())
    }

    fn segment_create(&self, slot: u32, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        if state.segments.contains_key(&slot) {
            state.sync_directory()?;
        } else {
            if !state.reserved.contains_key(&slot) {
                state.find_space(bytes)?;
            }
            state.prepare_file()?;
            state.give_name(Name::Created(slot, bytes), |state| {
                state.reserved.remove(&slot);
                state.segments.insert(slot, vec![0; bytes as usize]);
            })?;
        }
        state.simple_operation()
    }

    fn segment_delete(&self, slot: u32) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.operation()?;
        if fault.is_none_or(|fault| fault == Fault::PowerCut)
            && let Some(file) = state.segments.remove(&slot)
        {
            state.names.push(Name::Deleted(slot, file));
        }
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn segment_read(&self, slot: u32, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.simple_operation()?;
        into.copy_from_slice(state.segment(slot, offset, into.len())?);
        Ok(())
    }

    fn segment_sync(&self, _slot: u32) -> io::Result<()> {
        self.state().simple_operation()
    }

    fn segment_warm(&self, _slot: u32) {}

    fn value(&self, slot: u32, offset: u64, length: usize) -> io::Result<Bytes> {
        self.state().segment(slot, offset, length).map(Bytes::copy_from_slice)
    }

    fn is_direct(&self) -> bool {
        true
    }

    fn superblock_name(&self) -> String {
        "superblock".to_owned()
    }

    fn segment_name(&self, slot: u32) -> String {
        format!("segment-{slot:04}")
    }
}
