//! Reads a segment file from the disk itself, beside the log that has it open.
//!
//! Invariant: what is given was read from the disk, not from pages that this machine happens to keep: past the page cache
//! where the file system takes O_DIRECT, else after the kept pages were dropped. Not here: what the bytes mean (`scrub`).

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags, fadvise};

use super::dir::segment_path;
use super::regular;
use crate::buffer::Buffer;

/// A segment file that is read past the page cache. Takes no lock: it is for the process that has the log open, or for a copy.
#[derive(Debug)]
pub struct SegmentReader {
    path: PathBuf,
    file: File,
    direct: bool,
}

impl SegmentReader {
    /// Opens the file of `slot` in the data directory `dir`.
    ///
    /// # Errors
    /// What the operating system answers.
    pub fn open(dir: &Path, slot: u32) -> io::Result<SegmentReader> {
        let path = segment_path(dir, slot);
        let flags = OFlags::DIRECT.bits().cast_signed();
        match regular::open(&path, OpenOptions::new().read(true).custom_flags(flags)) {
            Ok(file) => Ok(SegmentReader { path, file, direct: true }),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let file = regular::open_to_read(&path)?;
                Ok(SegmentReader { path, file, direct: false })
            }
            Err(error) => Err(error),
        }
    }

    /// The file of `slot` in the data directory `dir`.
    #[must_use]
    pub fn path_of(dir: &Path, slot: u32) -> PathBuf {
        segment_path(dir, slot)
    }

    /// Fills `into`, whole blocks long, with the bytes at `offset`.
    ///
    /// # Errors
    /// What the operating system answers; `UnexpectedEof` past the file's end.
    pub fn read(&mut self, offset: u64, into: &mut Buffer) -> io::Result<()> {
        assert!(into.is_aligned(), "O_DIRECT needs aligned memory");
        if self.direct {
            match self.file.read_exact_at(into.content_mut(), offset) {
                // Some file systems take the flag and refuse the read.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.file = regular::open_to_read(&self.path)?;
                    self.direct = false;
                }
                done => return done,
            }
        }
        fadvise(&self.file, offset, NonZeroU64::new(into.len() as u64), Advice::DontNeed)?;
        self.file.read_exact_at(into.content_mut(), offset)
    }
}
