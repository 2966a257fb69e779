//! Why a node does not run, or had to stop. Each error is one line that says what happened, where,
//! and what to do. Not here: why one connection was closed (`connection`).

use std::io;
use std::path::PathBuf;

use engine::{LogError, Lsn, OpenError};
use protocol::{Malformed, StartError};

/// Why a node does not run, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The kernel, or what confines this process, refuses io_uring.
    #[error("io_uring is refused ({call}: {source}): {advice}")]
    Ring {
        /// The system call.
        call: &'static str,
        /// What the system said.
        source: io::Error,
        /// Which setting, and what to change.
        advice: &'static str,
    },
    /// The limit of open files leaves no room for connections.
    #[error(
        "the limit of open files is {open_files_max}, and this node needs at least {needed}: \
         raise it (ulimit -n, LimitNOFILE= of systemd)"
    )]
    Descriptors {
        /// The limit.
        open_files_max: u64,
        /// What the log, the node and a few connections need.
        needed: u64,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({source}): {advice}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The data directory cannot be used.
    #[error("{}: {source}", data.display())]
    Open {
        /// The data directory.
        data: PathBuf,
        /// Why not.
        source: OpenError,
    },
    /// A record in the log is whole, and not one that this release writes.
    #[error(
        "{}: the record at LSN {at} is not one that this release knows ({source}): \
         run the release that wrote it, or restore the directory from a backup", data.display()
    )]
    Replay {
        /// The data directory.
        data: PathBuf,
        /// Where the record stands.
        at: Lsn,
        /// What is wrong with it.
        source: Malformed,
    },
    /// The configuration does not fit what the log holds.
    #[error("{}: {source}", data.display())]
    Start {
        /// The data directory.
        data: PathBuf,
        /// Why not.
        source: StartError,
    },
    /// The log has failed. Nothing was acknowledged after it; the node has to be started anew.
    #[error("the log has failed, and the node has stopped: {0}")]
    Disk(#[from] LogError),
    /// The disk did not finish in time.
    #[error("{}: the disk did not finish {what} within {seconds} s: see whether it still works, then start again", data.display())]
    DiskSlow {
        /// The data directory.
        data: PathBuf,
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
    /// The system refuses something else that a node needs.
    #[error("the system refuses {what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl NodeError {
    /// Whether the log failed while the node was running: an operator has to look at the disk.
    #[must_use]
    pub fn is_disk_failure(&self) -> bool {
        match self {
            Self::Disk(_) | Self::DiskSlow { .. } => true,
            Self::Ring { .. }
            | Self::Descriptors { .. }
            | Self::Listen { .. }
            | Self::Open { .. }
            | Self::Replay { .. }
            | Self::Start { .. }
            | Self::System { .. } => false,
        }
    }

    pub(crate) fn listen(address: &str, source: io::Error) -> Self {
        let kind = source.kind();
        let advice = if kind == io::ErrorKind::AddrInUse {
            "another process listens there; stop it, or choose another port"
        } else if kind == io::ErrorKind::PermissionDenied {
            "ports below 1024 need a privilege; choose a higher one"
        } else {
            "choose an address of this machine, like 127.0.0.1:7101"
        };
        Self::Listen { address: address.to_owned(), source, advice }
    }
}
