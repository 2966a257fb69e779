//! A data directory into the facts that its log holds.

use std::path::{Path, PathBuf};

use engine::{DirStorage, DumpItem, Lsn, OpenError, RecordKind};
use protocol::{Index, Position, Record, Role};

use crate::coordinator::CoordinatorFacts;
use crate::extent::Extent;
use crate::limits::{EVENTS_MAX, UNREAD_MAX};
use crate::participant::ParticipantFacts;
use crate::report::{NodeName, NodeSummary};

/// Why the logs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The directory cannot be read, is no data directory, or a node has it open.
    #[error("{}: {source}", dir.display())]
    Open {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// Without a superblock nobody knows whose log it is.
    #[error("{}: neither copy of the superblock can be read, so it cannot be told whose log this is; leave it out, or use a copy", dir.display())]
    NoOwner {
        /// Which.
        dir: PathBuf,
    },
    /// Two directories of one node.
    #[error("{first} and {second} are both the log of {node}; name one of them")]
    Twice {
        /// Which node.
        node: NodeName,
        /// One directory.
        first: String,
        /// The other.
        second: String,
    },
    /// Logs of different clusters.
    #[error(
        "{first} belongs to cluster {one:016x} and {second} to cluster {other:016x}; name the directories of one cluster"
    )]
    OtherCluster {
        /// One directory.
        first: String,
        /// Its cluster.
        one: u64,
        /// The other.
        second: String,
        /// Its cluster.
        other: u64,
    },
}

/// The facts that a log holds.
#[derive(Clone, Debug)]
pub struct Log {
    pub(crate) summary: NodeSummary,
    pub(crate) cluster: u64,
    pub(crate) extent: Extent,
    pub(crate) facts: Facts,
}

#[derive(Clone, Debug)]
pub(crate) enum Facts {
    Coordinator(CoordinatorFacts),
    Participant(ParticipantFacts),
}

impl Log {
    /// The log of a node, nothing of which was read yet; whether it is read from its beginning, or else from a checkpoint.
    pub(crate) fn new(node: NodeName, cluster: u64, dir: String, is_from_birth: bool) -> Self {
        let facts = match node {
            NodeName::Coordinator(_) => Facts::Coordinator(CoordinatorFacts::default()),
            NodeName::Participant(_) => Facts::Participant(ParticipantFacts::default()),
        };
        let (begin, end) = (Index::ZERO, Index::ZERO);
        let summary = NodeSummary { node, dir, records: 0, begin, end, unread: Vec::new(), torn: None };
        Self { summary, cluster, extent: Extent::new(is_from_birth), facts }
    }

    pub(crate) fn take(&mut self, at: Position, record: Record) {
        self.summary.records += 1;
        match &mut self.facts {
            Facts::Coordinator(facts) => facts.take(at, record),
            Facts::Participant(facts) => facts.take(at, record),
        }
    }

    fn events(&self) -> usize {
        match &self.facts {
            Facts::Coordinator(facts) => facts.events,
            Facts::Participant(facts) => facts.events_count,
        }
    }

    fn tell_unread(&mut self, why: String) {
        if self.summary.unread.len() < UNREAD_MAX {
            self.summary.unread.push(why);
        }
    }

    /// Takes the next item of a log whose checkpoint begins at `begin`; whether to go on.
    fn item(&mut self, item: DumpItem, begin: Lsn) -> bool {
        match item {
            DumpItem::Group(group) => self.extent.group(group.before.index),
            DumpItem::Record { at, kind, payload } if kind.is_owners() => {
                self.extent.record(at.position.index);
                match Record::decode(payload) {
                    Ok(record) => self.take(at.position, record),
                    Err(error) => {
                        self.extent.lose(at.position.index);
                        let lsn = Lsn::from(at.place);
                        self.tell_unread(format!(
                            "the record at LSN {lsn} is not one that this release knows: {error}"
                        ));
                    }
                }
            }
            DumpItem::Record { at, kind: RecordKind::CheckpointBegin, .. } if Lsn::from(at.place) == begin => {
                self.extent.checkpoint();
            }
            DumpItem::Record { .. } => {}
            DumpItem::Skipped(skipped) => {
                self.extent.skip();
                let (file, offset, from, reason) = (skipped.file, skipped.offset, skipped.from, skipped.reason);
                self.tell_unread(format!("{file}: offset {offset} (LSN {from}): {reason}"));
            }
            DumpItem::Torn(cut) => {
                self.summary.torn =
                    Some(format!("{}: offset {} (LSN {}): {}", cut.file, cut.offset, cut.from, cut.reason));
            }
        }
        self.events() < EVENTS_MAX
    }
}

/// Reads the log in `dir`, which no node may have open, from its last checkpoint on.
///
/// # Errors
/// See [`AuditError`]. Damage is no error: what can be read is.
pub fn read(dir: &Path) -> Result<Log, AuditError> {
    let open = |source| AuditError::Open { dir: dir.to_owned(), source };
    let _lock = DirStorage::open_offline(dir, false).map_err(open)?;
    let dump = engine::dump(dir).map_err(open)?;
    let no_owner = || AuditError::NoOwner { dir: dir.to_owned() };
    let owner = dump.owner().ok_or_else(no_owner)?;
    let node = match Role::from_code(owner.role) {
        Some(Role::Coordinator) => NodeName::Coordinator(owner.node),
        Some(Role::Participant) => NodeName::Participant(owner.node),
        Some(Role::Client) | None => return Err(no_owner()),
    };
    let begin = dump.begin().unwrap_or_default();
    let mut log = Log::new(node, owner.cluster, dir.display().to_string(), begin == Lsn::ZERO);
    for item in dump {
        match item.map(|item| log.item(item, begin)) {
            Ok(true) => {}
            Ok(false) => {
                let why =
                    format!("it holds more than {EVENTS_MAX} events since its checkpoint; the rest is not judged");
                log.extent.skip();
                log.tell_unread(why);
                break;
            }
            Err(error) => {
                log.extent.skip();
                log.tell_unread(error.to_string());
            }
        }
    }
    (log.summary.begin, log.summary.end) = (log.extent.begin, log.extent.end);
    Ok(log)
}
