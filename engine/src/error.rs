//! What can go wrong, with the place and what to do about it.

use std::io;

use crate::lsn::Lsn;
use crate::options::Owner;
use crate::ring::regular::NotRegular;
use crate::storage::is_broken;
use crate::verdict::Rule;

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
    /// The directory was written by a release with another format.
    #[error(
        "{file}: the log has format version {found}, and this release reads version {supported} alone; \
         open it with the release that wrote it"
    )]
    OtherFormat {
        /// The file that says so.
        file: String,
        /// Its version.
        found: u32,
        /// The version that this release reads.
        supported: u32,
    },
    /// Acknowledged data is damaged or missing.
    #[error(
        "{file}: offset {offset} (LSN {lsn}): {rule}: {reason}; data that was acknowledged is damaged: \
         restore this directory from a backup, do not delete files from it"
    )]
    Corrupt {
        /// The damaged or missing file.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// Where in the log.
        lsn: Lsn,
        /// The row of the decision table.
        rule: Rule,
        /// What is wrong there.
        reason: String,
    },
    /// The options break a limit.
    #[error("{0}")]
    BadOptions(String),
    /// Something else has the name of a file of the log.
    #[error(
        "{file}: this is no regular file; the log of a node is made of regular files, take it away or put the file back"
    )]
    NotRegular {
        /// Its path.
        file: String,
    },
    /// The operating system refused.
    #[error("{file}: {operation} failed: {source}{}", advice_at_open(source))]
    Io {
        /// The file or directory.
        file: String,
        /// What was tried.
        operation: &'static str,
        /// What it answered.
        source: io::Error,
    },
}

impl OpenError {
    /// What the operating system, or what the name was found to stand for, keeps from being done.
    pub(crate) fn io(file: String, operation: &'static str, source: io::Error) -> Self {
        match source.get_ref().and_then(|inner| inner.downcast_ref::<NotRegular>()) {
            Some(NotRegular { file }) => Self::NotRegular { file: file.clone() },
            None => Self::Io { file, operation, source },
        }
    }

    /// Whether an operator has to look at the disk: the log is damaged, or cannot be read or written.
    #[must_use]
    pub fn is_disk_failure(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Io { source, .. } => is_broken(source),
            Self::Locked { .. }
            | Self::WrongOwner { .. }
            | Self::OtherFormat { .. }
            | Self::BadOptions(_)
            | Self::NotRegular { .. } => false,
        }
    }
}

/// What to do about an error, where it is known.
fn known_advice(error: &io::Error) -> Option<&'static str> {
    let kind = error.kind();
    if kind == io::ErrorKind::StorageFull {
        Some("make space on its file system")
    } else if kind == io::ErrorKind::QuotaExceeded {
        Some("raise the quota of its owner, or make space")
    } else if kind == io::ErrorKind::FileTooLarge {
        Some("raise the limit of file sizes (ulimit -f, LimitFSIZE=)")
    } else {
        is_broken(error).then_some("see what the kernel says of the disk (dmesg)")
    }
}

fn advice_at_open(error: &io::Error) -> String {
    known_advice(error).map_or_else(String::new, |advice| format!("; {advice}, then start again"))
}

/// What to do about a log that an error has stopped; starting the node again is part of it.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    known_advice(error).unwrap_or("see whether its disk still works")
}

/// What to do where a write was cut short without an error.
pub(crate) const ADVICE_SHORT: &str = "see that there is space, and no limit of file sizes below the size of a segment";

/// Why a log stopped. The first failure is final: the node must stop and open the log anew.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// A write or a sync failed. Nothing after `durable` may be taken as written.
    #[error(
        "{file}: writing at LSN {lsn} failed: {reason}; nothing after it is durable or acknowledged: \
         {advice}, then start the node again"
    )]
    Write {
        /// The file.
        file: String,
        /// The group's position.
        lsn: Lsn,
        /// What the operating system answered.
        reason: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// A superblock or a segment file could not be written.
    #[error("{file}: {operation} failed: {reason}; the log has stopped: {advice}, then start the node again")]
    Worker {
        /// The file.
        file: String,
        /// What was tried.
        operation: &'static str,
        /// What the operating system answered.
        reason: String,
        /// What to do about it.
        advice: &'static str,
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
    #[error("{file}: offset {offset} (LSN {lsn}): {reason}; the value is damaged: restore from a backup")]
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
