//! Who is at the other end, and whether both logs still hold what the other one knows of them. These come before all else on
//! a connection.

use seam::Position;

use crate::fencing::Unwelcome;
use crate::fields::{family, field_ignored, field_named, field_put, fields, row};
use crate::id::{ClusterId, Process, Role};

fields! {
    /// Who is at the other end.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Hello {
        /// What it does.
        pub role: Role,
        /// Its number among the nodes of that role; 0 for a client.
        pub node: u32,
        /// Its cluster.
        pub cluster: ClusterId,
        /// Which process it is; none for a client.
        pub process: Process,
        /// What it can speak.
        pub speaks: Speaks,
    }
}

fields! {
    /// What a build can speak. The two ends of a connection speak the newest version that both know, and use a feature only
    /// if both have it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Speaks {
        /// The oldest version of the messages that it speaks.
        pub oldest: u16,
        /// The newest.
        pub newest: u16,
        /// What it can do besides, a bit each.
        pub features: u64,
    }
}

impl Speaks {
    /// This build. No feature has a bit yet.
    pub const OURS: Self = Self { oldest: 5, newest: 5, features: 0 };

    /// What two builds speak with each other: one version, and the features of both. `None` if no version is known to both.
    #[must_use]
    pub fn common(self, other: Self) -> Option<Self> {
        let newest = self.newest.min(other.newest);
        let oldest = self.oldest.max(other.oldest);
        let features = self.features & other.features;
        (oldest <= newest).then_some(Self { oldest: newest, newest, features })
    }
}

impl std::fmt::Display for Speaks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.oldest == self.newest {
            write!(f, "version {}", self.newest)
        } else {
            write!(f, "versions {} to {}", self.oldest, self.newest)
        }
    }
}

impl Hello {
    /// A daemon's, of this build.
    #[must_use]
    pub fn daemon(role: Role, node: u32, cluster: ClusterId, process: Process) -> Self {
        Self { role, node, cluster, process, speaks: Speaks::OURS }
    }

    /// A client's, of this build.
    #[must_use]
    pub fn client(cluster: ClusterId) -> Self {
        Self::daemon(Role::Client, 0, cluster, Process::NONE)
    }
}

family! {
    /// What opens a connection.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum HandshakeMessage in Handshake {
        /// First on every connection, in both directions. A coordinator's hello under a later epoch
        /// fences everything that it sent under an earlier one.
        1: Hello(Hello), Opening -> Opening, Depends;
        /// A daemon to whoever has connected: why the connection ends now.
        2: Unwelcome(Unwelcome), Daemon -> Anyone, AtOnce;
        /// Between coordinator and participant: what the sender knows of the receiver. A coordinator says it after each
        /// hello; a participant answers with its own, unless the claim shows that another process has taken its place.
        3: Claim {
            /// Who says so.
            by: Process,
            /// The latest process under the receiver's number that was accepted.
            known: Process,
            /// Where a promise or one-phase commit stood in the participant's log, or a decision in the coordinator's;
            /// unknown if none was heard of.
            stated: Position,
        }, Peer -> Peer, AtOnce;
        /// Coordinator to participant: it succeeds the process that the participant's claim has named. From now on the
        /// participant obeys it, and no process before it.
        4: Accept {
            /// Who says so.
            by: Process,
            /// Whom it succeeds.
            known: Process,
        }, Coordinator -> Participant, Depends;
        /// Participant to coordinator: from now on it obeys this process, and none before it. Its claim holds: nothing of
        /// an earlier process can reach it any more.
        5: Accepted {
            /// Who says so.
            by: Process,
        }, Participant -> Coordinator, Durable;
        /// Between coordinator and participant: the claim names a process of which this log knows nothing, so this one
        /// runs on an older copy. Nothing more is said to it. An operator has to look.
        6: Superseded {
            /// What the claim has named.
            known: Process,
        }, Peer -> Peer, AtOnce;
        /// Both ways: the answer to a claim whose record is not in the log. An operator has to look; until then
        /// a participant promises nothing, and a coordinator begins and presumes nothing.
        7: LogLost {
            /// What the other one had heard.
            stated: Position,
            /// The latest position that the log knows to have been told to the other one.
            held: Position,
        }, Peer -> Peer, Durable;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_builds_speak_the_newest_version_and_the_features_that_both_know() {
        let speaks = |oldest, newest, features| Speaks { oldest, newest, features };
        let (older, newer) = (speaks(3, 6, 0b011), speaks(5, 9, 0b110));
        assert_eq!(older.common(newer), Some(speaks(6, 6, 0b010)));
        assert_eq!(newer.common(older), older.common(newer));
        assert_eq!(older.common(speaks(7, 9, 0)), None);
        assert_eq!(older.common(speaks(6, 5, 0)), None, "nobody speaks a range that ends before it begins");
    }
}
