//! Why a run was cut short, and what that means for its exit code.

/// The end of a run before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) reason: String,
    /// The exit code, as `assent --help` has them.
    pub(crate) code: u8,
    /// Whether all nodes are there: then the money can still be counted.
    pub(crate) nodes_serve: bool,
}

impl Cut {
    /// Whoever has started the bench wants no more of it.
    pub(crate) fn interrupted(signal: &str) -> Self {
        Self { reason: format!("interrupted by {signal}"), code: 1, nodes_serve: true }
    }

    /// A node is not there, or does not answer.
    pub(crate) fn node(reason: String) -> Self {
        Self { reason, code: 3, nodes_serve: false }
    }

    /// The run itself is whole, but the money was not counted.
    pub(crate) fn not_audited(reason: String, code: u8) -> Self {
        Self { reason, code, nodes_serve: false }
    }
}
