//! Questions about transactions that this coordinator does not remember: it asks every
//! participant, since one that committed in one phase is remembered only there. If its log has lost decisions, it asks so
//! before it refuses anything, too.

use protocol::message::{KnownOutcome, TxnStatus};
use protocol::{ClientMessage, Effects, Message, NodeId, Reason, RecoveryMessage, Refusal, Tick, TxnId};

use crate::admission::CLIENTS_PER_TXN_MAX;
use crate::machine::Coordinator;
use crate::transaction::Txn;

/// How many such questions may be open at once.
const STATUS_QUESTIONS_MAX: usize = 1_024;

/// How long participants may take to answer, in microseconds.
const STATUS_TIMEOUT_US: u64 = 1_000_000;

/// What a client wants with a transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    /// To know its status.
    Status,
    /// To have it committed, by a coordinator that takes on nothing new.
    Commit,
}

/// An open question.
#[derive(Debug)]
pub(crate) struct StatusQuestion {
    /// Its number: each time that somebody joins, it is asked anew, for what was answered before may have changed since.
    pub(crate) number: u64,
    pub(crate) clients: Vec<(NodeId, Wish)>,
    /// Who has not answered yet.
    pub(crate) awaited: Vec<u32>,
    /// Whether anyone still works on it.
    pub(crate) in_progress: bool,
    pub(crate) due: Tick,
}

impl StatusQuestion {
    pub(crate) fn new(number: u64, clients: Vec<(NodeId, Wish)>, awaited: Vec<u32>, due: Tick) -> Self {
        Self { number, clients, awaited, in_progress: false, due }
    }

    /// Takes a participant's answer, and returns the transaction's status once it is known.
    pub(crate) fn answer(&mut self, participant: u32, known: KnownOutcome) -> Option<TxnStatus> {
        self.awaited.retain(|awaited| *awaited != participant);
        match known {
            KnownOutcome::Committed => return Some(TxnStatus::Committed),
            KnownOutcome::InProgress => self.in_progress = true,
            KnownOutcome::Nothing => {}
        }
        self.awaited.is_empty().then(|| self.at_end())
    }

    /// What can be said when no more answers come: with one missing, nobody knows the end yet.
    pub(crate) fn at_end(&self) -> TxnStatus {
        if self.in_progress || !self.awaited.is_empty() { TxnStatus::InProgress } else { TxnStatus::Unknown }
    }
}

impl Coordinator {
    pub(crate) fn on_ask_status(&mut self, now: Tick, client: NodeId, txn: TxnId, effects: &mut Effects<'_>) {
        let status = match self.txns.get(&txn) {
            Some(Txn::Delivering(_)) => Some(TxnStatus::Committed),
            Some(Txn::Open(_)) => Some(TxnStatus::InProgress),
            None if self.committed.get(txn).is_some() => Some(TxnStatus::Committed),
            None if self.read.get(txn).is_some() => Some(TxnStatus::Committed),
            None if self.aborted.get(txn).is_some() => Some(TxnStatus::Aborted),
            None => None,
        };
        if let Some(status) = status {
            return effects.send(client, &Message::Client(ClientMessage::Status { txn, status }));
        }
        self.ask_participants(now, txn, (client, Wish::Status), effects);
    }

    pub(crate) fn ask_participants(
        &mut self,
        now: Tick,
        txn: TxnId,
        (client, wish): (NodeId, Wish),
        effects: &mut Effects<'_>,
    ) {
        let is_full = match self.questions.get(&txn) {
            Some(question) => question.clients.len() >= CLIENTS_PER_TXN_MAX,
            None => self.questions.len() >= STATUS_QUESTIONS_MAX,
        };
        if is_full {
            // Nothing was begun.
            return effects.send_now(client, &Message::Client(ClientMessage::Busy { txn }));
        }
        let due = now.plus_us(STATUS_TIMEOUT_US);
        let awaited = self.config.participants.clone();
        self.last_question += 1;
        // No answer to a question of an earlier start is taken for one to this.
        let number = u64::from(self.fencing.own().epoch) << 32 | u64::from(self.last_question);
        let mut clients = self.questions.remove(&txn).map_or_else(Vec::new, |earlier| earlier.clients);
        clients.push((client, wish));
        self.questions.insert(txn, StatusQuestion::new(number, clients, awaited, due));
        self.timers.set(due, txn);
        for participant in &self.config.participants {
            // A question promises nothing.
            effects.send_now(
                NodeId::participant(*participant),
                &Message::Recovery(RecoveryMessage::AskOutcome { txn, question: number }),
            );
        }
    }

    pub(crate) fn on_outcome(
        &mut self,
        participant: u32,
        (txn, number): (TxnId, u64),
        known: KnownOutcome,
        effects: &mut Effects<'_>,
    ) {
        if let Some(question) = self.questions.get_mut(&txn).filter(|question| question.number == number)
            && let Some(status) = question.answer(participant, known)
        {
            self.answer_question(txn, status, effects);
        }
    }

    pub(crate) fn answer_question(&mut self, txn: TxnId, status: TxnStatus, effects: &mut Effects<'_>) {
        let Some(question) = self.questions.remove(&txn) else { return };
        for (client, wish) in question.clients {
            match (wish, status) {
                (Wish::Status, status) => effects.send(client, &Message::Client(ClientMessage::Status { txn, status })),
                (Wish::Commit, TxnStatus::Aborted | TxnStatus::Unknown) => {
                    let refusal = Refusal::by_coordinator(Reason::LogLost);
                    // Nobody has it, and nobody is asked for it.
                    effects.send_now(
                        client,
                        &Message::Client(ClientMessage::Aborted { txn, refusal, at_deadline: false }),
                    );
                }
                // Nothing was begun now, and it may have been before: its status says so.
                (Wish::Commit, TxnStatus::Committed | TxnStatus::InProgress) => {
                    effects.send_now(client, &Message::Client(ClientMessage::Busy { txn }));
                }
            }
        }
    }
}
