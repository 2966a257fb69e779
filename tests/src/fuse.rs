//! A file system whose operations fail when told to, and whose power can be cut: files in memory, mounted through FUSE, so
//! that the real code makes real system calls on it. Needs root and `/dev/fuse`.
//!
//! The model is that of a strict disk: what was written is durable when its file is synced, a name when the directory is. A
//! sync that fails drops what it was to make durable, while the kernel's page cache goes on showing it (as after a failed
//! writeback). A power cut keeps any subset of unsynced sectors and names. One directory, without subdirectories.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    BackgroundSession, FileType, Filesystem, MountOption, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow,
};
use rustix::io::Errno;

mod model;

use model::State;
pub use model::{Failing, OPERATIONS, Operation};

/// The kernel may keep what it was told of names and sizes: nobody changes them behind its back.
const KEPT: Duration = Duration::from_secs(3600);

/// Data stay in the page cache when a file is closed and opened again, as they do on a disk.
const FOPEN_KEEP_CACHE: u32 = 2;

/// How long an unmount waits for files that are being closed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The file system. Clones are the same one, which outlives its mounts.
#[derive(Clone, Default)]
pub struct FaultyFiles(Arc<Mutex<State>>);

impl FaultyFiles {
    /// An empty file system, which takes O_DIRECT or refuses it.
    pub fn new(takes_direct: bool) -> Self {
        let files = Self::default();
        files.state().refuses_direct = !takes_direct;
        files
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it refuses O_DIRECT.
    pub fn refuses_direct(&self) -> bool {
        self.state().refuses_direct
    }

    /// Mounts it; the kernel has nothing of it in its caches.
    ///
    /// # Errors
    /// What the system says: no `/dev/fuse`, no right to mount.
    pub fn mount(&self, at: &Path) -> io::Result<Mounted> {
        let options = [MountOption::FSName("faulty".to_owned()), MountOption::NoDev, MountOption::NoExec];
        let session = fuser::spawn_mount2(self.clone(), at, &options)?;
        Ok(Mounted { session: Some(session), at: at.to_owned() })
    }

    /// Lets the `nth` operation of a kind from now on fail, counted from 1.
    pub fn fail(&self, operation: Operation, nth: u64, failing: Failing) {
        let mut state = self.state();
        let at = state.count(operation) + nth;
        state.plan = Some((operation, at, failing));
    }

    /// Lets all operations of a kind fail from the `nth` from now on.
    pub fn fail_on(&self, operation: Operation, nth: u64, failing: Failing) {
        self.fail(operation, nth, failing);
        self.state().stays = true;
    }

    /// Every operation that writes fails from now on, until [`FaultyFiles::heal`].
    pub fn break_down(&self) {
        self.state().broken = true;
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.plan, state.stays, state.broken) = (None, false, false);
    }

    /// How many operations of a kind there have been.
    pub fn count(&self, operation: Operation) -> u64 {
        self.state().count(operation)
    }

    /// A power cut, while nothing is mounted: of what was not synced any subset stays, chosen from `seed`.
    pub fn cut_power(&self, seed: u64) {
        self.state().cut_power(seed);
    }
}

fn answer(reply: ReplyEmpty, result: Result<(), i32>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for FaultyFiles {
    fn lookup(&mut self, _: &Request<'_>, _parent: u64, name: &OsStr, reply: ReplyEntry) {
        let state = self.state();
        match state.names.get(name).and_then(|&number| state.attributes(number)) {
            Some(attributes) => reply.entry(&KEPT, &attributes, 0),
            None => reply.error(Errno::NOENT.raw_os_error()),
        }
    }

    fn getattr(&mut self, _: &Request<'_>, number: u64, _handle: Option<u64>, reply: ReplyAttr) {
        match self.state().attributes(number) {
            Some(attributes) => reply.attr(&KEPT, &attributes),
            None => reply.error(Errno::NOENT.raw_os_error()),
        }
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        number: u64,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        bytes: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<u64>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<u32>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        let resized = bytes.map_or(Ok(()), |bytes| state.resize(number, bytes as usize));
        match (resized, state.attributes(number)) {
            (Ok(()), Some(attributes)) => reply.attr(&KEPT, &attributes),
            (Ok(()), None) => reply.error(Errno::NOENT.raw_os_error()),
            (Err(error), _) => reply.error(error),
        }
    }

    fn open(&mut self, _: &Request<'_>, _number: u64, flags: i32, reply: ReplyOpen) {
        match self.state().open(flags) {
            Ok(()) => reply.opened(0, FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &mut self,
        _: &Request<'_>,
        _parent: u64,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        match self.state().create(name, mode & !umask, flags) {
            Ok(attributes) => reply.created(&KEPT, &attributes, 0, 0, FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(&mut self, _: &Request<'_>, number: u64, _: u64, offset: i64, bytes: i64, _: i32, reply: ReplyEmpty) {
        answer(reply, self.state().allocate(number, (offset + bytes) as usize));
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        number: u64,
        _handle: u64,
        offset: i64,
        bytes: u32,
        _flags: i32,
        _lock_owner: Option<u64>,
        reply: ReplyData,
    ) {
        match self.state().read(number, offset as usize, bytes as usize) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        number: u64,
        _handle: u64,
        offset: i64,
        data: &[u8],
        _write_flags: u32,
        _flags: i32,
        _lock_owner: Option<u64>,
        reply: ReplyWrite,
    ) {
        match self.state().write(number, offset as usize, data) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&mut self, _: &Request<'_>, _number: u64, _handle: u64, _lock_owner: u64, reply: ReplyEmpty) {
        // Asked once and never again: a process that ends while it serves its own mount could not answer.
        reply.error(Errno::NOSYS.raw_os_error());
    }

    fn fsync(&mut self, _: &Request<'_>, number: u64, _handle: u64, _data_only: bool, reply: ReplyEmpty) {
        answer(reply, self.state().sync(number));
    }

    fn fsyncdir(&mut self, _: &Request<'_>, _number: u64, _handle: u64, _data_only: bool, reply: ReplyEmpty) {
        answer(reply, self.state().sync_directory());
    }

    fn rename(&mut self, _: &Request<'_>, _: u64, from: &OsStr, _: u64, to: &OsStr, _: u32, reply: ReplyEmpty) {
        answer(reply, self.state().rename(from, to));
    }

    fn unlink(&mut self, _: &Request<'_>, _parent: u64, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.state().unlink(name));
    }

    fn readdir(&mut self, _: &Request<'_>, _number: u64, _handle: u64, offset: i64, mut reply: ReplyDirectory) {
        let state = self.state();
        for (at, (name, &number)) in state.names.iter().enumerate().skip(offset as usize) {
            if reply.add(number, at as i64 + 1, FileType::RegularFile, name) {
                break;
            }
        }
        reply.ok();
    }
}

/// A mount, which ends with its value.
pub struct Mounted {
    session: Option<BackgroundSession>,
    at: PathBuf,
}

impl Mounted {
    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let patience = Instant::now() + PATIENCE;
        loop {
            match rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::empty()) {
                Err(Errno::BUSY) if Instant::now() < patience => std::thread::sleep(Duration::from_millis(1)),
                Err(Errno::BUSY) => {
                    // Gone from the tree at least; a test that left files open fails at what it does next.
                    let _ = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
                    return;
                }
                Ok(()) | Err(_) => break,
            }
        }
        let Some(BackgroundSession { guard, .. }) = self.session.take() else { return };
        let served = guard.join();
        // The kernel ends a session in either way.
        let has_ended = |error: &io::Error| Errno::from_io_error(error) == Some(Errno::CONNABORTED);
        let is_sound = matches!(&served, Ok(Ok(()))) || matches!(&served, Ok(Err(error)) if has_ended(error));
        assert!(is_sound || std::thread::panicking(), "the file system was not served to its end: {served:?}");
    }
}
