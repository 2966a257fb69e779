//! A read-only memory map of a segment file.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps a segment file to be read.
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and shared, and bytes are copied out of it before they are looked at, so a concurrent
    // write of a group through the same file can change only bytes that nobody reads: values are read only when their
    // record is durable, and a durable block is not written again while the superblock lists its segment. A segment file
    // keeps its size from creation to deletion, and the directory is locked against other processes of this program; a
    // foreign process that truncates it, or a disk that loses a page between its reading ahead and its use, makes the
    // read fail with SIGBUS, which stops the node without harm to the log.
    let map = unsafe { Mmap::map(file) }?;
    Ok(map)
}
