//! Messages that an operator has to know of: a promise that a log has lost, and a coordinator of
//! which two copies exist. They are written down as they pass; what follows from them the machines
//! decide.

use protocol::{Lsn, Message, NodeId, Outbox, Reason, Tick};

use crate::hub::Hub;
use crate::peers::Peers;

/// The way to the connections, watched.
pub(crate) struct Watched<'a> {
    pub(crate) peers: &'a mut Peers,
    pub(crate) hub: &'a Hub,
    pub(crate) now: Tick,
}

impl Outbox for Watched<'_> {
    fn post(&mut self, to: NodeId, gate: Lsn, message: &Message) {
        if let Message::PrepareLost { txn, attempt } = message
            && let Some(withheld) = self.hub.alarms.pass(self.now.0)
        {
            tracing::error!(
                %txn,
                %attempt,
                participant = self.hub.hello.node,
                coordinator = to.number(),
                withheld,
                "told to commit what this participant has no promise of: its log has lost a record that it had \
                 voted on; stop it, keep its data directory, and see whether an old copy was put in its place"
            );
        }
        self.peers.post(to, gate, message);
    }
}

/// Writes down what an operator has to know of a message that has arrived.
pub(crate) fn look_at_arrived(hub: &Hub, now: Tick, from: NodeId, message: &Message) {
    if let Message::PrepareLost { txn, attempt } = message {
        if let Some(withheld) = hub.alarms.pass(now.0) {
            tracing::error!(
                %txn,
                %attempt,
                participant = from.number(),
                withheld,
                "participant {} has no promise of a transaction that is committed: its log has lost a record that it \
                 had voted on; stop it, keep its data directory, and see whether an old copy was put in its place",
                from.number()
            );
        }
    } else if let Message::VoteNo { txn, attempt, refusal } = message
        && refusal.reason == Reason::StaleEpoch
        && let Some(withheld) = hub.alarms.pass(now.0)
    {
        tracing::error!(
            %txn,
            %attempt,
            participant = from.number(),
            withheld,
            "participant {} has met a later start of this coordinator; another copy of it runs or this data \
             directory is an old copy; stop one",
            from.number()
        );
    }
}
