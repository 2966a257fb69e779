//! The content of a log, as far as it can be read.
//!
//! Takes no lock: a log that is open elsewhere is seen as of about now. Not here: whether it can be opened (`verify`).

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use seam::Logged;

use super::files::Files;
use super::strays::{Stray, strays};
use super::walk::{Cause, End, Skipped, Step, Walk};
use crate::error::OpenError;
use crate::group::{self, GroupInfo, RecordInGroup, RecordKind};
use crate::lsn::Lsn;
use crate::options::Owner;
use crate::recovery::Cut;
use crate::ring::DirStorage;
use crate::storage::Storage;
use crate::verdict::{Rule, Verdict};

/// What a dump visits, in log order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DumpItem {
    /// A group; its records follow.
    Group(GroupInfo),
    /// A record.
    Record {
        /// Which record it is, and where it lies.
        at: Logged,
        /// What it is.
        kind: RecordKind,
        /// Its bytes.
        payload: Bytes,
    },
    /// A part that cannot be read, or not be believed; what follows is sound.
    Skipped(Skipped),
    /// The last group was begun and never finished; the log ends before it.
    Torn(Cut),
}

/// The content of a log. Holds one segment in memory.
pub struct Dump {
    walk: Option<Walk>,
    /// What ends before is left out.
    from: Lsn,
    /// Whose log it is, and the begin record of the checkpoint that holds, if the superblock tells.
    owner: Option<(Owner, Lsn)>,
    strays: Vec<Stray>,
    /// Items of the step that was taken last.
    items: VecDeque<DumpItem>,
}

impl Dump {
    /// Whose log it is; `None` without a valid superblock.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.owner.map(|(owner, _)| owner)
    }

    /// The begin record of the checkpoint from which a start replays: 0 if there was none, `None` without a valid superblock.
    #[must_use]
    pub fn begin(&self) -> Option<Lsn> {
        self.owner.map(|(_, begin)| begin)
    }

    /// Files that look like segments and are not part of the log.
    #[must_use]
    pub fn strays(&self) -> &[Stray] {
        &self.strays
    }

    fn advance(&mut self) -> Result<(), OpenError> {
        while self.items.is_empty() {
            let Some(walk) = &mut self.walk else { return Ok(()) };
            match walk.next()? {
                Some(Step::Group(info)) if info.end() <= self.from => {}
                Some(Step::Group(info)) => read_group(walk, &info, &mut self.items),
                Some(Step::Skipped(skipped)) if skipped.to <= self.from => {}
                Some(Step::Skipped(skipped)) => self.items.push_back(DumpItem::Skipped(skipped)),
                Some(Step::End(end)) => self.items.extend(at_end(end)),
                None => self.walk = None,
            }
        }
        Ok(())
    }
}

/// The group and its records; or that they contradict it.
pub(super) fn read_group(walk: &Walk, info: &GroupInfo, items: &mut VecDeque<DumpItem>) {
    let before = items.len();
    items.push_back(DumpItem::Group(*info));
    let group = walk.bytes(info);
    let read = group::records::<()>(group, info, &mut |RecordInGroup { offset, kind, position, payload }| {
        let at = Logged { position, place: Lsn(info.lsn.0 + offset as u64).into() };
        items.push_back(DumpItem::Record { at, kind, payload: Bytes::copy_from_slice(payload) });
        Ok(())
    });
    if read.is_none() {
        items.truncate(before);
        items.push_back(DumpItem::Skipped(contradiction(walk, info)));
    }
}

/// A valid group whose records do not fill it.
pub(super) fn contradiction(walk: &Walk, info: &GroupInfo) -> Skipped {
    Skipped {
        file: walk.files.name(walk.segment()),
        offset: info.lsn.offset(walk.files.segment_bytes),
        from: info.lsn,
        to: info.end(),
        cause: Cause::Rule(Rule::RecordsContradict),
        reason: "the group's records contradict its header".to_owned(),
        resumed: false,
    }
}

fn at_end(end: End) -> Option<DumpItem> {
    let End { at: from, rule, begun, durable, file, offset, cause, reason } = end;
    match rule.verdict() {
        Verdict::Accept | Verdict::Ignore => None,
        Verdict::Cut => Some(DumpItem::Torn(Cut { file, offset, from, to: Lsn(from.0 + begun), rule, reason })),
        Verdict::Refuse => {
            let reason = format!("{reason}, and all before LSN {durable} was durable");
            let to = durable.max(from);
            Some(DumpItem::Skipped(Skipped { file, offset, from, to, cause, reason, resumed: false }))
        }
    }
}

impl Iterator for Dump {
    type Item = Result<DumpItem, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.advance() {
            self.walk = None;
            return Some(Err(error));
        }
        self.items.pop_front().map(Ok)
    }
}

/// Reads the log in `dir` from its last checkpoint on. Without a valid superblock: from the first segment on.
///
/// # Errors
/// The directory is not a log, or may not be read. Damage is an item.
pub fn dump(dir: &Path) -> Result<Dump, OpenError> {
    dump_from(dir, None)
}

/// Reads the log in `dir` from the group on that contains or follows `from`, in the listed segments.
///
/// # Errors
/// The directory is not a log, or may not be read. Damage is an item.
pub fn dump_from(dir: &Path, from: Option<Lsn>) -> Result<Dump, OpenError> {
    let storage: Arc<dyn Storage> = Arc::new(DirStorage::open_read_only(dir)?);
    let files = Files::read(storage)?;
    let checkpoint = files.superblock.as_ref().ok().map(|superblock| superblock.checkpoint);
    let owner = files.superblock.as_ref().ok().map(|superblock| (superblock.owner, superblock.checkpoint.begin));
    let strays = strays(dir, &files)?;
    let items = by_headers(&files).map(DumpItem::Skipped).into_iter().collect();
    if files.segments.is_empty() {
        return Ok(Dump { walk: None, from: Lsn::ZERO, owner, strays, items });
    }
    let walk = match (from, checkpoint) {
        (None, Some(checkpoint)) => Walk::from_group(files, checkpoint.group, checkpoint.chain)?,
        (from, _) => Walk::from_segment(files, from.unwrap_or_default())?,
    };
    Ok(Dump { walk: Some(walk), from: from.unwrap_or_default(), owner, strays, items })
}

/// Says that the superblock does not say which file is which.
fn by_headers(files: &Files) -> Option<Skipped> {
    let Err(OpenError::Corrupt { file, offset, rule, reason, .. }) = &files.superblock else { return None };
    let reason = format!(
        "{reason}; the log's id, its {} segments and their order are taken from their headers, and segments that the \
         log had freed may be among them",
        files.segments.len()
    );
    let (cause, file) = (Cause::Rule(*rule), file.clone());
    Some(Skipped { file, offset: *offset, from: Lsn::ZERO, to: Lsn::ZERO, cause, reason, resumed: false })
}
