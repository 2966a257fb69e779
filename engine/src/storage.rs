//! The way to the kernel: two narrow traits, so that faults wrap them and a fake replaces them.
//!
//! [`Disk`] writes groups without blocking; [`Storage`] does everything else, blocking, and is called at open and by the
//! background worker only (and by the table, to read a large value). Real forms: `ring`. Fake: `memory`.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use rustix::io::Errno;

use crate::buffer::Buffer;

/// A finished write.
#[derive(Debug)]
pub struct Completion {
    /// Bytes that are durable, or why not.
    pub result: io::Result<usize>,
    /// The buffer, given back.
    pub buffer: Buffer,
    /// From issue to completion, in microseconds.
    pub elapsed_us: u64,
}

/// Durable writes of whole groups, finished in the order in which they were started.
pub trait Disk {
    /// Starts a durable write of the buffer's content at `offset` of the segment in `slot`. Never blocks.
    fn write(&mut self, slot: u32, offset: u64, buffer: Buffer);

    /// The next finished write, if there is one.
    fn reap(&mut self) -> Option<Completion>;
}

/// Blocking operations on the files of a log. A write is durable when it returns.
pub trait Storage: Send + Sync {
    /// A number that differs between logs, for the log's id.
    fn random_u64(&self) -> u64;

    /// The superblock file's bytes; `None` if there is no such file.
    ///
    /// # Errors
    /// What the operating system answers.
    fn superblock_read(&self) -> io::Result<Option<Vec<u8>>>;

    /// Creates the superblock file with this content, whole or not at all.
    ///
    /// # Errors
    /// What the operating system answers.
    fn superblock_create(&self, bytes: &[u8]) -> io::Result<()>;

    /// Writes one copy (0 or 1) of the superblock.
    ///
    /// # Errors
    /// What the operating system answers.
    fn superblock_write(&self, copy: usize, bytes: &[u8]) -> io::Result<()>;

    /// The segment files that exist whole, under names that are durable: slot and size in bytes. Unfinished ones are
    /// removed.
    ///
    /// # Errors
    /// What the operating system answers.
    fn segments(&self) -> io::Result<BTreeMap<u32, u64>>;

    /// Sets aside the space for the segment file of `slot`, which does not exist: [`Storage::segment_create`] then needs none.
    /// It is not a segment file, and the next open gives it back.
    ///
    /// # Errors
    /// What the operating system answers; `StorageFull` and the like are retried later by the caller.
    fn segment_reserve(&self, slot: u32, bytes: u64) -> io::Result<()>;

    /// Makes the segment file of `slot` ready to be written: creates it zero-filled, whole or not at all, or opens it if
    /// it exists.
    ///
    /// # Errors
    /// What the operating system answers; `StorageFull` and the like are retried later by the caller.
    fn segment_create(&self, slot: u32, bytes: u64) -> io::Result<()>;

    /// Deletes a segment file.
    ///
    /// # Errors
    /// What the operating system answers.
    fn segment_delete(&self, slot: u32) -> io::Result<()>;

    /// Fills `into` from the disk, past the page cache where possible. `into` is aligned and whole blocks long.
    ///
    /// # Errors
    /// What the operating system answers; `UnexpectedEof` past the file's end.
    fn segment_read(&self, slot: u32, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Makes all that was written to the segment durable.
    ///
    /// # Errors
    /// What the operating system answers.
    fn segment_sync(&self, slot: u32) -> io::Result<()>;

    /// Brings the segment into the page cache, so that [`Storage::value`] does not wait. A hint: failures are ignored.
    fn segment_warm(&self, slot: u32);

    /// Copies `length` bytes at `offset` of a segment, through the page cache.
    ///
    /// # Errors
    /// What the operating system answers; `UnexpectedEof` past the file's end.
    fn value(&self, slot: u32, offset: u64, length: usize) -> io::Result<Bytes>;

    /// Whether groups bypass the page cache.
    fn is_direct(&self) -> bool;

    /// Name of the superblock file, for messages.
    fn superblock_name(&self) -> String;

    /// Name of a segment file, for messages.
    fn segment_name(&self, slot: u32) -> String;
}

/// A read that failed, and where in its file.
#[derive(Debug, thiserror::Error)]
#[error("offset {offset}: {source}")]
pub struct ReadFailed {
    /// Where, in bytes.
    pub offset: u64,
    /// What the operating system answered.
    pub source: io::Error,
}

/// Whether an error says that the disk is broken, and not that something has to be set or made room for.
pub(crate) fn is_broken(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<ReadFailed>());
    let broken = [Errno::IO, Errno::NXIO, Errno::NODEV, Errno::BADMSG, Errno::UCLEAN, Errno::NODATA, Errno::REMOTEIO];
    let number = Errno::from_io_error(cause.map_or(error, |failed| &failed.source));
    number.is_some_and(|number| broken.contains(&number))
}

/// Whether an error says that there is no space now, which may change.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let kind = error.kind();
    kind == StorageFull || kind == QuotaExceeded || kind == FileTooLarge
}
