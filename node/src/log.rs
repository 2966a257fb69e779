//! The log under a machine, as the driver knows it, and the log of a node that stands alone.
//!
//! Invariants: what is stable is never lost, in whatever order nodes fail; a record that is stable says so of all before it. For a
//! node that stands alone that is what its own disk has made durable.
//! Not here: the gate that waits for it (`outbox`), the log itself (`engine`).

use engine::{Disk, LogError, Store};
use protocol::limits::DECIDED_BYTES_MAX;
use protocol::{Index, Logged, Owed, Place, Record, Room, Tick};

/// How far a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// This record and all before it are stable: messages that waited for them may leave.
    pub(crate) stable: Index,
}

/// Records in order, which become stable in order.
pub(crate) trait Log {
    /// Appends a record that a machine logs in one of its turns.
    fn append(&mut self, record: &Record) -> Logged;

    /// Appends a record that a checkpoint makes the machine log again. It stays on this disk, has no position, and no message
    /// waits for it.
    fn append_again(&mut self, record: &Record) -> Logged;

    /// The last record that has a position: what a message sent now must wait for.
    fn end(&self) -> Index;

    /// How far it is.
    fn progress(&self) -> Progress;

    /// Takes in what has been done, begins what is to be done, and says how far it is: this is also the flush.
    ///
    /// # Errors
    /// The first failure, at this and every later call: nothing becomes stable any more.
    fn poll(&mut self, now: Tick) -> Result<Progress, LogError>;

    /// When to poll although nothing else happens.
    fn next_wake(&self) -> Option<Tick>;

    /// Which new promises fit.
    fn room(&self) -> Room;

    /// What the machine owes now.
    fn owes(&mut self, owed: Owed);
}

/// Checkpoints of a node's own log and of its table. They differ from node to node, whoever else holds the same records.
pub(crate) trait Checkpoints {
    /// Whether one is to begin.
    fn is_checkpoint_due(&self) -> bool;

    /// Begins one: then the machine logs again what later records refer to.
    fn begin_checkpoint(&mut self);

    /// Logs the next slice of the table; whether more remain.
    fn log_slice(&mut self) -> bool;

    /// Ends it, after the last slice.
    fn end_checkpoint(&mut self);

    /// Where the own log ends.
    fn end_place(&self) -> Place;

    /// Up to where the own log is durable.
    fn durable_place(&self) -> Place;
}

/// What lies on a store of this machine: for its table, its figures, its scrubbing and its end.
pub(crate) trait OnStore {
    /// What the store writes to.
    type Disk: Disk;

    /// The store.
    fn store(&self) -> &Store<Self::Disk>;

    /// The same, to be changed.
    fn store_mut(&mut self) -> &mut Store<Self::Disk>;
}

// The longest record that ends what was promised.
const _: () = assert!(DECIDED_BYTES_MAX <= engine::limits::OWED_RECORD_BYTES_MAX);

impl<D: Disk> Log for Store<D> {
    fn append(&mut self, record: &Record) -> Logged {
        self.append(&mut |out| record.encode(out))
    }

    fn append_again(&mut self, record: &Record) -> Logged {
        self.append_again(&mut |out| record.encode(out))
    }

    fn end(&self) -> Index {
        self.last()
    }

    fn progress(&self) -> Progress {
        Progress { stable: self.stable() }
    }

    fn poll(&mut self, now: Tick) -> Result<Progress, LogError> {
        self.poll(now.0)?;
        Ok(Progress { stable: self.stable() })
    }

    fn next_wake(&self) -> Option<Tick> {
        self.next_wake_us().map(Tick)
    }

    fn room(&self) -> Room {
        self.room()
    }

    fn owes(&mut self, owed: Owed) {
        self.owes(owed);
    }
}

impl<D: Disk> Checkpoints for Store<D> {
    fn is_checkpoint_due(&self) -> bool {
        self.checkpoint_due()
    }

    fn begin_checkpoint(&mut self) {
        self.checkpoint_begin();
    }

    fn log_slice(&mut self) -> bool {
        self.checkpoint_slice()
    }

    fn end_checkpoint(&mut self) {
        self.checkpoint_end();
    }

    fn end_place(&self) -> Place {
        self.end().into()
    }

    fn durable_place(&self) -> Place {
        self.durable().into()
    }
}

impl<D: Disk> OnStore for Store<D> {
    type Disk = D;

    fn store(&self) -> &Store<D> {
        self
    }

    fn store_mut(&mut self) -> &mut Store<D> {
        self
    }
}
