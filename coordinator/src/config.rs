//! What a coordinator can be told.

use protocol::ClusterId;

/// Settings of a coordinator's machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its number in the cluster.
    pub node: u32,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The participants that hold the keys.
    pub participants: Vec<u32>,
    /// Transactions that may be under way at once; past it the answer is BUSY. One participant may
    /// have part in three quarters of them, so that one that is stopped does not stop the others.
    pub max_concurrent_txns: usize,
    /// How long votes are waited for at least before they are asked for again, in microseconds.
    pub prepare_timeout_us: u64,
    /// How long an attempt may wait for locks at a participant, in milliseconds.
    pub lock_wait_ms: u32,
    /// The first pause before a transaction that gave way is tried again, in microseconds.
    pub retry_delay_us_min: u64,
    /// The longest such pause, in microseconds.
    pub retry_delay_us_max: u64,
    /// The deadline of a transaction that states none, in milliseconds.
    pub deadline_ms_default: u32,
    /// The longest deadline that is kept, in milliseconds.
    pub deadline_ms_max: u32,
    /// How long an acknowledgement may take before the decision is sent again, in microseconds.
    /// Doubles with each time, up to eight times as much.
    pub resend_interval_us: u64,
    /// Committed transactions that are remembered after they have finished.
    pub outcomes_max: usize,
    /// Aborted transactions that are remembered, in memory alone.
    pub aborts_max: usize,
}

impl Config {
    /// The defaults for this node of this cluster.
    #[must_use]
    pub fn new(node: u32, cluster: ClusterId, participants: Vec<u32>) -> Self {
        Self {
            node,
            cluster,
            participants,
            max_concurrent_txns: 4_096,
            prepare_timeout_us: 1_000_000,
            lock_wait_ms: 500,
            retry_delay_us_min: 1_000,
            retry_delay_us_max: 64_000,
            deadline_ms_default: 5_000,
            deadline_ms_max: 60_000,
            resend_interval_us: 1_000_000,
            outcomes_max: 1_000_000,
            aborts_max: 65_536,
        }
    }

    /// How many transactions one participant may have part in.
    pub(crate) fn participant_txns_max(&self) -> usize {
        if self.participants.len() == 1 { self.max_concurrent_txns } else { (self.max_concurrent_txns * 3 / 4).max(1) }
    }
}
