//! The first message of a connection: who is it, and is it welcome here? Not here: what it may say
//! afterwards (`roles`).

use std::rc::Rc;

use protocol::message::Hello;
use protocol::{Message, NodeId, Role};

use crate::connection::{CloseReason, Connection};
use crate::hub::Hub;
use crate::roles;

/// Who is expected at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// Whoever connects, if its role may.
    Anyone,
    /// The participant that was dialled.
    Participant(u32),
}

/// Takes the first message of a connection, and passes it on to the machine if its sender is welcome.
pub(crate) fn greet(
    hub: &Hub,
    connection: &Rc<Connection>,
    expected: Expected,
    first: &Message,
) -> Result<(), CloseReason> {
    let &Message::Hello(hello) = first else {
        return Err(CloseReason::NoHello(roles::name(first)));
    };
    let own = hub.hello;
    if hello.cluster != own.cluster {
        return Err(CloseReason::WrongCluster { found: hello.cluster, own: own.cluster });
    }
    // The number of no node: `id` ends below it.
    if hello.role != Role::Client && hello.node == u32::MAX {
        return Err(CloseReason::WrongNumber { role: hello.role, node: hello.node });
    }
    let mut peers = hub.peers.borrow_mut();
    let node = match expected {
        Expected::Participant(number) => dialled(hello, number)?,
        Expected::Anyone => match (hello.role, own.role) {
            (Role::Client, _) => peers.new_client(),
            (Role::Coordinator, Role::Participant) => NodeId::coordinator(hello.node),
            (found, own) => return Err(CloseReason::WrongRole { found, own }),
        },
    };
    connection.epoch.set(hello.epoch);
    peers.introduce(node, connection)?;
    connection.node.set(Some(node));
    if node.role() == Role::Client {
        tracing::debug!(peer = %node, address = %connection.address, "connected");
    } else {
        tracing::info!(peer = %node, address = %connection.address, epoch = hello.epoch, "connected");
    }
    hub.inbox.borrow_mut().push((node, Message::Hello(hello)));
    Ok(())
}

fn dialled(hello: Hello, expected: u32) -> Result<NodeId, CloseReason> {
    if hello.role != Role::Participant || hello.node != expected {
        return Err(CloseReason::WrongPeer { role: hello.role, node: hello.node, expected });
    }
    Ok(NodeId::participant(expected))
}
