//! What can go wrong, with the place and what to do about it.

use std::io;

use crate::lsn::Lsn;
use crate::options::Owner;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory open.
    #[error("{dir}: another process has this data directory open; stop it, or choose another directory")]
    Locked {
        /// The directory.
        dir: String,
    },
    /// The directory belongs to another node.
    #[error("this data directory belongs to {found}, not to {expected}; choose the node's own directory")]
    WrongOwner {
        /// Who the directory says it belongs to.
        found: Owner,
        /// Who tried to open it.
        expected: Owner,
    },
    /// The directory was written by a later release.
    #[error("{file}: format version {found} is newer than {supported}; open it with the release that wrote it")]
    NewerFormat {
        /// The file that says so.
        file: String,
        /// Its version.
        found: u32,
        /// The newest version that this release reads.
        supported: u32,
    },
    /// Acknowledged data is damaged or missing.
    #[error(
        "{file}: offset {offset} (LSN {lsn}): {reason}; data that was acknowledged is damaged: \
         restore this directory from a replica or a backup, do not delete files from it"
    )]
    Corrupt {
        /// The damaged or missing file.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// Where in the log.
        lsn: Lsn,
        /// What is wrong there.
        reason: String,
    },
    /// The options break a limit.
    #[error("{0}")]
    BadOptions(String),
    /// The operating system refused.
    #[error("{file}: {operation} failed: {source}")]
    Io {
        /// The file or directory.
        file: String,
        /// What was tried.
        operation: &'static str,
        /// What it answered.
        source: io::Error,
    },
}

/// Why a log stopped. The first failure is final: the node must stop and open the log anew.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// A write or a sync failed. Nothing after `durable` may be taken as written.
    #[error("{file}: writing at LSN {lsn} failed: {reason}; nothing after it is durable, restart the node")]
    Write {
        /// The file.
        file: String,
        /// The group's position.
        lsn: Lsn,
        /// What the operating system answered.
        reason: String,
    },
    /// A superblock or a segment file could not be written.
    #[error("{file}: {operation} failed: {reason}; the log has stopped, restart the node")]
    Worker {
        /// The file.
        file: String,
        /// What was tried.
        operation: &'static str,
        /// What the operating system answered.
        reason: String,
    },
    /// The owner kept appending although there was no room.
    #[error("{queued} bytes wait for the disk at LSN {lsn}; the owner appends although room is scarce")]
    Overrun {
        /// Bytes that wait.
        queued: usize,
        /// Where the log's end is.
        lsn: Lsn,
    },
}

/// Why a value cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TableError {
    /// The value's bytes are not what was written.
    #[error("{file}: offset {offset} (LSN {lsn}): {reason}; the value is damaged: restore from a replica or a backup")]
    Corrupt {
        /// The file.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// Where in the log.
        lsn: Lsn,
        /// What is wrong there.
        reason: String,
    },
}
