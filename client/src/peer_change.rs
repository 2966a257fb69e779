//! What an operator tells a node of its peers: one question on a connection of its own.

use protocol::message::PeerChange;
use protocol::{AdminMessage, Message, Role, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::Options;
use crate::connection::{Established, establish};
use crate::error::ClientError;
use crate::limits::READ_BYTES;

/// What a node is told of another one. Telling it twice does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRequest {
    /// The log of the coordinator or participant with this number is lost for good: take another one.
    ReplaceLog {
        /// What it does.
        role: Role,
        /// Its number.
        number: u32,
    },
    /// The coordinator with this number will not come back: forget it.
    Retire {
        /// Its number.
        number: u32,
    },
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerChanged {
    /// Whether it was done.
    pub outcome: PeerChange,
    /// The latest epoch that the node had accepted under the number.
    pub epoch: u32,
    /// Transactions that stay undecided there, or undelivered.
    pub in_doubt: u32,
}

/// Tells the node at an address of a peer; the answer comes when it is durable.
///
/// # Errors
/// If the node cannot be reached, or does not answer within the deadline of `options`; it may have done it all the same.
pub async fn change_peer(address: &str, request: PeerRequest, options: &Options) -> Result<PeerChanged, ClientError> {
    let connection = establish(address, options).await?;
    let answered = tokio::time::timeout(options.deadline, ask(address, connection, request));
    answered.await.unwrap_or_else(|_| Err(unknown(address, &format!("no answer within {:?}", options.deadline))))
}

async fn ask(address: &str, connection: Established, request: PeerRequest) -> Result<PeerChanged, ClientError> {
    let Established { mut stream, mut frames, .. } = connection;
    let lost = |error: std::io::Error| unknown(address, &format!("the connection was lost ({error})"));
    let message = match request {
        PeerRequest::ReplaceLog { role, number } => Message::Admin(AdminMessage::ReplaceLog { role, node: number }),
        PeerRequest::Retire { number } => Message::Admin(AdminMessage::Retire { node: number }),
    };
    stream.write_all(&frame::single(&message)).await.map_err(lost)?;
    let mut bytes = vec![0; READ_BYTES];
    let mut heard = Vec::new();
    loop {
        let count = stream.read(&mut bytes).await.map_err(lost)?;
        if count == 0 {
            return Err(unknown(address, "the node closed the connection"));
        }
        frames.extend(&bytes[..count]);
        let framed = frames.drain(|message| heard.push(message));
        framed.map_err(|error| ClientError::Violation { address: address.to_owned(), why: error.to_string() })?;
        if let Some(Message::Admin(AdminMessage::PeerChanged { outcome, epoch, in_doubt })) = heard.pop() {
            return Ok(PeerChanged { outcome, epoch, in_doubt });
        }
    }
}

fn unknown(address: &str, why: &str) -> ClientError {
    ClientError::Unreachable { address: address.to_owned(), why: format!("{why}; tell it again") }
}
