//! Plain writes to the files of a log that nobody has open, each durable when it returns.
//!
//! Not here: what is written where (`repair`, `corrupt`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::ring::regular;

/// A file could not be read, written or synced.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {operation} failed: {source}")]
pub struct SurgeryError {
    /// The file or directory.
    pub file: String,
    /// What was tried.
    pub operation: &'static str,
    /// What the operating system answered.
    pub source: io::Error,
}

/// Zeros are written in pieces of this size, in bytes.
const PIECE_BYTES: usize = 1 << 20;

fn failed(path: &Path, operation: &'static str) -> impl FnOnce(io::Error) -> SurgeryError {
    let file = path.display().to_string();
    move |source| SurgeryError { file, operation, source }
}

/// Copies a directory with all in it to `to`, which must not exist: whole, or not at all under that name.
pub(super) fn copy_directory(from: &Path, to: &Path) -> Result<(), SurgeryError> {
    let unfinished = with_suffix(to, ".new");
    if unfinished.exists() {
        // Left by a copy that was cut off; the directory is locked, so nobody is at it.
        fs::remove_dir_all(&unfinished).map_err(failed(&unfinished, "removing an unfinished copy"))?;
    }
    if to.exists() {
        let exists = io::ErrorKind::AlreadyExists.into();
        return Err(failed(to, "copying the directory")(exists));
    }
    let copied = copy_entries(from, &unfinished).and_then(|()| {
        fs::rename(&unfinished, to).map_err(failed(to, "renaming the copy"))?;
        sync_directory(parent(to))
    });
    if copied.is_err() {
        // Gives the space back; what failed is told.
        let _ = fs::remove_dir_all(&unfinished);
    }
    copied
}

fn copy_entries(from: &Path, to: &Path) -> Result<(), SurgeryError> {
    fs::DirBuilder::new().mode(0o700).create(to).map_err(failed(to, "creating the directory"))?;
    for entry in fs::read_dir(from).map_err(failed(from, "listing the directory"))? {
        let source = entry.map_err(failed(from, "listing the directory"))?.path();
        // A file that is being made is part of no log.
        let Some(name) = source.file_name().filter(|name| !name.as_encoded_bytes().ends_with(b".new")) else {
            continue;
        };
        let target = to.join(name);
        if source.is_dir() {
            copy_entries(&source, &target)?;
        } else {
            let copied = regular::check(&source).and_then(|()| fs::copy(&source, &target));
            copied.map_err(failed(&source, "copying the file"))?;
            let synced = regular::open_to_read(&target).and_then(|file| file.sync_all());
            synced.map_err(failed(&target, "syncing the copy"))?;
        }
    }
    sync_directory(to)
}

/// Stores a file in a directory: whole, or not at all under that name.
pub(super) fn store(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), SurgeryError> {
    let path = dir.join(name);
    let unfinished = with_suffix(&path, ".new");
    let written = regular::create_anew(&unfinished, OpenOptions::new().mode(0o600)).and_then(|file| {
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)
    });
    written.map_err(failed(&path, "writing the file"))?;
    sync_directory(dir)
}

/// Writes `bytes` at `offset`.
pub(super) fn write(path: &Path, offset: u64, bytes: &[u8]) -> Result<(), SurgeryError> {
    let written = regular::open(path, OpenOptions::new().write(true)).and_then(|file| {
        file.write_all_at(bytes, offset)?;
        file.sync_all()
    });
    written.map_err(failed(path, "writing the file"))
}

/// Overwrites a range with zeros.
pub(super) fn zero(path: &str, range: Range<u64>) -> Result<(), SurgeryError> {
    let path = Path::new(path);
    let zeros = vec![0; PIECE_BYTES];
    let written = regular::open(path, OpenOptions::new().write(true)).and_then(|file| {
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(PIECE_BYTES as u64);
            file.write_all_at(&zeros[..length as usize], at)?;
            at += length;
        }
        file.sync_all()
    });
    written.map_err(failed(path, "overwriting with zeros"))
}

/// Gives a file this size, and makes it if it is missing: what it lacked is zero.
pub(super) fn resize(path: &str, bytes: u64) -> Result<(), SurgeryError> {
    let path = Path::new(path);
    let mut options = OpenOptions::new();
    let opened = regular::open(path, options.write(true).create(true).truncate(false).mode(0o600));
    let resized = opened.and_then(|file| {
        file.set_len(bytes)?;
        file.sync_all()
    });
    resized.map_err(failed(path, "giving the file its size"))?;
    sync_directory(parent(path))
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> Result<(), SurgeryError> {
    fs::remove_file(path).map_err(failed(path, "removing the file"))?;
    sync_directory(parent(path))
}

/// Gives `to` the content of `from`.
pub(super) fn replace(from: &Path, to: &Path) -> Result<(), SurgeryError> {
    let copied = regular::check(from).and_then(|()| regular::check(to)).and_then(|()| fs::copy(from, to));
    copied.map_err(failed(to, "copying the file"))?;
    let synced = regular::open_to_read(to).and_then(|file| file.sync_all());
    synced.map_err(failed(to, "syncing the file"))
}

/// Reads a range of a file.
pub(super) fn read(path: &Path, range: Range<u64>) -> Result<Vec<u8>, SurgeryError> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let read = regular::open_to_read(path).and_then(|file| file.read_exact_at(&mut bytes, range.start));
    read.map_err(failed(path, "reading the file"))?;
    Ok(bytes)
}

fn sync_directory(path: &Path) -> Result<(), SurgeryError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(failed(path, "syncing the directory"))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
