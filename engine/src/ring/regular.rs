//! Opening the files of a log by their names.
//!
//! Invariant: no open waits for somebody. In place of a file there may be a FIFO, whose opening waits for its other end, or a
//! device, whose opening may do anything: only a regular file is opened. Not here: which file is what (`dir`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Something else than a regular file has the name of one.
#[derive(Debug, thiserror::Error)]
#[error("{file} is no regular file")]
pub(crate) struct NotRegular {
    /// Its path.
    pub(crate) file: String,
}

/// Opens a regular file, as `options` say.
///
/// # Errors
/// [`NotRegular`], and what the operating system answers.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    check(path)?;
    options.open(path)
}

/// Opens a regular file to be read.
///
/// # Errors
/// [`NotRegular`], and what the operating system answers.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true))
}

/// Refuses what is there and no regular file.
///
/// # Errors
/// [`NotRegular`].
pub(crate) fn check(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(refused(path)),
        // What keeps it from being looked at keeps it from being opened, too.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The error for something that is no regular file.
pub(crate) fn refused(path: &Path) -> io::Error {
    io::Error::other(NotRegular { file: path.display().to_string() })
}

/// Creates a file, in place of what an attempt before may have left under the name.
///
/// # Errors
/// What the operating system answers.
pub(crate) fn create_anew(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    options.write(true).create_new(true).open(path)
}
