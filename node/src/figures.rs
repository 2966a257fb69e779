//! What a daemon answers when it is asked for its figures.

use std::sync::Arc;

use bytes::Bytes;
use engine::{Disk, Store};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use protocol::limits::STATS_BYTES_MAX;
use protocol::message::{Hello, Stats};
use protocol::{ClientMessage, CommitMessage, Message, Tick};
use rustix::time::{ClockId, clock_gettime};

use crate::limits::SYNC_US_MAX;
use crate::scrub_link::ScrubLink;

/// Two digits tell a percentile to a hundredth, and keep the serialised histogram small.
const DIGITS: u8 = 2;

/// Figures that the driver collects.
pub(crate) struct Figures {
    sync_us: Histogram<u64>,
    peers: Vec<String>,
    scrub: Arc<ScrubLink>,
    requests: u64,
    /// The last answer and its time: asking more often than the node turns costs nothing.
    last: Option<(Tick, Stats)>,
}

impl Figures {
    pub(crate) fn new(peers: Vec<String>, scrub: Arc<ScrubLink>) -> Self {
        let sync_us =
            Histogram::new_with_bounds(1, SYNC_US_MAX, DIGITS).expect("the bounds of the histogram are valid");
        Self { sync_us, peers, scrub, requests: 0, last: None }
    }

    pub(crate) fn group_took(&mut self, elapsed_us: u64) {
        self.sync_us.saturating_record(elapsed_us.max(1));
    }

    /// A message has come for the machine.
    pub(crate) fn arrived(&mut self, message: &Message) {
        if matches!(message, Message::Client(ClientMessage::Submit(_)) | Message::Commit(CommitMessage::Prepare(_))) {
            self.requests += 1;
        }
    }

    pub(crate) fn stats<D: Disk>(&mut self, now: Tick, own: Hello, store: &Store<D>) -> Stats {
        if let Some((at, stats)) = &self.last
            && *at == now
        {
            return stats.clone();
        }
        let log = store.stats();
        let scrub = self.scrub.figures();
        let mut sync_us = Vec::new();
        V2Serializer::new().serialize(&self.sync_us, &mut sync_us).expect("memory takes a histogram");
        assert!(sync_us.len() <= STATS_BYTES_MAX, "a histogram of {} bytes", sync_us.len());
        let stats = Stats {
            role: own.role,
            node: own.node,
            groups: log.groups,
            records: log.records,
            bytes: log.bytes,
            cpu_us: cpu_us(),
            sync_us: Bytes::from(sync_us),
            peers: self.peers.clone(),
            scrubbed_bytes: scrub.bytes,
            scrub_passes: scrub.passes,
            scrub_findings: scrub.findings + scrub.unlisted,
            durable_lsn: store.durable().0,
            opening: log.opening,
            requests: self.requests,
        };
        self.last = Some((now, stats.clone()));
        stats
    }
}

/// Processor time of this process, user and system, in microseconds.
fn cpu_us() -> u64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as u64 * 1_000_000 + used.tv_nsec as u64 / 1_000
}
