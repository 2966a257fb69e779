//! What a file system has, what of it is durable, and which of its operations fail. Not here: the kernel's questions (`fuse`).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::time::SystemTime;

use fuser::{FUSE_ROOT_ID, FileAttr, FileType};
use rustix::fs::OFlags;
use rustix::io::Errno;

pub(super) const SECTOR_BYTES: usize = 512;

/// What can fail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// Opening a file that exists.
    Open,
    /// Creating a file.
    Create,
    /// `fallocate`.
    Allocate,
    /// A read from the disk, past the page cache.
    Read,
    /// A write.
    Write,
    /// `fsync`, `fdatasync`, and the sync that follows each write with O_DSYNC.
    Sync,
    /// `fsync` of the directory.
    SyncDirectory,
    /// `rename`.
    Rename,
    /// `unlink`.
    Unlink,
}

/// All of them.
pub const OPERATIONS: [Operation; 9] = [
    Operation::Open,
    Operation::Create,
    Operation::Allocate,
    Operation::Read,
    Operation::Write,
    Operation::Sync,
    Operation::SyncDirectory,
    Operation::Rename,
    Operation::Unlink,
];

/// How it fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failing {
    /// With this error; nothing is done.
    With(Errno),
    /// A write does half, and the next one fails with EIO. Other operations fail with EIO.
    Short,
}

pub(super) struct File {
    /// What the file has, and what of it a power cut leaves for sure.
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Where they differ.
    dirty: Vec<Range<usize>>,
    mode: u16,
}

impl File {
    fn resize(&mut self, bytes: usize) {
        let (shorter, longer) = (bytes.min(self.now.len()), bytes.max(self.now.len()));
        self.now.resize(bytes, 0);
        self.dirty.push(shorter..longer);
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.now.len() < end {
            self.resize(end);
        }
        self.now[offset..end].copy_from_slice(data);
        self.dirty.push(offset..end);
    }

    /// Makes what is written durable.
    fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for range in self.dirty.drain(..) {
            let range = range.start.min(self.now.len())..range.end.min(self.now.len());
            self.durable[range.clone()].copy_from_slice(&self.now[range]);
        }
    }

    /// Loses what is not durable.
    fn forget(&mut self) {
        self.now.resize(self.durable.len(), 0);
        for range in self.dirty.drain(..) {
            let range = range.start.min(self.now.len())..range.end.min(self.now.len());
            self.now[range.clone()].copy_from_slice(&self.durable[range]);
        }
    }

    /// Keeps any subset of the sectors that are not durable.
    fn cut_power(&mut self, keep: &mut impl FnMut() -> bool) {
        if self.now.len() != self.durable.len() && keep() {
            self.durable.resize(self.now.len(), 0);
        }
        for range in &self.dirty {
            for at in (range.start / SECTOR_BYTES * SECTOR_BYTES..range.end).step_by(SECTOR_BYTES) {
                let end = (at + SECTOR_BYTES).min(self.now.len()).min(self.durable.len());
                if at < end && keep() {
                    self.durable[at..end].copy_from_slice(&self.now[at..end]);
                }
            }
        }
        self.forget();
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) refuses_direct: bool,
    pub(super) files: BTreeMap<u64, File>,
    pub(super) names: BTreeMap<OsString, u64>,
    pub(super) durable_names: BTreeMap<OsString, u64>,
    pub(super) counts: BTreeMap<Operation, u64>,
    pub(super) plan: Option<(Operation, u64, Failing)>,
    /// The planned failure comes again each time.
    pub(super) stays: bool,
    pub(super) broken: bool,
}

impl State {
    pub(super) fn cut_power(&mut self, seed: u64) {
        let mut random = seed;
        let mut keep = move || {
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (random ^ random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 63 == 1
        };
        for file in self.files.values_mut() {
            file.cut_power(&mut keep);
        }
        let all: Vec<OsString> = self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        for name in all {
            let (now, durable) = (self.names.get(&name).copied(), self.durable_names.get(&name).copied());
            let stays = if now != durable && keep() { now } else { durable };
            match stays {
                Some(file) => _ = self.durable_names.insert(name, file),
                None => _ = self.durable_names.remove(&name),
            }
        }
        self.names.clone_from(&self.durable_names);
        let used: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|number, _| used.contains(number));
    }

    pub(super) fn count(&self, operation: Operation) -> u64 {
        self.counts.get(&operation).copied().unwrap_or(0)
    }

    /// Counts an operation, and says how it is to fail.
    pub(super) fn begin(&mut self, operation: Operation) -> Option<Failing> {
        let count = self.counts.entry(operation).or_insert(0);
        *count += 1;
        let (count, stays) = (*count, self.stays);
        let is_due = |at: u64| at == count || (stays && at < count);
        let planned = self.plan.filter(|&(which, at, _)| which == operation && is_due(at)).map(|(.., failing)| failing);
        if planned.is_some() && !stays {
            self.plan = None;
        }
        let reads = operation == Operation::Read || operation == Operation::Open;
        planned.or((self.broken && !reads).then_some(Failing::With(Errno::IO)))
    }

    /// The same for an operation that cannot be short.
    pub(super) fn begin_whole(&mut self, operation: Operation) -> Result<(), i32> {
        match self.begin(operation) {
            None => Ok(()),
            Some(Failing::With(error)) => Err(error.raw_os_error()),
            Some(Failing::Short) => Err(Errno::IO.raw_os_error()),
        }
    }

    pub(super) fn attributes(&self, number: u64) -> Option<FileAttr> {
        let (kind, mode, bytes) = match self.files.get(&number) {
            Some(file) => (FileType::RegularFile, file.mode, file.now.len() as u64),
            None if number == FUSE_ROOT_ID => (FileType::Directory, 0o700, 0),
            None => return None,
        };
        let time = SystemTime::UNIX_EPOCH;
        Some(FileAttr {
            ino: number,
            size: bytes,
            blocks: bytes / SECTOR_BYTES as u64,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: mode,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    pub(super) fn refuses(&self, flags: i32) -> bool {
        self.refuses_direct && OFlags::from_bits_retain(flags.cast_unsigned()).contains(OFlags::DIRECT)
    }

    pub(super) fn open(&mut self, flags: i32) -> Result<(), i32> {
        self.begin_whole(Operation::Open)?;
        if self.refuses(flags) { Err(Errno::INVAL.raw_os_error()) } else { Ok(()) }
    }

    pub(super) fn create(&mut self, name: &OsStr, mode: u32, flags: i32) -> Result<FileAttr, i32> {
        self.begin_whole(Operation::Create)?;
        if self.refuses(flags) {
            return Err(Errno::INVAL.raw_os_error());
        }
        let number = self.files.keys().next_back().map_or(FUSE_ROOT_ID, |last| *last) + 1;
        self.files.insert(
            number,
            File { now: Vec::new(), durable: Vec::new(), dirty: Vec::new(), mode: (mode & 0o777) as u16 },
        );
        self.names.insert(name.to_owned(), number);
        self.attributes(number).ok_or(Errno::NOENT.raw_os_error())
    }

    pub(super) fn resize(&mut self, number: u64, bytes: usize) -> Result<(), i32> {
        let file = self.files.get_mut(&number).ok_or(Errno::NOENT.raw_os_error())?;
        file.resize(bytes);
        Ok(())
    }

    pub(super) fn allocate(&mut self, number: u64, bytes: usize) -> Result<(), i32> {
        self.begin_whole(Operation::Allocate)?;
        let larger = self.files.get(&number).map_or(0, |file| file.now.len()).max(bytes);
        self.resize(number, larger)
    }

    pub(super) fn read(&mut self, number: u64, offset: usize, bytes: usize) -> Result<Vec<u8>, i32> {
        self.begin_whole(Operation::Read)?;
        let file = self.files.get(&number).ok_or(Errno::NOENT.raw_os_error())?;
        let end = (offset + bytes).min(file.now.len());
        Ok(file.now.get(offset..end).unwrap_or_default().to_vec())
    }

    pub(super) fn write(&mut self, number: u64, offset: usize, data: &[u8]) -> Result<u32, i32> {
        let written = match self.begin(Operation::Write) {
            None => data,
            Some(Failing::With(error)) => return Err(error.raw_os_error()),
            Some(Failing::Short) => {
                // Whoever asks for the rest does not get it.
                self.plan = Some((Operation::Write, self.count(Operation::Write) + 1, Failing::With(Errno::IO)));
                &data[..data.len() / 2]
            }
        };
        self.files.get_mut(&number).ok_or(Errno::NOENT.raw_os_error())?.write(offset, written);
        Ok(written.len() as u32)
    }

    pub(super) fn sync(&mut self, number: u64) -> Result<(), i32> {
        let begun = self.begin_whole(Operation::Sync);
        let file = self.files.get_mut(&number).ok_or(Errno::NOENT.raw_os_error())?;
        match begun {
            Ok(()) => file.sync(),
            Err(_) => file.forget(),
        }
        begun
    }

    pub(super) fn sync_directory(&mut self) -> Result<(), i32> {
        self.begin_whole(Operation::SyncDirectory)?;
        self.durable_names.clone_from(&self.names);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &OsStr, to: &OsStr) -> Result<(), i32> {
        self.begin_whole(Operation::Rename)?;
        let number = self.names.remove(from).ok_or(Errno::NOENT.raw_os_error())?;
        self.names.insert(to.to_owned(), number);
        Ok(())
    }

    pub(super) fn unlink(&mut self, name: &OsStr) -> Result<(), i32> {
        self.begin_whole(Operation::Unlink)?;
        self.names.remove(name).map(|_number| ()).ok_or(Errno::NOENT.raw_os_error())
    }
}
