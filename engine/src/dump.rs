//! Reading a log without opening it: for offline tools. Takes no lock, writes nothing, stops at the first damage.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

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

/// The content of a log from its last checkpoint to its end. Holds one segment in memory. Damage is an item, the last.
pub struct Dump {
    scanner: Option<Scanner>,
    /// Items of the group that was read last.
    items: VecDeque<DumpItem>,
}

impl Dump {
    /// Reads the next group into `items`; whether there was anything.
    fn advance(&mut self) -> Result<bool, OpenError> {
        let Some(scanner) = &mut self.scanner else { return Ok(false) };
        let Some(info) = scanner.next_group()? else {
            let torn = self.scanner.take().and_then(|scanner| scanner.finish().torn);
            self.items.extend(torn.map(DumpItem::Torn));
            return Ok(!self.items.is_empty());
        };
        let items = &mut self.items;
        items.push_back(DumpItem::Group(info));
        let mut take = |offset: usize, kind: RecordKind, payload: &[u8]| {
            let lsn = Lsn(info.lsn.0 + offset as u64);
            items.push_back(DumpItem::Record { lsn, kind, payload: Bytes::copy_from_slice(payload) });
            Ok::<(), OpenError>(())
        };
        if group::records(scanner.bytes(&info), &info, &mut take).is_none() {
            return Err(scanner.corrupt(info.lsn, "the group's records contradict its header".to_owned()));
        }
        Ok(true)
    }
}

impl Iterator for Dump {
    type Item = Result<DumpItem, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.items.is_empty()
            && let Err(error) = self.advance()
        {
            self.scanner = None;
            self.items.clear();
            return Some(Err(error));
        }
        self.items.pop_front().map(Ok)
    }
}

/// Reads the log in `dir`, which may be open elsewhere: then it is a view of about now.
///
/// # Errors
/// The directory is not a log, its superblock cannot be read, or a segment file is missing.
pub fn dump(dir: &Path) -> Result<Dump, OpenError> {
    let storage: Arc<dyn Storage> = Arc::new(DirStorage::open_read_only(dir)?);
    let name = storage.superblock_name();
    let io = |source| OpenError::Io { file: name.clone(), operation: "reading the superblock", source };
    let missing = || io(std::io::ErrorKind::NotFound.into());
    let bytes = storage.superblock_read().map_err(io)?.ok_or_else(missing)?;
    let superblock = superblock::choose(&bytes, &name)?.superblock;
    let scanner = if superblock.segments.is_empty() { None } else { Some(Scanner::new(storage, superblock)?) };
    Ok(Dump { scanner, items: VecDeque::new() })
}
