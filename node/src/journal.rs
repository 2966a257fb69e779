//! The store as a machine sees it. The only place where positions of `engine` become those of
//! `protocol`: they are the same numbers.

use engine::{Disk, Store};
use protocol::limits::DECIDED_BYTES_MAX;
use protocol::{Journal, Lsn, Owed, Position, Record, Room};

pub(crate) struct StoreJournal<'a, D>(pub(crate) &'a mut Store<D>);

pub(crate) fn lsn(lsn: engine::Lsn) -> Lsn {
    Lsn(lsn.0)
}

pub(crate) fn position(position: engine::Position) -> Position {
    Position { lsn: lsn(position.lsn), chain: position.chain }
}

pub(crate) fn owed(Owed { records, again_bytes, again_later_bytes }: Owed) -> engine::Owed {
    engine::Owed { records, again_bytes, again_later_bytes }
}

// The longest record that ends what was promised.
const _: () = assert!(DECIDED_BYTES_MAX <= engine::limits::OWED_RECORD_BYTES_MAX);

impl<D: Disk> Journal for StoreJournal<'_, D> {
    fn append(&mut self, record: &Record) -> Position {
        position(self.0.append(&mut |out| record.encode(out)))
    }

    fn end(&self) -> Lsn {
        lsn(self.0.end())
    }

    fn room(&self) -> Room {
        match self.0.room() {
            engine::Room::Nothing => Room::Nothing,
            engine::Room::Deletes => Room::Deletes,
            engine::Room::Smaller => Room::Smaller,
            engine::Room::Plenty => Room::Plenty,
        }
    }
}
