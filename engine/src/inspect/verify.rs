//! Whether a log is sound: recovery's own verdict, and everything that recovery does not read.
//!
//! Recovery reads from the checkpoint on. This reads every listed segment: headers, groups, their chain, records, table
//! slices, and the values that slices point at. Takes a shared lock and writes nothing.
//! Not here: what is done about it (`repair`).

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::check::Check;
use super::files::Files;
use super::strays::{Stray, strays};
use super::walk::{Skipped, Walk};
use crate::error::OpenError;
use crate::lsn::Lsn;
use crate::options::Owner;
use crate::ring::DirStorage;

/// What a log is, from best to worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Soundness {
    /// Everything is as it was written.
    Sound,
    /// The last group was begun, and nothing says that it was acknowledged; the next start cuts it off.
    TornTail,
    /// Something that was acknowledged, or a copy of it, is not what was written.
    Damaged,
}

/// One thing that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad it is; never sound.
    pub soundness: Soundness,
    /// Where, why, and up to where.
    pub place: Skipped,
}

/// What was read, and what was found.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The worst of the findings.
    pub soundness: Soundness,
    /// In the order in which they were found, at most [`crate::limits::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Further ones, which were only counted.
    pub findings_dropped: u64,
    /// Files that look like segments and are not part of the log; no damage.
    pub strays: Vec<Stray>,
    /// The log's id.
    pub log_id: u64,
    /// Whose log it is; none without a superblock.
    pub owner: Option<Owner>,
    /// How often it was opened; none without a superblock.
    pub incarnation: Option<u64>,
    /// It was stopped cleanly.
    pub clean: bool,
    /// Where replay starts; none without a superblock.
    pub checkpoint: Option<Lsn>,
    /// Where recovery ends; none if it refuses.
    pub tail: Option<Lsn>,
    /// The largest position that anything states to be durable, as far as recovery came.
    pub durable: Option<Lsn>,
    /// Segments read, before the checkpoint too.
    pub segments: u64,
    /// Valid groups.
    pub groups: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of valid groups.
    pub bytes: u64,
    /// Values that slices of the table point at, read and compared.
    pub values: u64,
    /// Bytes read from the disk, some of them twice.
    pub bytes_read: u64,
}

/// How far a check is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Bytes read.
    pub done: u64,
    /// Bytes to read, about.
    pub total: u64,
}

/// What the owner says of one of its records: the keys that it may write, or why it cannot be read.
pub type OwnerRecord<'a> = dyn FnMut(Lsn, Bytes) -> Result<Vec<Bytes>, String> + 'a;

/// Checks the log in `dir`, which nobody may have open for writing.
///
/// # Errors
/// It could not be checked: no such directory, no log, no permission, a node has it open, another format version.
pub fn verify(
    dir: &Path,
    owner: &mut OwnerRecord<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verified, OpenError> {
    let files = Files::read(Arc::new(DirStorage::open_offline(dir, false)?))?;
    let mut check = Check::new(&files, owner, progress);
    check.verified.strays = strays(dir, &files)?;
    check.superblock(&files);
    if files.segments.is_empty() {
        return Ok(check.verified);
    }
    check.sizes(&files);
    let tail = match &files.superblock {
        Ok(superblock) => check.recovery(&files.storage, superblock)?,
        Err(_) => None,
    };
    let storage = Arc::clone(&files.storage);
    let superblock = files.superblock.as_ref().ok().cloned();
    let walk = Walk::from_segment(files, Lsn::ZERO)?;
    let files = check.walk(if let Some(tail) = tail { walk.until(tail) } else { walk })?;
    check.values(&files)?;
    if let Some(superblock) = superblock.filter(|_| tail.is_some()) {
        check.unlisted(&storage, &superblock)?;
    }
    Ok(check.verified)
}
