//! What the nodes say of themselves before and after a run: how much they logged, and how much
//! processor time they took.

use std::time::Duration;

use client::{Client, Options};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use protocol::Role;
use protocol::message::Stats;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::exit::Failure;

/// A connection to every node of a cluster.
#[derive(Debug)]
pub(crate) struct Daemons {
    clients: Vec<Client>,
    participants: Vec<u32>,
}

/// What all nodes had done at one moment, and the load generator's own processor time.
#[derive(Debug)]
pub(crate) struct Snapshot {
    stats: Vec<Stats>,
    own_cpu: Duration,
}

/// What the nodes did between two snapshots.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) log: LogFigures,
    pub(crate) cpu_s: f64,
    /// The load generator's share of it.
    pub(crate) own_cpu_s: f64,
}

/// The logs of all nodes together.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct LogFigures {
    pub(crate) groups: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) sync_us: SyncFigures,
}

/// How long a group took to become durable.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct SyncFigures {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
}

impl Daemons {
    /// Asks the coordinator for its participants, and connects to each.
    pub(crate) async fn find(coordinator: Client, options: &Options) -> Result<Self, Failure> {
        coordinator.check_coordinator()?;
        let peers = coordinator.stats().await?.peers;
        let mut clients = vec![coordinator];
        let mut participants = Vec::new();
        for address in peers {
            let client = Client::connect(address, options.clone()).await?;
            if client.server().role == Role::Participant {
                participants.push(client.server().node);
            }
            clients.push(client);
        }
        if participants.is_empty() {
            return Err(Failure::Usage(format!(
                "{} is a coordinator without participants; nothing can be measured there",
                clients[0].address()
            )));
        }
        Ok(Self { clients, participants })
    }

    /// The numbers of the participants.
    pub(crate) fn participants(&self) -> &[u32] {
        &self.participants
    }

    /// Their figures now.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, Failure> {
        let mut stats = Vec::with_capacity(self.clients.len());
        for client in &self.clients {
            stats.push(client.stats().await?);
        }
        Ok(Snapshot { stats, own_cpu: own_cpu() })
    }
}

impl Snapshot {
    /// What was done since an earlier snapshot.
    pub(crate) fn since(&self, before: &Self) -> Result<Work, Failure> {
        let grown = |of: fn(&Stats) -> u64| -> u64 {
            let pairs = self.stats.iter().zip(&before.stats);
            pairs.map(|(after, before)| of(after).saturating_sub(of(before))).sum()
        };
        let mut sync_us = merged(&self.stats)?;
        // Fails only if a node was started anew in between; then its figures began anew, too.
        if sync_us.subtract(merged(&before.stats)?).is_err() {
            sync_us = merged(&self.stats)?;
        }
        let own_cpu_s = self.own_cpu.saturating_sub(before.own_cpu).as_secs_f64();
        Ok(Work {
            log: LogFigures {
                groups: grown(|stats| stats.groups),
                records: grown(|stats| stats.records),
                bytes: grown(|stats| stats.bytes),
                sync_us: SyncFigures { p50: sync_us.value_at_quantile(0.50), p99: sync_us.value_at_quantile(0.99) },
            },
            cpu_s: grown(|stats| stats.cpu_us) as f64 / 1e6 + own_cpu_s,
            own_cpu_s,
        })
    }
}

/// The histograms of all nodes in one.
fn merged(stats: &[Stats]) -> Result<Histogram<u64>, Failure> {
    let broken = |why: String| Failure::Start(format!("a node's histogram of its log writes cannot be read: {why}"));
    let mut all = Histogram::<u64>::new(3).map_err(|error| broken(error.to_string()))?;
    for stats in stats {
        let one: Histogram<u64> =
            Deserializer::new().deserialize(&mut &stats.sync_us[..]).map_err(|error| broken(error.to_string()))?;
        all.add(one).map_err(|error| broken(error.to_string()))?;
    }
    Ok(all)
}

/// Processor time of this process, all threads.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.clamp(0, 999_999_999) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::{Serializer, V2Serializer};

    fn stats(groups: u64, cpu_us: u64, syncs: &[u64]) -> Stats {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        syncs.iter().for_each(|us| histogram.record(*us).unwrap());
        let mut sync_us = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut sync_us).unwrap();
        let (role, node, peers) = (Role::Participant, 1, Vec::new());
        Stats {
            role,
            node,
            groups,
            records: 2 * groups,
            bytes: 4_096 * groups,
            cpu_us,
            sync_us: sync_us.into(),
            peers,
            scrubbed_bytes: 0,
            scrub_passes: 0,
            scrub_findings: 0,
            durable_lsn: 4_096 * groups,
            opening: 1,
            requests: 0,
        }
    }

    fn snapshot(stats: Vec<Stats>, own_cpu_ms: u64) -> Snapshot {
        Snapshot { stats, own_cpu: Duration::from_millis(own_cpu_ms) }
    }

    #[test]
    fn work_is_the_difference_summed_over_the_nodes() {
        let before = snapshot(vec![stats(10, 1_000_000, &[9_000; 100]), stats(20, 0, &[])], 500);
        let syncs = [&[9_000; 100][..], &[100; 50]].concat();
        let after = snapshot(vec![stats(15, 2_500_000, &syncs), stats(22, 250_000, &[300; 1])], 750);
        let work = after.since(&before).unwrap();
        assert_eq!((work.log.groups, work.log.records, work.log.bytes), (7, 14, 7 * 4_096));
        assert_eq!(work.log.sync_us.p50, 100, "what was before does not count");
        assert!((work.cpu_s - 2.0).abs() < 1e-9 && (work.own_cpu_s - 0.25).abs() < 1e-9);
    }

    #[test]
    fn own_processor_time_grows_with_work() {
        let before = own_cpu();
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            std::hint::black_box(0);
        }
        assert!(own_cpu() > before);
    }
}
