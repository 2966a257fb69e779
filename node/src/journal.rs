//! A log as a machine sees it: in its turns, and while a checkpoint makes it log again what it needs.

use protocol::{Index, Journal, Logged, Record, Room};

use crate::log::Log;

/// What the machine logs in a turn.
pub(crate) struct TurnJournal<'a, L>(pub(crate) &'a mut L);

/// What it logs again.
pub(crate) struct AgainJournal<'a, L>(pub(crate) &'a mut L);

impl<L: Log> Journal for TurnJournal<'_, L> {
    fn append(&mut self, record: &Record) -> Logged {
        self.0.append(record)
    }

    fn end(&self) -> Index {
        self.0.end()
    }

    fn room(&self) -> Room {
        self.0.room()
    }
}

impl<L: Log> Journal for AgainJournal<'_, L> {
    fn append(&mut self, record: &Record) -> Logged {
        self.0.append_again(record)
    }

    fn end(&self) -> Index {
        self.0.end()
    }

    fn room(&self) -> Room {
        self.0.room()
    }
}
