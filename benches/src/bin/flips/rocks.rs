//! RocksDB: every put synced to its write-ahead log, no memtable flushed.

use std::path::Path;

use rocksdb::{DB, DBRecoveryMode, IteratorMode, Options, WriteOptions};

use crate::record::record;
use crate::subject::{Refusal, Subject};
use crate::versions::locked;

/// How it recovers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Its default: `PointInTime`.
    Default,
    /// Its strictest: `AbsoluteConsistency`.
    Absolute,
}

/// RocksDB in one of its modes.
pub(crate) struct Rocks(pub(crate) Mode);

impl Rocks {
    fn options(&self) -> Options {
        let mut options = Options::default();
        match self.0 {
            Mode::Default => {}
            Mode::Absolute => options.set_wal_recovery_mode(DBRecoveryMode::AbsoluteConsistency),
        }
        options
    }
}

impl Subject for Rocks {
    fn name(&self) -> &'static str {
        match self.0 {
            Mode::Default => "rocksdb",
            Mode::Absolute => "rocksdb-absolute",
        }
    }

    fn engine(&self) -> String {
        let version = locked("librocksdb-sys");
        format!("RocksDB {}", version.split_once('+').map_or(version.as_str(), |(_, bundled)| bundled))
    }

    fn mode(&self) -> &'static str {
        match self.0 {
            Mode::Default => "default",
            Mode::Absolute => "AbsoluteConsistency",
        }
    }

    fn is_log(&self, file: &str) -> bool {
        file.ends_with(".log")
    }

    fn write(&self, dir: &Path, records: u64, acknowledged: &mut dyn FnMut()) -> Result<(), Refusal> {
        let mut options = self.options();
        options.create_if_missing(true);
        let database = DB::open(&options, dir)?;
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        for index in 0..records {
            database.put_opt(index.to_be_bytes(), record(index), &synced)?;
        }
        acknowledged();
        Ok(())
    }

    fn read(&self, dir: &Path, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Refusal> {
        let database = DB::open(&self.options(), dir)?;
        for row in database.iterator(IteratorMode::Start) {
            let (key, value) = row?;
            // A key that nobody wrote counts as a record under an index that none has.
            each(key.as_ref().try_into().map_or(u64::MAX, u64::from_be_bytes), &value);
        }
        Ok(())
    }
}
