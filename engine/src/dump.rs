//! Reading a log without opening it: for offline tools. Takes no lock, writes nothing, stops at the first damage.

use std::collections::VecDeque;
use std::path::Path;

use bytes::Bytes;

use crate::error::OpenError;
use crate::group::{self, GroupInfo, RecordKind};
use crate::lsn::Lsn;
use crate::recovery::TornTail;
use crate::ring::DirStorage;
use crate::scan::Scanner;
use crate::storage::Storage;
use crate::superblock;

/// What a dump visits, in log order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DumpItem {
    /// A group; its records follow.
    Group(GroupInfo),
    /// A record.
    Record {
        /// Position of the payload's first byte.
        lsn: Lsn,
        /// What it is.
        kind: RecordKind,
        /// Its bytes.
        payload: Bytes,
    },
    /// The last group was begun and never finished; the log ends before it.
    Torn(TornTail),
}

/// The content of a log from its last checkpoint to its end. Holds one segment's groups in memory.
pub struct Dump {
    items: VecDeque<Result<DumpItem, OpenError>>,
}

impl Iterator for Dump {
    type Item = Result<DumpItem, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.items.pop_front()
    }
}

/// Reads the log in `dir`. Damage is an item, the last one.
///
/// # Errors
/// The directory is not a log, or its superblock cannot be read.
pub fn dump(dir: &Path) -> Result<Dump, OpenError> {
    dump_storage(&DirStorage::open_read_only(dir)?)
}

pub(crate) fn dump_storage(storage: &dyn Storage) -> Result<Dump, OpenError> {
    let name = storage.superblock_name();
    let io = |source| OpenError::Io { file: name.clone(), operation: "reading the superblock", source };
    let missing = || io(std::io::ErrorKind::NotFound.into());
    let bytes = storage.superblock_read().map_err(io)?.ok_or_else(missing)?;
    let superblock = superblock::choose(&bytes, &name)?.superblock;
    let mut items = VecDeque::new();
    if superblock.segments.is_empty() {
        return Ok(Dump { items });
    }
    let mut scanner = Scanner::new(storage, &superblock)?;
    let ended = loop {
        match scanner.next_group() {
            Ok(Some(info)) => {
                items.push_back(Ok(DumpItem::Group(info)));
                let mut take = |offset: usize, kind: RecordKind, payload: &[u8]| {
                    let lsn = Lsn(info.lsn.0 + offset as u64);
                    items.push_back(Ok(DumpItem::Record { lsn, kind, payload: Bytes::copy_from_slice(payload) }));
                    Ok::<(), OpenError>(())
                };
                if group::records(scanner.bytes(&info), &info, &mut take).is_none() {
                    break Err(scanner.corrupt(info.lsn, "the group's records contradict its header".to_owned()));
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    match ended {
        Ok(()) => items.extend(scanner.finish().torn.map(|torn| Ok(DumpItem::Torn(torn)))),
        Err(error) => items.push_back(Err(error)),
    }
    Ok(Dump { items })
}
