//! SQLite in WAL mode, `synchronous=FULL`: every insert is a transaction of its own, and nothing is checkpointed.

use std::path::Path;

use rusqlite::Connection;

use crate::record::record;
use crate::subject::{Refusal, Subject};

const FILE: &str = "records.db";

/// SQLite.
pub(crate) struct Sqlite;

impl Subject for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn engine(&self) -> String {
        format!("SQLite {}", rusqlite::version())
    }

    fn mode(&self) -> &'static str {
        "WAL, synchronous=FULL"
    }

    fn is_log(&self, file: &str) -> bool {
        file.ends_with("-wal")
    }

    fn write(&self, dir: &Path, records: u64, acknowledged: &mut dyn FnMut()) -> Result<(), Refusal> {
        let database = Connection::open(dir.join(FILE))?;
        // The table is in the database file before there is a WAL, so that no damage can be blamed on its absence.
        database.execute_batch("CREATE TABLE record (id INTEGER PRIMARY KEY, content BLOB NOT NULL)")?;
        let mode: String = database.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(format!("{FILE}: journal_mode={mode} although WAL was asked for").into());
        }
        database.execute_batch("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0")?;
        for index in 0..records {
            database.execute("INSERT INTO record VALUES (?1, ?2)", (index as i64, record(index)))?;
        }
        acknowledged();
        Ok(())
    }

    fn read(&self, dir: &Path, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Refusal> {
        let database = Connection::open(dir.join(FILE))?;
        let mut query = database.prepare("SELECT id, content FROM record")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let index: i64 = row.get(0)?;
            each(index.cast_unsigned(), row.get_ref(1)?.as_blob()?);
        }
        Ok(())
    }
}
