//! What becomes of a damaged log: opened, read back, and compared with what was acknowledged.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use engine::memory::Memory;
use engine::{Logged, Lsn, OpenError, Place, Store, Table, TableError, Worker};

use super::common::{SEGMENT_BYTES, apply, options};
use super::damage::Damage;
use super::logs::{File, Log};

/// What became of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is refused, or a value of it is when it is read, with the place.
    Refused,
    /// Everything that was acknowledged is there.
    Harmless,
    /// The last groups are gone, and nothing that is left says that they were acknowledged: `FORMAT.md`, "What remains
    /// ambiguous".
    Ambiguous { groups: usize },
    /// It opens without complaint, and acknowledged records are missing or different.
    Silent(String),
    /// Nothing acknowledged was touched, and it is refused.
    FalselyRefused(String),
    /// It is refused without a file and a position, or with wrong ones.
    Misnamed(String),
    /// It panics.
    Panic(String),
}

/// An outcome and what it took.
pub struct Judged {
    pub outcome: Outcome,
    /// It was opened, or the open panicked: what it wrote has to be taken back.
    pub opened: bool,
    /// The most memory that the open held at once.
    pub peak_bytes: u64,
}

/// What the owner saw.
struct Seen<'a> {
    log: &'a Log,
    table: Table,
    last: Option<u64>,
    wrong: Option<String>,
}

impl Seen<'_> {
    fn record(&mut self, at: Place, payload: &Bytes) {
        let id = payload.get(..8).map_or(0, |id| u64::from_le_bytes(id.try_into().unwrap()));
        let follows = self.last.is_none_or(|last| id == last + 1);
        let written = (id as usize).checked_sub(1).and_then(|index| self.log.payloads.get(index));
        if follows && written.is_some_and(|written| written == payload) {
            apply(&self.table, at, payload);
            self.last = Some(id);
        } else if self.wrong.is_none() {
            self.wrong = Some(format!(
                "the record at LSN {} is not the one that was written after {:?}",
                Lsn::from(at),
                self.last
            ));
        }
    }
}

/// Opens the log in `memory`, to which `damage` was done.
pub fn judge(log: &Log, memory: &Memory, damage: &Damage) -> Judged {
    let (mut peak_bytes, mut is_refused) = (0, false);
    let judged = catch_unwind(AssertUnwindSafe(|| {
        let mut seen = Seen { log, table: Table::new(), last: None, wrong: None };
        let mut opened = None;
        let table = seen.table.clone();
        let measured = allocation_counter::measure(|| {
            let mut replay = |at: Logged, payload: Bytes| seen.record(at.place, &payload);
            let (storage, disk) = (memory.storage(), memory.disk());
            opened = Some(Store::open(options(), storage, disk, Worker::inline(), table, &mut replay));
        });
        peak_bytes = measured.bytes_max;
        match opened.unwrap() {
            Ok(_) => accepted(&seen, memory, damage),
            Err(error) => {
                is_refused = true;
                refused(log, &error, damage)
            }
        }
    }));
    let outcome = judged.unwrap_or_else(|panic| Outcome::Panic(text(panic.as_ref())));
    if outcome == Outcome::Refused && damage.is_none(log) {
        let outcome = Outcome::FalselyRefused("a value cannot be read".to_owned());
        return Judged { outcome, opened: true, peak_bytes };
    }
    Judged { outcome, opened: !is_refused, peak_bytes }
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text").to_owned()
}

/// The log opened: is everything there?
fn accepted(seen: &Seen, memory: &Memory, damage: &Damage) -> Outcome {
    let log = seen.log;
    let mut found: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let read = seen.table.scan(b"", b"", &mut |key, value| {
        found.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    if let Err(TableError::Corrupt { file, offset, lsn, .. }) = read {
        let right = names_place(log, &file, offset, lsn);
        return if right { Outcome::Refused } else { Outcome::Misnamed(format!("{file} {offset} {lsn}")) };
    }
    if let Some(wrong) = &seen.wrong {
        return Outcome::Silent(wrong.clone());
    }
    let last = found.remove(&b"~last"[..]).map_or(0, |id| u64::from_le_bytes(id[..8].try_into().unwrap()) as usize);
    if seen.last.is_some_and(|replayed| replayed as usize != last) || last > log.history.len() {
        return Outcome::Silent(format!("record {:?} came last, the table is of record {last}", seen.last));
    }
    let mut expected = BTreeMap::new();
    for (key, value) in &log.history[..last] {
        match value {
            Some(value) => expected.insert(key, value),
            None => expected.remove(key),
        };
    }
    if !found.iter().eq(expected) {
        return Outcome::Silent(format!("the table is not what {last} records make"));
    }
    if last < log.acknowledged { lost(log, last, memory, damage) } else { Outcome::Harmless }
}

/// Acknowledged records after the first `kept` are gone: did anything that is left say that they were durable?
fn lost(log: &Log, kept: usize, memory: &Memory, damage: &Damage) -> Outcome {
    let first = log.groups.iter().rev().find(|(start, _)| *start < log.ends[kept]).map_or(Lsn(0), |group| group.0);
    let is_left = |file: File, bytes: &std::ops::Range<usize>| {
        let before = &log.files[&file][bytes.clone()];
        // An open writes the superblock; damage to one copy leaves the other.
        let now = |file: &mut Vec<u8>| file.get(bytes.clone()) == Some(before);
        match file {
            File::Superblock => !matches!(damage, Damage::Older { .. } if damage.files(log).contains(&file)),
            File::Segment(slot) => memory.edit_segment(slot, now).unwrap_or(false),
        }
    };
    let stated =
        log.statements.iter().find(|statement| statement.durable > first && is_left(statement.file, &statement.bytes));
    match stated {
        Some(statement) => Outcome::Silent(format!(
            "{} of {} records are gone, although bytes {:?} of {:?} say that LSN {} was durable",
            log.acknowledged - kept,
            log.acknowledged,
            statement.bytes,
            statement.file,
            statement.durable
        )),
        None => Outcome::Ambiguous { groups: log.groups.iter().filter(|(start, _)| *start >= first).count() },
    }
}

/// The log was refused: for a reason, and with the right place?
fn refused(log: &Log, error: &OpenError, damage: &Damage) -> Outcome {
    if damage.is_none(log) {
        return Outcome::FalselyRefused(error.to_string());
    }
    let OpenError::Corrupt { file, offset, lsn, .. } = error else { return Outcome::Misnamed(error.to_string()) };
    let not_past = damage.last_lsn(log).is_none_or(|last| *lsn <= last);
    let text = error.to_string();
    let right = names_place(log, file, *offset, *lsn) && text.contains(file) && text.contains("LSN");
    if right && not_past { Outcome::Refused } else { Outcome::Misnamed(text) }
}

/// Whether the file is one of the log's, and offset and position are the same place.
fn names_place(log: &Log, file: &str, offset: u64, lsn: Lsn) -> bool {
    if file == "superblock" {
        return offset < 128 << 10;
    }
    let slot = file.strip_prefix("segment-").and_then(|slot| slot.parse().ok());
    let Some(slot) = slot.filter(|slot| log.files.contains_key(&File::Segment(*slot))) else { return false };
    log.lsn(slot, 0).is_none_or(|start| start.0 + offset == lsn.0 && offset <= SEGMENT_BYTES)
}
