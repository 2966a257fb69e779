//! Messages that an operator has to know of: records that a log has lost, and a coordinator of which
//! two copies exist. They are written down as they pass; what follows from them the machines decide.

use protocol::{Lsn, Message, NodeId, Outbox, Reason, Role, Tick};

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
        if let (Role::Participant, Role::Coordinator) = (self.hub.hello.role, to.role()) {
            look_at_loss(self.hub, self.now, (self.hub.hello.node, to.number()), message);
        }
        self.peers.post(to, gate, message);
    }
}

/// Writes down what an operator has to know of a message that has arrived.
pub(crate) fn look_at_arrived(hub: &Hub, now: Tick, from: NodeId, message: &Message) {
    if let (Role::Coordinator, Role::Participant) = (hub.hello.role, from.role()) {
        look_at_loss(hub, now, (from.number(), hub.hello.node), message);
    }
    if let Message::VoteNo { txn, attempt, refusal } = message
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

/// At both ends: a participant says what its log has lost to a coordinator.
fn look_at_loss(hub: &Hub, now: Tick, (participant, coordinator): (u32, u32), message: &Message) {
    if let Message::PrepareLost { txn, attempt, voted_at, held_at } = message
        && let Some(withheld) = hub.alarms.pass(now.0)
    {
        tracing::error!(
            %txn,
            %attempt,
            %voted_at,
            %held_at,
            participant,
            coordinator,
            withheld,
            "participant {participant} has no promise of a transaction that is committed, or another one than it had \
             voted on: its log has lost a record; stop it, keep its data directory, and see whether an old copy was \
             put in its place"
        );
    } else if let Message::LogLost { stated, held } = message
        && let Some(withheld) = hub.alarms.pass(now.0)
    {
        tracing::error!(
            %stated,
            %held,
            participant,
            coordinator,
            withheld,
            "the log of participant {participant} has lost records that it had told coordinator {coordinator} of; it \
             promises nothing any more: stop it, keep its data directory, and restore the newest copy, or give up \
             what is lost with `assent wal repair --accept-loss-after {}`",
            stated.lsn.0
        );
    }
}
