//! Messages that an operator has to know of: records that a log has lost, and a coordinator of which
//! two copies exist. They are written down as they pass; what follows from them the machines decide.

use protocol::{
    CommitMessage, HandshakeMessage, Index, Link, Message, NodeId, Outbox, Reason, RecoveryMessage, Role, Tick,
};

use crate::hub::Hub;
use crate::peers::Peers;

/// The way to the connections, watched.
pub(crate) struct Watched<'a> {
    pub(crate) peers: &'a mut Peers,
    pub(crate) hub: &'a Hub,
    pub(crate) now: Tick,
}

impl Outbox for Watched<'_> {
    fn post(&mut self, to: NodeId, gate: Index, message: &Message) {
        look_at_loss(self.hub, self.now, own(self.hub), to, message);
        self.peers.post(to, gate, message);
    }

    fn link(&self, to: NodeId) -> Link {
        self.peers.link(to)
    }

    fn disconnect(&mut self, to: NodeId) {
        tracing::warn!(peer = %to, "an operator has given up the log of {to}, or its number");
        self.peers.disconnect(to);
    }
}

/// Writes down what an operator has to know of a message that has arrived.
pub(crate) fn look_at_arrived(hub: &Hub, now: Tick, from: NodeId, message: &Message) {
    look_at_loss(hub, now, from, own(hub), message);
    if let Message::Commit(CommitMessage::VoteNo { txn, attempt, refusal }) = message
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

fn own(hub: &Hub) -> NodeId {
    match hub.hello.role {
        Role::Participant => NodeId::participant(hub.hello.node),
        Role::Coordinator | Role::Client => NodeId::coordinator(hub.hello.node),
    }
}

/// At both ends: a node says what its log has lost to one that had been told of it.
fn look_at_loss(hub: &Hub, now: Tick, loser: NodeId, told: NodeId, message: &Message) {
    hub.successions
        .update(|count| count + u64::from(matches!(message, Message::Handshake(HandshakeMessage::Superseded { .. }))));
    let (of, number, to, to_number) = (loser.role(), loser.number(), told.role(), told.number());
    if let Message::Recovery(RecoveryMessage::PrepareLost { txn, attempt, voted_at, held_at }) = message
        && let Some(withheld) = hub.alarms.pass(now.0)
    {
        tracing::error!(
            %txn,
            %attempt,
            %voted_at,
            %held_at,
            participant = number,
            coordinator = to_number,
            withheld,
            "{of} {number} has no promise of a transaction that is committed, or another one than it had voted on: its \
             log has lost a record; stop it, keep its data directory, and see whether an old copy was put in its place"
        );
    } else if let Message::Handshake(HandshakeMessage::LogLost { stated, held }) = message
        && let Some(withheld) = hub.alarms.pass(now.0)
    {
        let stops = match of {
            Role::Participant => format!("promises nothing to {to} {to_number}"),
            Role::Coordinator | Role::Client => "begins nothing and leaves in doubt what it does not know".to_owned(),
        };
        tracing::error!(
            %stated,
            %held,
            loser = %loser,
            told = %told,
            withheld,
            "{to} {to_number} claims a record that the log of {of} {number} has lost, or never had; {of} {number} {stops}: \
             stop it, keep its data directory, and restore the newest copy, or give up what is lost with \
             `assent wal repair --accept-loss-until {}`; if {to} {to_number} is the one that errs, see to it instead",
            stated.index
        );
    } else if let Message::Handshake(HandshakeMessage::Superseded { known }) = message
        && let Some(withheld) = hub.alarms.pass(now.0)
    {
        tracing::error!(
            superseded = %loser,
            by = %known,
            told = %told,
            withheld,
            "{to} {to_number} has accepted a process of {of} {number} that this data directory of {of} {number} knows nothing \
             of: it is an older copy, or another copy of it was used; the two say nothing more to each other: stop \
             {of} {number} and start the newest copy of its data directory, or give up its log with `assent replace`"
        );
    }
}
