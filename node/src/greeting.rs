//! The first message of a connection: who is it, and is it welcome here? Not here: what it may say
//! afterwards (`protocol::message`).

use protocol::message::Hello;
use protocol::{HandshakeMessage, Message, NodeId, Role};

use crate::connection::{CloseReason, Connection};
use crate::hub::Hub;

/// Who is expected at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// Whoever connects, if its role may; a client only while there are fewer than so many.
    Anyone { clients_max: usize },
    /// The participant that was dialled.
    Participant(u32),
}

/// Takes the first message of a connection: notes who is at the other end, if it can be that one. Whether this very process
/// may be is the machine's to say (`driver`).
pub(crate) fn greet(
    hub: &Hub,
    connection: &Connection,
    expected: Expected,
    first: &Message,
) -> Result<(), CloseReason> {
    let &Message::Handshake(HandshakeMessage::Hello(hello)) = first else {
        return Err(CloseReason::NoHello(first.name()));
    };
    connection.hello.set(Some(hello));
    let own = hub.hello;
    if own.speaks.common(hello.speaks).is_none() {
        return Err(CloseReason::NoCommonVersion { theirs: hello.speaks, ours: own.speaks });
    }
    if hello.cluster != own.cluster {
        return Err(CloseReason::WrongCluster { found: hello.cluster, own: own.cluster });
    }
    if !names_somebody(&hello) {
        return Err(CloseReason::InvalidHello { role: hello.role, node: hello.node, process: hello.process });
    }
    let node = match expected {
        Expected::Participant(number) => dialled(hello, number)?,
        Expected::Anyone { clients_max } => match (hello.role, own.role) {
            (Role::Client, _) if hub.peers.borrow().clients() >= clients_max => {
                return Err(CloseReason::TooManyClients { max: clients_max });
            }
            (Role::Client, _) => hub.peers.borrow_mut().new_client(),
            (Role::Coordinator, Role::Participant) => NodeId::coordinator(hello.node),
            (found, own) => return Err(CloseReason::WrongRole { found, own }),
        },
    };
    connection.node.set(Some(node));
    Ok(())
}

/// A daemon has a number, a log, an epoch and a start; a client has nothing of that.
fn names_somebody(hello: &Hello) -> bool {
    let Hello { role, node, process, .. } = *hello;
    match role {
        Role::Client => node == 0 && !process.is_some(),
        Role::Coordinator | Role::Participant => {
            node > 0 && node < u32::MAX && process.log != 0 && process.epoch != 0 && process.start != 0
        }
    }
}

fn dialled(hello: Hello, expected: u32) -> Result<NodeId, CloseReason> {
    if hello.role != Role::Participant || hello.node != expected {
        return Err(CloseReason::WrongPeer { role: hello.role, node: hello.node, expected });
    }
    Ok(NodeId::participant(expected))
}
