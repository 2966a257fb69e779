//! The bytes of messages. `WIRE.md` has the tables; the two change together.

use bytes::BufMut;

use crate::codec::{
    Malformed, Reader, put_attempt, put_count, put_key, put_participants, put_position, put_process, put_txn,
};
use crate::fencing::Unwelcome;
use crate::id::{Age, ClusterId, Position, Process, Role};
use crate::limits::{MESSAGE_BYTES_MAX, PARTICIPANTS_MAX, STATS_BYTES_MAX};
use crate::message::{Hello, KnownOutcome, Message, PeerChange, Prepare, PrepareMode, Stats, Submit, TxnStatus};
use crate::operation::{OperationResult, put_operations, put_results, read_operations, read_results};
use crate::refusal::Refusal;

const HELLO: u8 = 1;
const SUBMIT: u8 = 2;
const ASK_STATUS: u8 = 3;
const COMMITTED: u8 = 4;
const ABORTED: u8 = 5;
const BUSY: u8 = 6;
const STATUS: u8 = 7;
const PREPARE: u8 = 8;
const COMMIT: u8 = 9;
const ABORT: u8 = 10;
const ASK_OUTCOME: u8 = 11;
const VOTE_YES: u8 = 12;
const VOTE_READ_ONLY: u8 = 13;
const VOTE_NO: u8 = 14;
const COMMITTED_ONE_PHASE: u8 = 15;
const COMMIT_ACK: u8 = 16;
const PREPARE_LOST: u8 = 17;
const ASK_DECISION: u8 = 18;
const OUTCOME: u8 = 19;
const ASK_STATS: u8 = 20;
const STATS: u8 = 21;
const CLAIM: u8 = 22;
const LOG_LOST: u8 = 23;
const ACCEPT: u8 = 24;
const SUPERSEDED: u8 = 25;
const UNWELCOME: u8 = 26;
const REPLACE_LOG: u8 = 27;
const RETIRE: u8 = 28;
const PEER_CHANGED: u8 = 29;
const ACCEPTED: u8 = 30;

impl Message {
    /// Appends the encoded message.
    ///
    /// # Panics
    /// If it exceeds a limit: what the sender says is the sender's own to bound.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.put(out);
        let length = out.len() - start;
        assert!(length <= MESSAGE_BYTES_MAX, "a message of {length} bytes");
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => hello.put(out),
            Self::Submit(submit) => submit.put(out),
            Self::AskStatus { txn } => put_kind_txn(out, ASK_STATUS, *txn),
            Self::Committed { txn, results } => {
                put_kind_txn(out, COMMITTED, *txn);
                put_optional_results(out, results.as_deref());
            }
            Self::Aborted { txn, refusal, at_deadline } => {
                put_kind_txn(out, ABORTED, *txn);
                refusal.put(out);
                out.put_u8(u8::from(*at_deadline));
            }
            Self::Busy { txn } => put_kind_txn(out, BUSY, *txn),
            Self::Status { txn, status } => {
                put_kind_txn(out, STATUS, *txn);
                out.put_u8(status.code());
            }
            Self::Prepare(prepare) => prepare.put(out),
            Self::Commit { txn, attempt, prepared_at, decided_at } => {
                put_at_positions(out, (COMMIT, *txn, *attempt), [*prepared_at, *decided_at])
            }
            Self::Abort { txn, attempt } => put_kind_attempt(out, ABORT, *txn, *attempt),
            Self::AskOutcome { txn, question } => {
                put_kind_txn(out, ASK_OUTCOME, *txn);
                out.put_u64_le(*question);
            }
            Self::VoteYes { txn, attempt, prepared_at, results } => {
                put_kind_attempt(out, VOTE_YES, *txn, *attempt);
                put_position(out, *prepared_at);
                put_results(out, results);
            }
            Self::VoteReadOnly { txn, attempt, results } => {
                put_kind_attempt(out, VOTE_READ_ONLY, *txn, *attempt);
                put_results(out, results);
            }
            Self::VoteNo { txn, attempt, refusal } => {
                put_kind_attempt(out, VOTE_NO, *txn, *attempt);
                refusal.put(out);
            }
            Self::CommittedOnePhase { txn, attempt, committed_at, results } => {
                put_kind_attempt(out, COMMITTED_ONE_PHASE, *txn, *attempt);
                put_position(out, *committed_at);
                put_optional_results(out, results.as_deref());
            }
            Self::CommitAck { txn, attempt } => put_kind_attempt(out, COMMIT_ACK, *txn, *attempt),
            Self::PrepareLost { txn, attempt, voted_at, held_at } => {
                put_at_positions(out, (PREPARE_LOST, *txn, *attempt), [*voted_at, *held_at])
            }
            Self::AskDecision { txn, attempt, participants } => {
                put_kind_attempt(out, ASK_DECISION, *txn, *attempt);
                put_participants(out, participants);
            }
            Self::Outcome { txn, question, known } => {
                put_kind_txn(out, OUTCOME, *txn);
                out.put_u64_le(*question);
                out.put_u8(known.code());
            }
            Self::AskStats => out.put_u8(ASK_STATS),
            Self::Stats(stats) => stats.put(out),
            Self::Claim { by, known, stated } => {
                put_processes(out, CLAIM, &[*by, *known]);
                put_position(out, *stated);
            }
            Self::Accept { by, known } => put_processes(out, ACCEPT, &[*by, *known]),
            Self::Accepted { by } => put_processes(out, ACCEPTED, &[*by]),
            Self::Superseded { known } => put_processes(out, SUPERSEDED, &[*known]),
            Self::Unwelcome(unwelcome) => unwelcome.put(UNWELCOME, out),
            Self::ReplaceLog { role, node } => put_codes(out, &[REPLACE_LOG, role.code()], &[*node]),
            Self::Retire { node } => put_codes(out, &[RETIRE], &[*node]),
            Self::PeerChanged { outcome, epoch, in_doubt } => {
                put_codes(out, &[PEER_CHANGED, outcome.code()], &[*epoch, *in_doubt]);
            }
            Self::LogLost { stated, held } => {
                out.put_u8(LOG_LOST);
                put_position(out, *stated);
                put_position(out, *held);
            }
        }
    }

    /// Reads one message from verified bytes.
    ///
    /// # Errors
    /// If the bytes are not a message: the peer does not speak this protocol.
    pub fn decode(reader: &mut Reader) -> Result<Self, Malformed> {
        let kind = reader.u8("message kind")?;
        Ok(match kind {
            HELLO => Self::Hello(Hello::read(reader)?),
            SUBMIT => Self::Submit(Submit {
                txn: reader.txn()?,
                deadline_ms: reader.u32("deadline")?,
                operations: read_operations(reader)?,
            }),
            ASK_STATUS => Self::AskStatus { txn: reader.txn()? },
            COMMITTED => Self::Committed { txn: reader.txn()?, results: read_optional_results(reader)? },
            ABORTED => Self::Aborted {
                txn: reader.txn()?,
                refusal: Refusal::read(reader)?,
                at_deadline: read_flag(reader, "at deadline")?,
            },
            BUSY => Self::Busy { txn: reader.txn()? },
            STATUS => Self::Status { txn: reader.txn()?, status: TxnStatus::read(reader)? },
            PREPARE => Self::Prepare(Prepare::read(reader)?),
            COMMIT => Self::Commit {
                txn: reader.txn()?,
                attempt: reader.attempt()?,
                prepared_at: reader.position("prepared at")?,
                decided_at: reader.position("decided at")?,
            },
            ABORT => Self::Abort { txn: reader.txn()?, attempt: reader.attempt()? },
            ASK_OUTCOME => Self::AskOutcome { txn: reader.txn()?, question: reader.u64("question")? },
            VOTE_YES => Self::VoteYes {
                txn: reader.txn()?,
                attempt: reader.attempt()?,
                prepared_at: reader.position("prepared at")?,
                results: read_results(reader)?,
            },
            VOTE_READ_ONLY => {
                Self::VoteReadOnly { txn: reader.txn()?, attempt: reader.attempt()?, results: read_results(reader)? }
            }
            VOTE_NO => Self::VoteNo { txn: reader.txn()?, attempt: reader.attempt()?, refusal: Refusal::read(reader)? },
            COMMITTED_ONE_PHASE => Self::CommittedOnePhase {
                txn: reader.txn()?,
                attempt: reader.attempt()?,
                committed_at: reader.position("committed at")?,
                results: read_optional_results(reader)?,
            },
            COMMIT_ACK => Self::CommitAck { txn: reader.txn()?, attempt: reader.attempt()? },
            PREPARE_LOST => Self::PrepareLost {
                txn: reader.txn()?,
                attempt: reader.attempt()?,
                voted_at: reader.position("voted at")?,
                held_at: reader.position("held at")?,
            },
            ASK_DECISION => Self::AskDecision {
                txn: reader.txn()?,
                attempt: reader.attempt()?,
                participants: reader.participants()?,
            },
            OUTCOME => Self::Outcome {
                txn: reader.txn()?,
                question: reader.u64("question")?,
                known: KnownOutcome::read(reader)?,
            },
            ASK_STATS => Self::AskStats,
            STATS => Self::Stats(Stats::read(reader)?),
            CLAIM => {
                Self::Claim { by: reader.process()?, known: reader.process()?, stated: reader.position("stated")? }
            }
            ACCEPT => Self::Accept { by: reader.process()?, known: reader.process()? },
            ACCEPTED => Self::Accepted { by: reader.process()? },
            SUPERSEDED => Self::Superseded { known: reader.process()? },
            UNWELCOME => Self::Unwelcome(Unwelcome::read(reader)?),
            REPLACE_LOG => Self::ReplaceLog { role: read_role(reader)?, node: reader.u32("node")? },
            RETIRE => Self::Retire { node: reader.u32("node")? },
            PEER_CHANGED => Self::PeerChanged {
                outcome: PeerChange::read(reader)?,
                epoch: reader.u32("epoch")?,
                in_doubt: reader.u32("in doubt")?,
            },
            LOG_LOST => Self::LogLost { stated: reader.position("stated")?, held: reader.position("held")? },
            code => return Err(Malformed::UnknownCode { field: "message kind", code }),
        })
    }
}

fn put_kind_txn(out: &mut Vec<u8>, kind: u8, txn: crate::id::TxnId) {
    out.put_u8(kind);
    put_txn(out, txn);
}

fn put_kind_attempt(out: &mut Vec<u8>, kind: u8, txn: crate::id::TxnId, attempt: crate::id::Attempt) {
    put_kind_txn(out, kind, txn);
    put_attempt(out, attempt);
}

fn put_at_positions(
    out: &mut Vec<u8>,
    (kind, txn, attempt): (u8, crate::id::TxnId, crate::id::Attempt),
    positions: [Position; 2],
) {
    put_kind_attempt(out, kind, txn, attempt);
    positions.into_iter().for_each(|position| put_position(out, position));
}

fn put_processes(out: &mut Vec<u8>, kind: u8, processes: &[Process]) {
    out.put_u8(kind);
    processes.iter().for_each(|process| put_process(out, *process));
}

fn put_codes(out: &mut Vec<u8>, codes: &[u8], numbers: &[u32]) {
    out.put_slice(codes);
    numbers.iter().for_each(|number| out.put_u32_le(*number));
}

fn put_optional_results(out: &mut Vec<u8>, results: Option<&[OperationResult]>) {
    out.put_u8(u8::from(results.is_some()));
    if let Some(results) = results {
        put_results(out, results);
    }
}

fn read_optional_results(reader: &mut Reader) -> Result<Option<Vec<OperationResult>>, Malformed> {
    Ok(if read_flag(reader, "has results")? { Some(read_results(reader)?) } else { None })
}

fn read_flag(reader: &mut Reader, field: &'static str) -> Result<bool, Malformed> {
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        code => Err(Malformed::UnknownCode { field, code }),
    }
}

impl Hello {
    fn put(self, out: &mut Vec<u8>) {
        out.put_u8(HELLO);
        out.put_u8(self.role.code());
        out.put_u32_le(self.node);
        out.put_u64_le(self.cluster.0);
        put_process(out, self.process);
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self {
            role: read_role(reader)?,
            node: reader.u32("node")?,
            cluster: ClusterId(reader.u64("cluster")?),
            process: reader.process()?,
        })
    }
}

pub(crate) fn read_role(reader: &mut Reader) -> Result<Role, Malformed> {
    let code = reader.u8("role")?;
    Role::from_code(code).ok_or(Malformed::UnknownCode { field: "role", code })
}

impl PeerChange {
    fn code(self) -> u8 {
        match self {
            Self::Done => 1,
            Self::NotKnown => 2,
            Self::HasPromises => 3,
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        match reader.u8("outcome")? {
            1 => Ok(Self::Done),
            2 => Ok(Self::NotKnown),
            3 => Ok(Self::HasPromises),
            code => Err(Malformed::UnknownCode { field: "outcome", code }),
        }
    }
}

impl Submit {
    fn put(&self, out: &mut Vec<u8>) {
        put_kind_txn(out, SUBMIT, self.txn);
        out.put_u32_le(self.deadline_ms);
        put_operations(out, &self.operations);
    }
}

impl Prepare {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(PREPARE);
        put_txn(out, self.txn);
        put_attempt(out, self.attempt);
        out.put_u64_le(self.cluster.0);
        out.put_u32_le(self.coordinator);
        put_age(out, self.age);
        out.put_u8(self.mode.code());
        out.put_u32_le(self.lock_wait_ms);
        out.put_u32_le(self.answer_within_ms);
        put_participants(out, &self.participants);
        put_operations(out, &self.operations);
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self {
            txn: reader.txn()?,
            attempt: reader.attempt()?,
            cluster: ClusterId(reader.u64("cluster")?),
            coordinator: reader.u32("coordinator")?,
            age: read_age(reader)?,
            mode: PrepareMode::read(reader)?,
            lock_wait_ms: reader.u32("lock wait")?,
            answer_within_ms: reader.u32("answer within")?,
            participants: reader.participants()?,
            operations: read_operations(reader)?,
        })
    }
}

pub(crate) fn put_age(out: &mut Vec<u8>, age: Age) {
    out.put_u64_le(age.admitted_us);
    out.put_u32_le(age.coordinator);
}

pub(crate) fn read_age(reader: &mut Reader) -> Result<Age, Malformed> {
    Ok(Age { admitted_us: reader.u64("age")?, coordinator: reader.u32("age coordinator")? })
}

impl PrepareMode {
    fn code(self) -> u8 {
        match self {
            Self::TwoPhase => 1,
            Self::LocksHeldElsewhere => 2,
            Self::OnePhase => 3,
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        match reader.u8("prepare mode")? {
            1 => Ok(Self::TwoPhase),
            2 => Ok(Self::LocksHeldElsewhere),
            3 => Ok(Self::OnePhase),
            code => Err(Malformed::UnknownCode { field: "prepare mode", code }),
        }
    }
}

impl TxnStatus {
    fn code(self) -> u8 {
        match self {
            Self::Committed => 1,
            Self::Aborted => 2,
            Self::InProgress => 3,
            Self::Unknown => 4,
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        match reader.u8("status")? {
            1 => Ok(Self::Committed),
            2 => Ok(Self::Aborted),
            3 => Ok(Self::InProgress),
            4 => Ok(Self::Unknown),
            code => Err(Malformed::UnknownCode { field: "status", code }),
        }
    }
}

impl KnownOutcome {
    fn code(self) -> u8 {
        match self {
            Self::Committed => 1,
            Self::InProgress => 2,
            Self::Nothing => 3,
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        match reader.u8("known outcome")? {
            1 => Ok(Self::Committed),
            2 => Ok(Self::InProgress),
            3 => Ok(Self::Nothing),
            code => Err(Malformed::UnknownCode { field: "known outcome", code }),
        }
    }
}

impl Stats {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(STATS);
        out.put_u8(self.role.code());
        out.put_u32_le(self.node);
        out.put_u64_le(self.groups);
        out.put_u64_le(self.records);
        out.put_u64_le(self.bytes);
        out.put_u64_le(self.cpu_us);
        assert!(self.sync_us.len() <= STATS_BYTES_MAX);
        out.put_u32_le(self.sync_us.len() as u32);
        out.put_slice(&self.sync_us);
        put_count(out, self.peers.len(), PARTICIPANTS_MAX);
        for peer in &self.peers {
            put_key(out, peer.as_bytes());
        }
        for figure in [self.scrubbed_bytes, self.scrub_passes, self.scrub_findings, self.durable_lsn] {
            out.put_u64_le(figure);
        }
        out.put_u64_le(self.opening);
        out.put_u64_le(self.requests);
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        let role = read_role(reader)?;
        let node = reader.u32("node")?;
        let [groups, records, bytes, cpu_us] =
            [reader.u64("groups")?, reader.u64("records")?, reader.u64("bytes")?, reader.u64("processor time")?];
        let length = reader.u32("histogram length")? as usize;
        let sync_us = reader.slice(length, STATS_BYTES_MAX, "histogram")?;
        let count = reader.count(2, PARTICIPANTS_MAX, "peers")?;
        let peers = (0..count).map(|_| read_peer(reader)).collect::<Result<_, _>>()?;
        Ok(Self {
            role,
            node,
            groups,
            records,
            bytes,
            cpu_us,
            sync_us,
            peers,
            scrubbed_bytes: reader.u64("scrubbed bytes")?,
            scrub_passes: reader.u64("scrub passes")?,
            scrub_findings: reader.u64("scrub findings")?,
            durable_lsn: reader.u64("durable lsn")?,
            opening: reader.u64("opening")?,
            requests: reader.u64("requests")?,
        })
    }
}

fn read_peer(reader: &mut Reader) -> Result<String, Malformed> {
    let address = reader.key()?;
    std::str::from_utf8(&address).map(str::to_owned).map_err(|_| Malformed::NotText("peer address"))
}
