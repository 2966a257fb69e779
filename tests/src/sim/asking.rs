//! Clients: when they ask, and what they do with the answers.

use protocol::message::Hello;
use protocol::{HandshakeMessage, Message, Operation, TxnId, frame};

use crate::judge::Asked;
use crate::random::Random;
use crate::sim::client::Patience;
use crate::sim::course::PROBE_DEADLINE_MS;
use crate::sim::host::CLUSTER;
use crate::sim::network::frames;
use crate::sim::world::{Event, Phase, World};
use crate::workload::Workload;
use crate::workload::bulk::visit;
use crate::workload::pages::Pages;

/// How long a guest waits before it asks again, in microseconds.
const GUEST_PATIENCE_US: u64 = 1_000_000;

impl World<'_> {
    /// A client asks for a transaction of a workload.
    pub(super) fn ask(
        &mut self,
        client: usize,
        workload: usize,
        make: impl FnOnce(&mut dyn Workload, TxnId, &mut Random) -> Vec<Operation>,
    ) {
        self.ask_with(self.patience(self.plan.setup.deadline_ms), client, workload, make);
    }

    pub(super) fn patience(&self, deadline_ms: u32) -> Patience {
        Patience { deadline_ms, patience_us: self.plan.setup.patience_us, asks_again: true }
    }

    /// A client asks for many large answers at once, whether it can.
    pub(super) fn flood(&mut self, client: usize, answers: usize) -> bool {
        let (participants, pages) = (self.plan.setup.participants as u32, self.plan.setup.load.pages);
        self.ask_at_once(client, answers, |_, at| Pages::read_much(participants, at as u32 % pages))
    }

    /// A client asks for many transactions at once, whether it can, and not again for any of them.
    pub(super) fn ask_at_once(
        &mut self,
        client: usize,
        count: usize,
        operations: impl Fn(TxnId, usize) -> Vec<Operation>,
    ) -> bool {
        let is_connected = self.links[self.clients[client].link].open[0];
        // All of it again at once would end each new connection.
        let once = Patience { asks_again: false, ..self.patience(self.plan.setup.deadline_ms) };
        for at in (0..count).filter(|_| is_connected) {
            self.ask_with(once, client, self.workloads.len() - 1, |_, txn, _| operations(txn, at));
        }
        is_connected
    }

    /// A fresh client comes when the load has ended, and writes at every participant.
    pub(super) fn invite_guest(&mut self) {
        self.ask_as_guest();
        self.dial_after(self.clients[self.guest()].link, 0);
    }

    pub(super) fn ask_as_guest(&mut self) {
        let (guest, participants) = (self.guest(), self.plan.setup.participants as u32);
        let patience = Patience { patience_us: GUEST_PATIENCE_US, ..self.patience(PROBE_DEADLINE_MS) };
        self.ask_with(patience, guest, 0, |_, txn, _| visit(participants, txn));
    }

    /// The client that is not there before that: the last one.
    pub(super) fn guest(&self) -> usize {
        self.plan.setup.clients
    }

    /// The same, with a patience of its own.
    pub(super) fn ask_with(
        &mut self,
        patience: Patience,
        client: usize,
        workload: usize,
        make: impl FnOnce(&mut dyn Workload, TxnId, &mut Random) -> Vec<Operation>,
    ) {
        let (generator, random) = (self.workloads[workload].as_mut(), &mut self.asking);
        let operations = |txn| make(generator, txn, random);
        let message = self.clients[client].begin(&mut self.history, self.now, patience, workload, operations);
        self.asked += 1;
        self.client_says(client, &[message]);
        self.wake_later(client);
    }

    pub(super) fn client_says(&mut self, client: usize, messages: &[Message]) {
        let link = self.clients[client].link;
        if self.links[link].open[0] && !messages.is_empty() {
            self.send(link, 0, frames(messages.iter()));
        }
    }

    pub(super) fn client_connected(&mut self, client: usize) {
        self.clients[client].incoming = frame::FrameReader::default();
        let hello = Message::Handshake(HandshakeMessage::Hello(Hello::client(CLUSTER)));
        let patience_us = self.plan.setup.patience_us;
        let again = self.clients[client].ask_again(&mut self.history, self.now, patience_us, true);
        self.counts.retries += again.len() as u64;
        self.client_says(client, &[hello]);
        self.client_says(client, &again);
    }

    pub(super) fn wake_later(&mut self, client: usize) {
        // What was due while it did not look is due now: it would never wake at a time that is past.
        let Some(at) = self.clients[client].next_again().map(|at| at.max(self.now)) else { return };
        if self.clients[client].wake_at.is_none_or(|due| at < due) {
            self.clients[client].wake_at = Some(at);
            self.at(at, Event::Wake(client));
        }
    }

    pub(super) fn wake(&mut self, client: usize) {
        if self.clients[client].wake_at != Some(self.now) {
            return;
        }
        self.clients[client].wake_at = None;
        let patience_us = self.plan.setup.patience_us;
        let again = self.clients[client].ask_again(&mut self.history, self.now, patience_us, false);
        self.counts.retries += again.len() as u64;
        self.client_says(client, &again);
        self.fill(client);
        self.wake_later(client);
    }

    /// A client begins what it may have under way.
    pub(super) fn fill(&mut self, client: usize) {
        if client == self.twin_client() && self.twin.is_none() {
            return;
        }
        while self.phase == Phase::Load
            && self.asked < self.plan.setup.transactions
            && self.clients[client].pending.len() < self.in_flight
        {
            let workload = self.asking.below(self.workloads.len());
            self.ask(client, workload, |workload, txn, random| workload.next(txn, random));
        }
    }

    pub(super) fn client_hears(&mut self, client: usize, bytes: &[u8]) {
        let mut messages = Vec::new();
        self.clients[client].incoming.extend(bytes);
        if let Err(error) = self.clients[client].incoming.drain(|message| messages.push(message)) {
            return self.fail("protocol", format!("client {client} was sent what is no frame: {error}"));
        }
        for message in messages {
            let ended = self.clients[client].take(&mut self.history, self.now, message);
            if let Some(ended) = ended {
                self.answered += 1;
                let transaction = &self.history.transactions[ended.entry];
                self.workloads[ended.workload].heard(&transaction.operations, &transaction.outcome);
                self.ask_about_the_past(client, ended.entry);
                self.inject_due();
            }
        }
        self.fill(client);
        self.wake_later(client);
    }

    /// Now and then a client asks again for what has ended, with the same contents or with others, or what became of it.
    pub(super) fn ask_about_the_past(&mut self, client: usize, entry: usize) {
        let draw = self.random.below(100);
        let asked = match draw {
            0 => Asked::Status,
            1 | 2 => Asked::Same,
            3 => Asked::Other,
            _ => return,
        };
        if self.phase == Phase::Load {
            let question = self.clients[client].doubt(&mut self.history, self.now, entry, asked);
            let question: Vec<Message> = question.into_iter().collect();
            self.client_says(client, &question);
        }
    }

    /// Faults whose time has come.
    pub(super) fn inject_due(&mut self) {
        while self.phase == Phase::Load
            && let Some(planned) =
                self.plan.faults.get(self.next_fault).filter(|planned| planned.after <= self.answered)
        {
            self.at(self.now + planned.delay_us, Event::Inject(self.next_fault));
            self.next_fault += 1;
        }
    }
}
