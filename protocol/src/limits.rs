//! Every maximum of the protocol, with its reason. A frame or message beyond one of these closes
//! the connection; a transaction beyond one is refused by the client library before it is sent.

/// Payload of one frame. Bounds what a connection can make its reader hold.
pub const FRAME_BYTES_MAX: usize = 4 << 20;

/// A frame is closed and the next one begun once its payload has reached this size, so that one
/// checksum and one wake-up serve many messages, and a large batch still streams.
pub const FRAME_BYTES_TARGET: usize = 256 << 10;

/// One encoded message. Anything that fits may follow a frame that is just under its target.
pub const MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX - FRAME_BYTES_TARGET;

/// A key, in bytes. Keys live in memory, all of them.
pub const KEY_BYTES_MAX: usize = 1 << 10;

/// A value, in bytes.
pub const VALUE_BYTES_MAX: usize = 512 << 10;

/// Operations in one transaction.
pub const OPERATIONS_MAX: usize = 4_096;

/// All operations of one transaction, encoded.
pub const TXN_BYTES_MAX: usize = 768 << 10;

/// What one participant may write for one transaction, keys and values together. `append` makes
/// values that are larger than the operation that asks for them.
pub const WRITE_SET_BYTES_MAX: usize = 1 << 20;

/// All results of one transaction, encoded. A scan returns as many rows as fit and says that there
/// are more; anything else that would exceed it is refused.
pub const RESULTS_BYTES_MAX: usize = 2 << 20;

/// One record in a log. Holds a full write set, its locks and its participants.
pub const RECORD_BYTES_MAX: usize = 2 << 20;

/// Participants of one cluster, and so of one transaction.
pub const PARTICIPANTS_MAX: usize = 64;

/// The record of a decision, encoded: the longest of those that end what was promised.
pub const DECIDED_BYTES_MAX: usize = 64 + PARTICIPANTS_MAX * 20;

/// Parts of the key space, each held by one participant. Enough that a bin of 64 participants is a
/// fine grain to move, few enough that the whole table is one small record.
pub const BINS: u16 = 4_096;

/// Outcomes in one checkpoint record, so that a checkpoint advances in slices.
pub const OUTCOMES_PER_RECORD_MAX: usize = 1_024;

/// Bytes of one outcome in a checkpoint record.
pub const OUTCOME_BYTES: usize = 16 + 8 + 8 + 4;

/// Peers whose latest positions are kept in one checkpoint record: as many as a participant obeys coordinators.
pub const STATED_MAX: usize = 256;

/// Starts of a log that are kept: whoever has met none of its last so many starts cannot tell it from a copy.
pub const STARTS_MAX: usize = 1_024;

/// Positions that were told to a peer and are kept, to compare with what it claims: the latest. A claim that is older
/// proves nothing.
pub const TOLD_MAX: usize = 1_024;

/// The metrics text or histogram that a daemon returns.
pub const STATS_BYTES_MAX: usize = 256 << 10;

// A write set with two lengths a write, and the operations that made it (locks of reads) fit in a
// record, with headroom for the fixed fields and the participants.
const _: () = assert!(
    WRITE_SET_BYTES_MAX + OPERATIONS_MAX * 6 + TXN_BYTES_MAX + PARTICIPANTS_MAX * 4 + 4_096 <= RECORD_BYTES_MAX
);
const _: () = assert!(TXN_BYTES_MAX + PARTICIPANTS_MAX * 4 + 4_096 <= MESSAGE_BYTES_MAX);
const _: () = assert!(RESULTS_BYTES_MAX + 4_096 <= MESSAGE_BYTES_MAX);
const _: () = assert!(STATS_BYTES_MAX + PARTICIPANTS_MAX * (KEY_BYTES_MAX + 2) + 4_096 <= MESSAGE_BYTES_MAX);
const _: () = assert!(VALUE_BYTES_MAX + KEY_BYTES_MAX <= TXN_BYTES_MAX);
const _: () = assert!(OUTCOMES_PER_RECORD_MAX * OUTCOME_BYTES + 64 <= RECORD_BYTES_MAX);
const _: () = assert!(OPERATIONS_MAX < u16::MAX as usize);
const _: () = assert!(PARTICIPANTS_MAX <= STATED_MAX);
