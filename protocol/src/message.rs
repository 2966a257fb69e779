//! What nodes say to each other, in families: one file a dialogue, with its messages, their bytes, and a row for each that
//! says who may send it to whom and what it waits for. `WIRE.md` has the tables; tests compare them with these rows.
//!
//! ```text
//! offset  size  field
//!      0     4  length in bytes of all that follows
//!      4     1  family
//!      5     1  kind within the family
//!      6     .  fields
//! ```

mod admin;
mod client;
mod commit;
mod handshake;
mod recovery;

pub use admin::{AdminMessage, PeerChange, Stats};
pub use client::{ClientMessage, Submit, TxnStatus};
pub use commit::{CommitMessage, Prepare, PrepareMode};
pub use handshake::{HandshakeMessage, Hello, Speaks};
pub use recovery::{KnownOutcome, RecoveryMessage};

use crate::codec::{Malformed, Reader};
use crate::id::Role;
use crate::limits::MESSAGE_BYTES_MAX;

/// Bytes before the fields of a message: length, family and kind.
pub const MESSAGE_HEAD_BYTES: usize = 4 + 2;

/// A message whose kind is this one or a higher one may be skipped by whoever does not know it.
pub const OPTIONAL_KIND_MIN: u8 = 128;

/// Declares the families: the enum of their messages, and what is done alike with each.
macro_rules! families {
    ($( $(#[$meta:meta])* $family:ident($message:ident) = $code:literal, )*) => {
        /// One message. Every message may arrive twice, late, or after a later one; each receiver says in
        /// `PROTOCOLS.md` what it then does.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Message { $( $(#[$meta])* $family($message), )* }

        /// A dialogue: its messages have kinds of their own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Family { $( $(#[$meta])* $family = $code, )* }

        impl Message {
            /// A row for each message that there is, family by family.
            pub fn rows() -> impl Iterator<Item = &'static Row> {
                [ $( $message::ROWS, )* ].into_iter().flatten()
            }

            /// Who may say it to whom, and what it waits for.
            #[must_use]
            pub fn row(&self) -> &'static Row {
                match self { $( Self::$family(message) => message.row(), )* }
            }

            fn put(&self, out: &mut Vec<u8>) {
                match self { $( Self::$family(message) => message.put(out), )* }
            }

            fn read(family: u8, kind: u8, reader: &mut Reader) -> Result<Self, Malformed> {
                match family {
                    $( $code => $message::read(kind, reader).map(Self::$family), )*
                    _ => Err(Malformed::UnknownMessage { family, kind }),
                }
            }
        }
    };
}

families! {
    /// Who is there.
    Handshake(HandshakeMessage) = 1,
    /// A client and its coordinator.
    Client(ClientMessage) = 2,
    /// A coordinator and its participants, about an attempt.
    Commit(CommitMessage) = 3,
    /// The same, about what one of them does not know.
    Recovery(RecoveryMessage) = 4,
    /// An operator and a daemon.
    Admin(AdminMessage) = 5,
}

/// What is known of a message by its kind alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its family.
    pub family: Family,
    /// Its code within the family.
    pub kind: u8,
    /// Its name.
    pub name: &'static str,
    /// Who says it.
    pub from: Speaker,
    /// Who hears it.
    pub to: Speaker,
    /// What it waits for.
    pub gate: Gate,
}

/// Who may say a message, or hear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// Whoever opens a connection, as its first message and no other.
    Opening,
    /// Any role.
    Anyone,
    /// A client.
    Client,
    /// A coordinator.
    Coordinator,
    /// A participant.
    Participant,
    /// A coordinator or a participant, to the other.
    Peer,
    /// A coordinator or a participant.
    Daemon,
}

/// What a message waits for before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nothing: it promises nothing, and reveals nothing that could be undone.
    AtOnce,
    /// All that was logged before it is durable.
    Durable,
    /// One or the other, by what it says.
    Depends,
}

impl Speaker {
    /// In a table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opening => "whoever connects",
            Self::Anyone => "anyone",
            Self::Client => "client",
            Self::Coordinator => "coordinator",
            Self::Participant => "participant",
            Self::Peer => "the other",
            Self::Daemon => "daemon",
        }
    }

    fn includes(self, role: Role) -> bool {
        match self {
            Self::Opening => false,
            Self::Anyone => true,
            Self::Client => role == Role::Client,
            Self::Coordinator => role == Role::Coordinator,
            Self::Participant => role == Role::Participant,
            Self::Peer | Self::Daemon => role != Role::Client,
        }
    }
}

impl Gate {
    /// In a table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AtOnce => "at once",
            Self::Durable => "durable",
            Self::Depends => "either",
        }
    }
}

impl Row {
    /// Whether a node of role `from` may say it to one of role `to`, once both have said hello.
    #[must_use]
    pub fn may_be_sent(&self, from: Role, to: Role) -> bool {
        let are_peers = self.from != Speaker::Peer || from != to;
        self.from.includes(from) && self.to.includes(to) && are_peers
    }
}

impl Message {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.row().name
    }

    /// Appends the encoded message.
    ///
    /// # Panics
    /// If it exceeds a limit: what the sender says is the sender's own to bound.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let row = self.row();
        out.extend_from_slice(&[row.family as u8, row.kind]);
        self.put(out);
        let bytes = out.len() - start;
        assert!(bytes <= MESSAGE_BYTES_MAX, "a message of {bytes} bytes");
        let length = (bytes - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Reads one message from verified bytes. `None`: it is one that this build does not know and need not know.
    ///
    /// # Errors
    /// If the bytes are not a message: the peer does not speak this protocol.
    pub fn decode(reader: &mut Reader) -> Result<Option<Self>, Malformed> {
        let length = reader.u32("message length")? as usize;
        let mut reader = Reader::new(reader.slice(length, MESSAGE_BYTES_MAX - 4, "message")?);
        let family = reader.u8("message family")?;
        let kind = reader.u8("message kind")?;
        let message = match Self::read(family, kind, &mut reader) {
            Err(Malformed::UnknownMessage { .. }) if kind >= OPTIONAL_KIND_MIN => return Ok(None),
            read => read?,
        };
        // A later build may say more of itself: before its hello nobody knows which version it is to speak.
        if !matches!(message, Self::Handshake(HandshakeMessage::Hello(_))) {
            reader.finish()?;
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(from: Role, to: Role) -> Vec<&'static str> {
        Message::rows().filter(|row| row.may_be_sent(from, to)).map(|row| row.name).collect()
    }

    #[test]
    fn each_role_may_say_what_the_other_has_a_use_for() {
        let (client, coordinator, participant) = (Role::Client, Role::Coordinator, Role::Participant);
        assert_eq!(allowed(client, coordinator), ["Submit", "AskStatus", "ReplaceLog", "AskStats"]);
        assert_eq!(allowed(client, participant), ["ReplaceLog", "Retire", "AskStats"]);
        let told = ["Unwelcome", "Committed", "Aborted", "Busy", "Status", "PeerChanged", "Stats"];
        assert_eq!(allowed(coordinator, client), told);
        let (both, accept) = (["Unwelcome", "Claim"], ["Accept", "Superseded", "LogLost"]);
        let orders = ["Prepare", "Commit", "Abort", "AskOutcome", "AskStats", "Stats"];
        assert_eq!(allowed(coordinator, participant), [&both[..], &accept, &orders].concat());
        let accepted = ["Accepted", "Superseded", "LogLost"];
        let votes = ["VoteYes", "VoteReadOnly", "VoteNo", "CommittedOnePhase", "CommitAck"];
        let asks = ["AskDecision", "Outcome", "PrepareLost", "AskStats", "Stats"];
        assert_eq!(allowed(participant, coordinator), [&both[..], &accepted, &votes, &asks].concat());
        for role in [coordinator, participant] {
            assert_eq!(allowed(role, role), ["Unwelcome", "AskStats", "Stats"]);
        }
    }

    #[test]
    fn kinds_ascend_within_a_family() {
        assert!(Message::rows().is_sorted_by_key(|row| (row.family, row.kind)));
    }
}
