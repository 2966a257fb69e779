//! What nodes promise: the records in their logs, and their bytes, which `RECORDS.md` specifies.
//!
//! Invariant: what a participant writes stands first in its record, at an offset that follows
//! from the lengths alone, so that the storage engine can find a value in the log again.
//! A value is logged once, when it is promised; the outcome is a few bytes.
//!
//! Records logged again by a checkpoint replace what they repeat.

use bytes::{BufMut, Bytes};
use seam::{Index, Position};

use crate::codec::{
    Malformed, Reader, put_attempt, put_count, put_key, put_participants, put_position, put_process, put_txn, put_value,
};
use crate::fields::Field;
use crate::id::{Age, Attempt, Process, TxnId};
use crate::limits::{
    BINS, OPERATIONS_MAX, OUTCOME_BYTES, OUTCOMES_PER_RECORD_MAX, PARTICIPANTS_MAX, RECORD_BYTES_MAX, STARTS_MAX,
    STATED_MAX, VALUE_BYTES_MAX,
};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Participant: will commit this if told so. Forced before the YES vote.
    Prepared(Promise),
    /// Participant, at a checkpoint: the same promise still stands.
    PreparedAgain {
        /// The promise.
        promise: Promise,
        /// Where it was first logged, which is what the vote said.
        first_at: Position,
    },
    /// Participant: committed this in one phase. Forced before the answer.
    CommittedOnePhase(Promise),
    /// Participant: was told to commit. Forced before the acknowledgement.
    Committed {
        /// Which.
        txn: TxnId,
        /// Which attempt.
        attempt: Attempt,
        /// Where the decision stands in the coordinator's log, as the commit said; older records do not tell.
        decided_at: Position,
    },
    /// Participant: was told to abort. Not forced: without it, the answer to a question is the same.
    Aborted {
        /// Which.
        txn: TxnId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// Participant: a promise that wrote nothing has ended, and its locks are released. Not forced, as `Aborted`. Whether
    /// its transaction was committed makes no difference here, and is not known.
    Released {
        /// Which.
        txn: TxnId,
        /// Which attempt.
        attempt: Attempt,
    },
    /// Either: accepted this process under this number of the other role, and heeds none before it. Without a log
    /// (0), an operator has given up the log of that number: any log is taken next, under a later epoch.
    Fenced {
        /// The peer's number.
        peer: u32,
        /// Which process speaks for it.
        process: Process,
    },
    /// Participant: an operator has said that this coordinator's number will not come back.
    Retired {
        /// The coordinator's number.
        coordinator: u32,
    },

    /// Either: has started. Forced before anything is said under the epoch.
    Started {
        /// Counts the starts.
        epoch: u32,
        /// Drawn at random at the start.
        start: u64,
    },
    /// Either, at a checkpoint: the latest starts on this log, with what was drawn at each.
    Starts(Vec<(u32, u64)>),
    /// Coordinator: the decision is to commit. Forced before anyone hears of it.
    Decided {
        /// Which.
        txn: TxnId,
        /// Which attempt.
        attempt: Attempt,
        /// Fingerprint of the operations.
        digest: u64,
        /// Who has to be told, and where each one's promise stands in its log.
        participants: Vec<(u32, Position)>,
    },
    /// Coordinator, at a checkpoint: the same decision still has to be told.
    DecidedAgain {
        /// Which.
        txn: TxnId,
        /// Which attempt.
        attempt: Attempt,
        /// Fingerprint of the operations.
        digest: u64,
        /// Who has to be told still, and where each one's promise stands in its log.
        participants: Vec<(u32, Position)>,
        /// Where it was first logged, which is what the commits say.
        first_at: Position,
    },
    /// Coordinator: a participant committed it in one phase. Not forced.
    DecidedElsewhere {
        /// Which.
        txn: TxnId,
        /// Which attempt.
        attempt: Attempt,
        /// Fingerprint of the operations.
        digest: u64,
        /// Who said so; older records do not tell.
        participant: Option<u32>,
        /// Where its record stands in that participant's log, if it was said.
        committed_at: Position,
    },
    /// Coordinator: every participant has acknowledged. Not forced.
    Finished {
        /// Which.
        txn: TxnId,
    },

    /// Coordinator: who holds each bin. Forced before the first transaction.
    Bins {
        /// The owner of each bin.
        owners: Vec<u32>,
    },

    /// Either, at a checkpoint: committed transactions within the retention, oldest first.
    Outcomes(Vec<CommittedOutcome>),
    /// Either, at a checkpoint: for each peer, the latest position in the participant's log that the participant told
    /// the coordinator.
    Stated(Vec<(u32, Position)>),
    /// Either, at a checkpoint: for each peer, the latest position in the coordinator's log that the coordinator told
    /// the participant.
    StatedDecisions(Vec<(u32, Position)>),
    /// Either: an operator gave up what had stood in the log before here and is not there any more. Written by the
    /// repair of a log as its first record, and at checkpoints.
    LossAccepted {
        /// With which index the log goes on: its own, in the first record of the repaired log.
        until: Index,
    },
}

/// What a participant promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Which transaction.
    pub txn: TxnId,
    /// Which attempt.
    pub attempt: Attempt,
    /// Who decides.
    pub coordinator: u32,
    /// Its age, for those that meet its locks.
    pub age: Age,
    /// Fingerprint of the operations.
    pub digest: u64,
    /// What it writes: exclusive locks. At most one write a key.
    pub writes: Vec<Write>,
    /// What it read besides: shared locks.
    pub reads: Vec<Bytes>,
    /// The ranges that it scanned, `start..end`: shared locks.
    pub ranges: Vec<(Bytes, Bytes)>,
    /// All participants of the transaction.
    pub participants: Vec<u32>,
}

/// A key's new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which.
    pub key: Bytes,
    /// The value; `None` removes the key.
    pub value: Option<Bytes>,
}

/// That a transaction committed, as remembered within the retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedOutcome {
    /// Which.
    pub txn: TxnId,
    /// Which attempt.
    pub attempt: Attempt,
    /// Fingerprint of the operations.
    pub digest: u64,
    /// Who decided it.
    pub coordinator: u32,
}

impl CommittedOutcome {
    /// What one takes in a record, in bytes.
    pub const ENCODED_BYTES: usize = 16 + 8 + 8 + 4;
}

const PREPARED: u8 = 1;
const COMMITTED_ONE_PHASE: u8 = 2;
/// `Committed` without where it was decided: read, not written any more.
const COMMITTED_SOMEWHERE: u8 = 3;
const ABORTED: u8 = 4;
/// `Fenced` without log and start: read, not written any more.
const FENCED_BY_EPOCH: u8 = 5;
/// `Started` without what was drawn: read, not written any more.
const STARTED_BY_EPOCH: u8 = 6;
/// `Decided` without positions that can be compared: read, not written any more.
const DECIDED_BY_LSN: u8 = 7;
/// `DecidedElsewhere` without where: read, not written any more.
const DECIDED_SOMEWHERE: u8 = 8;
const FINISHED: u8 = 9;
const OUTCOMES: u8 = 10;
const BIN_TABLE: u8 = 11;
const DECIDED: u8 = 12;
const DECIDED_ELSEWHERE: u8 = 13;
const PREPARED_AGAIN: u8 = 14;
const STATED: u8 = 15;
const LOSS_ACCEPTED: u8 = 16;
const COMMITTED: u8 = 17;
const DECIDED_AGAIN: u8 = 18;
const STATED_DECISIONS: u8 = 19;
const STARTS: u8 = 20;
const RETIRED: u8 = 21;
const FENCED: u8 = 22;
const STARTED: u8 = 23;
const RELEASED: u8 = 24;

/// The participant's number that stands for none; no participant may have it.
const NO_PARTICIPANT: u32 = u32::MAX;

/// Where the writes begin in the bytes of a [`Promise`]'s record: after kind, transaction,
/// attempt, coordinator, age, digest and the count of writes.
const WRITES_AT: usize = 1 + 16 + 8 + 4 + 12 + 8 + 2;

/// The length that stands for "removed".
const REMOVED: u32 = u32::MAX;

impl Promise {
    /// For each write, where its value's bytes begin within the encoded record.
    pub fn value_offsets(&self) -> impl Iterator<Item = u32> {
        let mut at = WRITES_AT;
        self.writes.iter().map(move |write| {
            let value_at = at + 2 + write.key.len() + 4;
            at = value_at + write.value.as_ref().map_or(0, Bytes::len);
            value_at as u32
        })
    }

    /// Bytes of its record.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        let writes = self.writes.iter().map(|write| 6 + write.key.len() + write.value.as_ref().map_or(0, Bytes::len));
        let reads = self.reads.iter().map(|key| 2 + key.len());
        let ranges = self.ranges.iter().map(|(start, end)| 4 + start.len() + end.len());
        let counts = 3 * 2;
        WRITES_AT + counts + writes.chain(reads).chain(ranges).sum::<usize>() + 4 * self.participants.len()
    }

    fn put(&self, kind: u8, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u8(kind);
        put_txn(out, self.txn);
        put_attempt(out, self.attempt);
        out.put_u32_le(self.coordinator);
        self.age.put(out);
        out.put_u64_le(self.digest);
        put_count(out, self.writes.len(), OPERATIONS_MAX);
        debug_assert_eq!(out.len() - start, WRITES_AT);
        for write in &self.writes {
            put_key(out, &write.key);
            match &write.value {
                Some(value) => put_value(out, value),
                None => out.put_u32_le(REMOVED),
            }
        }
        put_count(out, self.reads.len(), OPERATIONS_MAX);
        for key in &self.reads {
            put_key(out, key);
        }
        put_count(out, self.ranges.len(), OPERATIONS_MAX);
        for (start, end) in &self.ranges {
            put_key(out, start);
            put_key(out, end);
        }
        put_participants(out, &self.participants);
        debug_assert_eq!(out.len() - start, self.encoded_bytes());
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self {
            txn: reader.txn()?,
            attempt: reader.attempt()?,
            coordinator: reader.u32("coordinator")?,
            age: Age::read(reader, "age")?,
            digest: reader.u64("digest")?,
            writes: read_list(reader, 6, "writes", Write::read)?,
            reads: read_list(reader, 2, "reads", Reader::key)?,
            ranges: read_list(reader, 4, "ranges", |reader| Ok((reader.key()?, reader.key()?)))?,
            participants: reader.participants()?,
        })
    }
}

fn read_list<T>(
    reader: &mut Reader,
    bytes_each_min: usize,
    field: &'static str,
    read: impl Fn(&mut Reader) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = reader.count(bytes_each_min, OPERATIONS_MAX, field)?;
    (0..count).map(|_| read(reader)).collect()
}

impl Write {
    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let key = reader.key()?;
        let length = reader.u32("value length")?;
        let value = match length {
            REMOVED => None,
            length => Some(reader.slice(length as usize, VALUE_BYTES_MAX, "value")?),
        };
        Ok(Self { key, value })
    }
}

impl Record {
    /// Appends the encoded record.
    ///
    /// # Panics
    /// If it exceeds a limit: a machine bounds what it promises.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Self::Prepared(promise) => promise.put(PREPARED, out),
            Self::PreparedAgain { promise, first_at } => {
                promise.put(PREPARED_AGAIN, out);
                put_position(out, *first_at);
            }
            Self::CommittedOnePhase(promise) => promise.put(COMMITTED_ONE_PHASE, out),
            Self::Committed { txn, attempt, decided_at } => {
                put_head(out, COMMITTED, *txn, *attempt);
                put_position(out, *decided_at);
            }
            Self::Aborted { txn, attempt } => put_head(out, ABORTED, *txn, *attempt),
            Self::Released { txn, attempt } => put_head(out, RELEASED, *txn, *attempt),
            Self::Fenced { peer, process } => {
                out.put_u8(FENCED);
                out.put_u32_le(*peer);
                put_process(out, *process);
            }
            Self::Retired { coordinator } => {
                out.put_u8(RETIRED);
                out.put_u32_le(*coordinator);
            }
            Self::Started { epoch, start } => {
                out.put_u8(STARTED);
                out.put_u32_le(*epoch);
                out.put_u64_le(*start);
            }
            Self::Starts(starts) => put_starts(out, starts),
            Self::Decided { txn, attempt, digest, participants } => {
                put_head(out, DECIDED, *txn, *attempt);
                out.put_u64_le(*digest);
                put_positions(out, participants, PARTICIPANTS_MAX);
            }
            Self::DecidedAgain { txn, attempt, digest, participants, first_at } => {
                put_head(out, DECIDED_AGAIN, *txn, *attempt);
                out.put_u64_le(*digest);
                put_positions(out, participants, PARTICIPANTS_MAX);
                put_position(out, *first_at);
            }
            Self::DecidedElsewhere { txn, attempt, digest, participant, committed_at } => {
                put_head(out, DECIDED_ELSEWHERE, *txn, *attempt);
                out.put_u64_le(*digest);
                out.put_u32_le(participant.unwrap_or(NO_PARTICIPANT));
                put_position(out, *committed_at);
            }
            Self::Finished { txn } => {
                out.put_u8(FINISHED);
                put_txn(out, *txn);
            }
            Self::Bins { owners } => {
                out.put_u8(BIN_TABLE);
                put_count(out, owners.len(), BINS as usize);
                owners.iter().for_each(|owner| out.put_u32_le(*owner));
            }
            Self::Outcomes(outcomes) => put_outcomes(out, outcomes),
            Self::Stated(stated) => {
                out.put_u8(STATED);
                put_positions(out, stated, STATED_MAX);
            }
            Self::StatedDecisions(stated) => {
                out.put_u8(STATED_DECISIONS);
                put_positions(out, stated, STATED_MAX);
            }
            Self::LossAccepted { until } => {
                out.put_u8(LOSS_ACCEPTED);
                out.put_u64_le(until.0);
            }
        }
        let length = out.len() - start;
        assert!(length <= RECORD_BYTES_MAX, "a record of {length} bytes");
    }

    /// Reads a whole record from verified bytes.
    ///
    /// # Errors
    /// If the bytes are not a record of this version.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let record = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(record)
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let kind = reader.u8("record kind")?;
        Ok(match kind {
            PREPARED => Self::Prepared(Promise::read(reader)?),
            COMMITTED_ONE_PHASE => Self::CommittedOnePhase(Promise::read(reader)?),
            COMMITTED_SOMEWHERE => {
                Self::Committed { txn: reader.txn()?, attempt: reader.attempt()?, decided_at: Position::UNKNOWN }
            }
            COMMITTED => Self::Committed {
                txn: reader.txn()?,
                attempt: reader.attempt()?,
                decided_at: reader.position("decided at")?,
            },
            ABORTED => Self::Aborted { txn: reader.txn()?, attempt: reader.attempt()? },
            RELEASED => Self::Released { txn: reader.txn()?, attempt: reader.attempt()? },
            FENCED_BY_EPOCH => {
                let peer = reader.u32("peer")?;
                Self::Fenced { peer, process: Process { epoch: reader.u32("epoch")?, ..Process::NONE } }
            }
            STARTED_BY_EPOCH => Self::Started { epoch: reader.u32("epoch")?, start: 0 },
            FENCED => Self::Fenced { peer: reader.u32("peer")?, process: reader.process()? },
            RETIRED => Self::Retired { coordinator: reader.u32("coordinator")? },
            STARTED => Self::Started { epoch: reader.u32("epoch")?, start: reader.u64("start id")? },
            STARTS => {
                let count = reader.count(12, STARTS_MAX, "starts")?;
                let read = |reader: &mut Reader| Ok((reader.u32("epoch")?, reader.u64("start id")?));
                Self::Starts((0..count).map(|_| read(reader)).collect::<Result<_, _>>()?)
            }
            DECIDED_BY_LSN => read_decided_by_lsn(reader)?,
            DECIDED_SOMEWHERE => Self::DecidedElsewhere {
                txn: reader.txn()?,
                attempt: reader.attempt()?,
                digest: reader.u64("digest")?,
                participant: None,
                committed_at: Position::UNKNOWN,
            },
            DECIDED => Self::Decided {
                txn: reader.txn()?,
                attempt: reader.attempt()?,
                digest: reader.u64("digest")?,
                participants: read_positions(reader, PARTICIPANTS_MAX, "participants")?,
            },
            DECIDED_AGAIN => Self::DecidedAgain {
                txn: reader.txn()?,
                attempt: reader.attempt()?,
                digest: reader.u64("digest")?,
                participants: read_positions(reader, PARTICIPANTS_MAX, "participants")?,
                first_at: reader.position("first at")?,
            },
            DECIDED_ELSEWHERE => Self::DecidedElsewhere {
                txn: reader.txn()?,
                attempt: reader.attempt()?,
                digest: reader.u64("digest")?,
                participant: Some(reader.u32("participant")?).filter(|number| *number != NO_PARTICIPANT),
                committed_at: reader.position("committed at")?,
            },
            PREPARED_AGAIN => {
                Self::PreparedAgain { promise: Promise::read(reader)?, first_at: reader.position("first at")? }
            }
            STATED => Self::Stated(read_positions(reader, STATED_MAX, "peers")?),
            STATED_DECISIONS => Self::StatedDecisions(read_positions(reader, STATED_MAX, "peers")?),
            LOSS_ACCEPTED => Self::LossAccepted { until: Index(reader.u64("until")?) },
            FINISHED => Self::Finished { txn: reader.txn()? },
            OUTCOMES => {
                let count = reader.count(OUTCOME_BYTES, OUTCOMES_PER_RECORD_MAX, "outcomes")?;
                let outcomes = (0..count).map(|_| CommittedOutcome::read(reader)).collect::<Result<_, _>>()?;
                Self::Outcomes(outcomes)
            }
            BIN_TABLE => {
                let count = reader.count(4, BINS as usize, "bins")?;
                let owners = (0..count).map(|_| reader.u32("owner")).collect::<Result<_, _>>()?;
                Self::Bins { owners }
            }
            code => return Err(Malformed::UnknownCode { field: "record kind", code }),
        })
    }
}

impl CommittedOutcome {
    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self {
            txn: reader.txn()?,
            attempt: reader.attempt()?,
            digest: reader.u64("digest")?,
            coordinator: reader.u32("coordinator")?,
        })
    }
}

fn put_outcomes(out: &mut Vec<u8>, outcomes: &[CommittedOutcome]) {
    out.put_u8(OUTCOMES);
    put_count(out, outcomes.len(), OUTCOMES_PER_RECORD_MAX);
    for outcome in outcomes {
        put_txn(out, outcome.txn);
        put_attempt(out, outcome.attempt);
        out.put_u64_le(outcome.digest);
        out.put_u32_le(outcome.coordinator);
    }
}

fn put_starts(out: &mut Vec<u8>, starts: &[(u32, u64)]) {
    out.put_u8(STARTS);
    put_count(out, starts.len(), STARTS_MAX);
    for (epoch, start) in starts {
        out.put_u32_le(*epoch);
        out.put_u64_le(*start);
    }
}

fn put_positions(out: &mut Vec<u8>, positions: &[(u32, Position)], count_max: usize) {
    put_count(out, positions.len(), count_max);
    for (number, position) in positions {
        out.put_u32_le(*number);
        put_position(out, *position);
    }
}

fn read_positions(
    reader: &mut Reader,
    count_max: usize,
    field: &'static str,
) -> Result<Vec<(u32, Position)>, Malformed> {
    let count = reader.count(20, count_max, field)?;
    (0..count).map(|_| Ok((reader.u32("number")?, reader.position("position")?))).collect()
}

fn read_decided_by_lsn(reader: &mut Reader) -> Result<Record, Malformed> {
    let (txn, attempt, digest) = (reader.txn()?, reader.attempt()?, reader.u64("digest")?);
    let count = reader.count(12, PARTICIPANTS_MAX, "participants")?;
    let mut read = || {
        let participant = reader.u32("participant")?;
        // A byte address, which says nothing of what stands there.
        reader.u64("prepared at")?;
        Ok((participant, Position::UNKNOWN))
    };
    let participants = (0..count).map(|_| read()).collect::<Result<_, Malformed>>()?;
    Ok(Record::Decided { txn, attempt, digest, participants })
}

fn put_head(out: &mut Vec<u8>, kind: u8, txn: TxnId, attempt: Attempt) {
    out.put_u8(kind);
    put_txn(out, txn);
    put_attempt(out, attempt);
}
