//! How many connections the limit of open files allows, with what the log needs set aside first.
//!
//! Invariant: connections never use up the descriptors with which the log makes its next segment: the reserve is taken off the
//! limit before the first connection is accepted. Not here: who is turned away (`listener`).

use std::fs;

use engine::limits::LOG_DESCRIPTORS;
use protocol::Role;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::NodeConfig;
use crate::error::NodeError;
use crate::limits::{
    CONNECTIONS_MIN, DIAL_DESCRIPTORS, NODE_DESCRIPTORS, NODES_CONNECTIONS_MAX, NODES_CONNECTIONS_PART,
    OPEN_AT_START_ASSUMED, REFUSED_CONNECTIONS_MAX,
};

/// What is set aside, and what is left for connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Descriptors {
    reserved: u64,
    connections_max: usize,
    /// Whether other nodes connect to this one: some connections are for them alone.
    serves_nodes: bool,
}

impl Descriptors {
    /// Sets aside what the log and the node's own connections need, and raises the soft limit as far as it has to be and may be.
    ///
    /// # Errors
    /// If the limit leaves no room for connections.
    pub(crate) fn reserve(config: &NodeConfig) -> Result<Self, NodeError> {
        let reserved = open_now()
            + LOG_DESCRIPTORS as u64
            + NODE_DESCRIPTORS
            + REFUSED_CONNECTIONS_MAX as u64
            + DIAL_DESCRIPTORS * config.peers.len() as u64;
        let descriptors =
            Self { reserved, connections_max: config.connections_max, serves_nodes: config.role == Role::Participant };
        raise(reserved + config.connections_max as u64);
        let (open_files_max, connections) = (limit(), descriptors.connections());
        let needed = reserved + CONNECTIONS_MIN as u64;
        if open_files_max < needed {
            return Err(NodeError::Descriptors { open_files_max, needed });
        }
        if connections < config.connections_max {
            tracing::warn!(
                open_files_max,
                reserved,
                connections,
                wanted = config.connections_max,
                "fewer connections are taken than network.connections says: the limit of open files allows no more; \
                 raise it (ulimit -n, LimitNOFILE= of systemd)"
            );
        } else {
            tracing::info!(open_files_max, reserved, connections, "descriptors");
        }
        Ok(descriptors)
    }

    /// How many connections may be accepted now: somebody may have changed the limit of this process.
    pub(crate) fn connections(self) -> usize {
        self.within(limit())
    }

    /// How many may be open at once: a few more, so that a client that is one too many can be told so.
    pub(crate) fn accepted(self) -> usize {
        self.connections() + REFUSED_CONNECTIONS_MAX
    }

    /// How many of them clients may have, so that they cannot keep a coordinator out.
    pub(crate) fn clients(self) -> usize {
        self.clients_of(self.connections())
    }

    fn clients_of(self, connections: usize) -> usize {
        let for_nodes = (connections / NODES_CONNECTIONS_PART).clamp(1, NODES_CONNECTIONS_MAX);
        if self.serves_nodes { connections.saturating_sub(for_nodes) } else { connections }
    }

    fn within(self, limit: u64) -> usize {
        let left = usize::try_from(limit.saturating_sub(self.reserved)).unwrap_or(usize::MAX);
        left.min(self.connections_max)
    }
}

fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises the soft limit to `wanted`, or as far as the hard limit allows.
fn raise(wanted: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = wanted.min(maximum.unwrap_or(u64::MAX));
    if current.is_some_and(|current| current < raised)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum })
    {
        tracing::warn!(%error, raised, "the system refuses to raise the limit of open files up to its hard limit");
    }
}

/// Descriptors that are open already: the standard ones, those of the signals and of the log lines, and what a parent left open.
fn open_now() -> u64 {
    match fs::read_dir("/proc/self/fd") {
        // One of them is the listing itself.
        Ok(listed) => (listed.count() as u64).saturating_sub(1),
        Err(_) => OPEN_AT_START_ASSUMED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_what_the_reserve_leaves_and_no_more_than_is_set() {
        let descriptors = Descriptors { reserved: 50, connections_max: 100, serves_nodes: false };
        for (limit, connections) in [(0, 0), (50, 0), (64, 14), (149, 99), (150, 100), (u64::MAX, 100)] {
            assert_eq!(descriptors.within(limit), connections, "{limit}");
        }
    }

    #[test]
    fn clients_leave_some_connections_to_nodes_where_nodes_connect() {
        let participant = Descriptors { reserved: 50, connections_max: 100, serves_nodes: true };
        for (connections, clients) in [(0, 0), (1, 0), (4, 3), (100, 75), (16_384, 16_384 - 256)] {
            assert_eq!(participant.clients_of(connections), clients, "{connections}");
            assert_eq!(Descriptors { serves_nodes: false, ..participant }.clients_of(connections), connections);
        }
    }

    #[test]
    fn what_is_open_is_counted() {
        let before = open_now();
        let more: Vec<_> = (0..5).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests of this process open and close files meanwhile.
        assert!(open_now() + 64 > before + more.len() as u64 && before >= 3);
    }
}
