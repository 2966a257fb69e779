//! A client: asks, waits, asks again, and remembers what it was told.
//!
//! Answers name a transaction, not a question: each is taken as the answer to the oldest question about it that may have it.

use std::collections::{BTreeMap, VecDeque};

use protocol::frame::FrameReader;
use protocol::message::{Submit, TxnStatus};
use protocol::{ClientMessage, Message, Operation, TxnId};

use crate::judge::history::{Asked, History, Outcome, Question, Said, Transaction};

/// The first pause before asking again when the coordinator is busy, in microseconds; it doubles up to the other one.
const BUSY_PAUSE_US: (u64, u64) = (4_000, 1_000_000);

/// A client, with one connection to one coordinator.
pub struct Client {
    /// Its number, from 0.
    pub number: usize,
    /// Its link.
    pub link: usize,
    /// What arrives.
    pub incoming: FrameReader,
    /// What has no answer yet.
    pub pending: BTreeMap<TxnId, Pending>,
    /// When it looks next whether to ask again.
    pub wake_at: Option<u64>,
    /// Something on its link has come twice: an answer may belong to a question that had one.
    pub is_confused: bool,
    /// Questions that may still be answered, of each transaction about which more than one was asked.
    open: BTreeMap<TxnId, VecDeque<usize>>,
    next: u64,
}

/// A transaction without an answer.
pub struct Pending {
    /// Where it stands in the history.
    pub entry: usize,
    /// The workload that it is of.
    pub workload: usize,
    submit: Submit,
    asks_again: bool,
    again_at: u64,
    busy_pause_us: u64,
}

/// What a client does with its time.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long a transaction may take, in milliseconds.
    pub deadline_ms: u32,
    /// How long it waits for an answer before it asks again, in microseconds.
    pub patience_us: u64,
    /// Whether it asks again at all: else it goes on without an answer.
    pub asks_again: bool,
}

impl Client {
    /// A client that has asked for nothing.
    #[must_use]
    pub fn new(number: usize, link: usize) -> Self {
        Self {
            number,
            link,
            incoming: FrameReader::default(),
            pending: BTreeMap::new(),
            wake_at: None,
            is_confused: false,
            open: BTreeMap::new(),
            next: 0,
        }
    }

    /// Begins a transaction of a workload; the message to send.
    pub fn begin(
        &mut self,
        history: &mut History,
        now: u64,
        patience: Patience,
        workload: usize,
        operations: impl FnOnce(TxnId) -> Vec<Operation>,
    ) -> Message {
        self.next += 1;
        let txn = TxnId((1 + self.number as u128) << 64 | u128::from(self.next));
        let operations = operations(txn);
        let entry = history.transactions.len();
        history.transactions.push(Transaction {
            id: txn,
            client: self.number as u32,
            invoked_us: now,
            completed_us: None,
            operations: operations.clone(),
            outcome: Outcome::Unknown,
            submissions: 1,
        });
        let submit = Submit { txn, deadline_ms: patience.deadline_ms, operations };
        let (again_at, busy_pause_us, asks_again) = (now + patience.patience_us, BUSY_PAUSE_US.0, patience.asks_again);
        let pending = Pending { entry, workload, submit: submit.clone(), asks_again, again_at, busy_pause_us };
        self.pending.insert(txn, pending);
        Message::Client(ClientMessage::Submit(submit))
    }

    /// What it asks again for now: what has waited too long, or all of it on a new connection.
    pub fn ask_again(&mut self, history: &mut History, now: u64, patience_us: u64, all: bool) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut asked = Vec::new();
        self.pending.retain(|_, pending| pending.asks_again || !(all || pending.again_at <= now));
        for pending in self.pending.values_mut().filter(|pending| all || pending.again_at <= now) {
            pending.again_at = now + patience_us;
            history.transactions[pending.entry].submissions += 1;
            asked.push((pending.submit.txn, pending.entry));
            messages.push(Message::Client(ClientMessage::Submit(pending.submit.clone())));
        }
        for (txn, entry) in asked {
            self.note_question(history, now, (txn, entry), Asked::Same);
        }
        messages
    }

    /// A question about a transaction that has ended: the same again, something else under the same id, or what became of it.
    /// What was aborted is not asked for again: it may be tried anew.
    pub fn doubt(&mut self, history: &mut History, now: u64, entry: usize, asked: Asked) -> Option<Message> {
        let ended = &history.transactions[entry];
        let txn = ended.id;
        let waits = self.open.get(&txn).is_some_and(|open| !open.is_empty());
        // Nobody remembers the id of a reader.
        let may_be_other = ended.writes() && ended.submissions == 1 && !self.is_confused;
        let is_unclear = waits || (asked == Asked::Other && !may_be_other);
        if !ended.is_committed() || is_unclear {
            return None;
        }
        let mut operations = ended.operations.clone();
        if asked == Asked::Other {
            operations.push(Operation::Put { key: "never".into(), value: "never".into() });
        }
        self.note_question(history, now, (txn, entry), asked);
        Some(match asked {
            Asked::Status => Message::Client(ClientMessage::AskStatus { txn }),
            Asked::Same | Asked::Other => {
                Message::Client(ClientMessage::Submit(Submit { txn, deadline_ms: 1_000, operations }))
            }
        })
    }

    /// A question that is not the first one about its transaction.
    fn note_question(&mut self, history: &mut History, now: u64, (txn, entry): (TxnId, usize), asked: Asked) {
        let open = self.open.entry(txn).or_insert_with(|| {
            let transaction = &history.transactions[entry];
            let said = match &transaction.outcome {
                Outcome::Committed(results) => Some(Said::Committed(results.clone())),
                Outcome::Aborted(reason) => Some(Said::Aborted(Some(*reason))),
                Outcome::Unknown => None,
            };
            let first = Question {
                transaction: entry,
                asked: Asked::Same,
                asked_us: transaction.invoked_us,
                said: transaction.completed_us.zip(said),
            };
            let is_open = first.said.is_none();
            history.questions.push(first);
            is_open.then_some(history.questions.len() - 1).into_iter().collect()
        });
        open.push_back(history.questions.len());
        history.questions.push(Question { transaction: entry, asked, asked_us: now, said: None });
    }

    /// The oldest question that may have this answer has it.
    fn note_answer(&mut self, history: &mut History, now: u64, txn: TxnId, said: &Said, of_status: bool) {
        let Some(open) = self.open.get_mut(&txn) else { return };
        let fits = |at: &usize| (history.questions[*at].asked == Asked::Status) == of_status;
        if let Some(place) = open.iter().position(fits)
            && let Some(at) = open.remove(place)
        {
            history.questions[at].said = Some((now, said.clone()));
        }
    }

    /// Takes what is no outcome.
    fn take_other(&mut self, history: &mut History, now: u64, message: &Message) {
        if let Message::Client(ClientMessage::Status { txn, status }) = message {
            self.note_answer(history, now, *txn, &said_of(*status), true);
        } else if let Message::Client(ClientMessage::Busy { txn }) = message {
            self.come_back_later(*txn, now);
        }
    }

    fn come_back_later(&mut self, txn: TxnId, now: u64) {
        if let Some(pending) = self.pending.get_mut(&txn) {
            pending.again_at = now + pending.busy_pause_us;
            pending.busy_pause_us = (pending.busy_pause_us * 2).min(BUSY_PAUSE_US.1);
        }
    }

    /// When it has to ask again for something.
    #[must_use]
    pub fn next_again(&self) -> Option<u64> {
        self.pending.values().map(|pending| pending.again_at).min()
    }

    /// Takes an answer; the transaction that has ended with it.
    pub fn take(&mut self, history: &mut History, now: u64, message: Message) -> Option<Pending> {
        let (txn, outcome) = if let Message::Client(ClientMessage::Committed { txn, results }) = message {
            (txn, Outcome::Committed(results))
        } else if let Message::Client(ClientMessage::Aborted { txn, refusal, .. }) = message {
            (txn, Outcome::Aborted(refusal.reason))
        } else {
            self.take_other(history, now, &message);
            return None;
        };
        let said = match &outcome {
            Outcome::Committed(results) => Said::Committed(results.clone()),
            Outcome::Aborted(reason) => Said::Aborted(Some(*reason)),
            Outcome::Unknown => return None,
        };
        self.note_answer(history, now, txn, &said, false);
        let pending = self.pending.remove(&txn)?;
        let entry = &mut history.transactions[pending.entry];
        (entry.completed_us, entry.outcome) = (Some(now), outcome);
        Some(pending)
    }
}

fn said_of(status: TxnStatus) -> Said {
    match status {
        TxnStatus::Committed => Said::Committed(None),
        TxnStatus::Aborted => Said::Aborted(None),
        TxnStatus::InProgress => Said::InProgress,
        TxnStatus::Unknown => Said::Unknown,
    }
}
