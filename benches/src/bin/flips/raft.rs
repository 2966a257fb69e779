//! raft-engine, as a store of keys and values and as what it is for: the entries of a Raft log.
//!
//! The two differ: keys and values lie in the part of a batch that recovery reads, entries in the part that is read,
//! with its checksum, when an entry is asked for.

use std::path::Path;

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, RecoveryMode};

use crate::record::record;
use crate::subject::{Refusal, Subject};
use crate::versions::locked;

const REGION: u64 = 1;

/// What the records are to raft-engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// Values under keys.
    KeyValues,
    /// Entries of a Raft log.
    Entries,
}

/// How it recovers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Its default: `TolerateTailCorruption`.
    Default,
    /// Its strictest: `AbsoluteConsistency`. It refuses an undamaged log whose process was killed, so it gets one that was
    /// closed.
    Absolute,
}

/// raft-engine in one of its modes.
pub(crate) struct Raft(pub(crate) Content, pub(crate) Mode);

/// A record says its index in its first bytes. Raft counts from one.
struct Entry;

impl MessageExt for Entry {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.get_value().first_chunk().map_or(0, |index| u64::from_le_bytes(*index) + 1)
    }
}

impl Raft {
    fn config(&self, dir: &Path) -> Config {
        let mut config = Config { dir: dir.display().to_string(), ..Config::default() };
        match self.1 {
            Mode::Default => {}
            Mode::Absolute => config.recovery_mode = RecoveryMode::AbsoluteConsistency,
        }
        config
    }

    fn read_key_values(engine: &Engine, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Refusal> {
        let mut strange = None;
        engine.scan_raw_messages(REGION, None, None, false, |key, value| {
            match key.try_into() {
                Ok(key) => each(u64::from_be_bytes(key), value),
                Err(_) => strange = Some(format!("a key of {} bytes that nobody wrote", key.len())),
            }
            true
        })?;
        // A record that nobody wrote, under an index that none has.
        strange.into_iter().for_each(|what| each(u64::MAX, what.as_bytes()));
        Ok(())
    }

    fn read_entries(engine: &Engine, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Refusal> {
        let (Some(first), Some(last)) = (engine.first_index(REGION), engine.last_index(REGION)) else { return Ok(()) };
        let mut entries = Vec::new();
        engine.fetch_entries_to::<Entry>(REGION, first, last + 1, None, &mut entries)?;
        entries.iter().zip(first - 1..).for_each(|(entry, index)| each(index, entry.get_value()));
        Ok(())
    }
}

impl Subject for Raft {
    fn name(&self) -> &'static str {
        match (self.0, self.1) {
            (Content::KeyValues, Mode::Default) => "raft-engine-kv",
            (Content::KeyValues, Mode::Absolute) => "raft-engine-kv-absolute",
            (Content::Entries, Mode::Default) => "raft-engine-entries",
            (Content::Entries, Mode::Absolute) => "raft-engine-entries-absolute",
        }
    }

    fn engine(&self) -> String {
        format!("raft-engine {}", locked("raft-engine"))
    }

    fn mode(&self) -> &'static str {
        match (self.0, self.1) {
            (Content::KeyValues, Mode::Default) => "key-values, default",
            (Content::KeyValues, Mode::Absolute) => "key-values, AbsoluteConsistency, closed",
            (Content::Entries, Mode::Default) => "entries, default",
            (Content::Entries, Mode::Absolute) => "entries, AbsoluteConsistency, closed",
        }
    }

    fn is_log(&self, file: &str) -> bool {
        file.ends_with(".raftlog")
    }

    fn write(&self, dir: &Path, records: u64, acknowledged: &mut dyn FnMut()) -> Result<(), Refusal> {
        let engine = Engine::open(self.config(dir))?;
        for index in 0..records {
            let mut batch = LogBatch::default();
            match self.0 {
                Content::KeyValues => batch.put(REGION, index.to_be_bytes().to_vec(), record(index))?,
                Content::Entries => {
                    let mut entry = BytesValue::new();
                    entry.set_value(record(index));
                    batch.add_entries::<Entry>(REGION, &[entry])?;
                }
            }
            engine.write(&mut batch, true)?;
        }
        match self.1 {
            Mode::Default => {}
            // Zeros that the file was extended with, which a close cuts off, are damage to this mode.
            Mode::Absolute => drop(engine),
        }
        acknowledged();
        Ok(())
    }

    fn read(&self, dir: &Path, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Refusal> {
        let engine = Engine::open(self.config(dir))?;
        match self.0 {
            Content::KeyValues => Raft::read_key_values(&engine, each),
            Content::Entries => Raft::read_entries(&engine, each),
        }
    }
}
