//! What a participant can be told.

use protocol::ClusterId;

/// Settings of a participant's machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its number in the cluster.
    pub node: u32,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Transactions that may wait or be prepared here at once; the next one is refused as busy.
    pub in_flight_txns_max: usize,
    /// Committed transactions that are remembered, so that a retry gets the outcome that it had.
    pub outcomes_max: usize,
    /// How long a prepared transaction stays silent before its coordinator is asked, in
    /// microseconds. Doubles with each question, up to [`Config::ask_interval_us_max`].
    pub ask_interval_us: u64,
    /// The longest pause between two questions, in microseconds.
    pub ask_interval_us_max: u64,
}

impl Config {
    /// The defaults for this node of this cluster.
    #[must_use]
    pub fn new(node: u32, cluster: ClusterId) -> Self {
        Self {
            node,
            cluster,
            in_flight_txns_max: 8_192,
            outcomes_max: 500_000,
            ask_interval_us: 1_000_000,
            ask_interval_us_max: 8_000_000,
        }
    }
}
