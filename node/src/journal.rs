//! The store as a machine sees it. The only place where positions of `engine` become those of
//! `protocol`: they are the same numbers.

use engine::{Disk, Store};
use protocol::{Journal, Lsn, Record, Room};

pub(crate) struct StoreJournal<'a, D>(pub(crate) &'a mut Store<D>);

pub(crate) fn lsn(position: engine::Lsn) -> Lsn {
    Lsn(position.0)
}

impl<D: Disk> Journal for StoreJournal<'_, D> {
    fn append(&mut self, record: &Record) -> Lsn {
        lsn(self.0.append(&mut |out| record.encode(out)))
    }

    fn end(&self) -> Lsn {
        lsn(self.0.end())
    }

    fn room(&self) -> Room {
        match self.0.room() {
            engine::Room::Plenty => Room::Plenty,
            engine::Room::Scarce => Room::Scarce,
        }
    }
}
