//! `assent stats`: what nodes say of themselves. Not here: figures of a run (`bench`).

use std::time::Duration;

use clap::Args;
use client::{Client, Options};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use protocol::message::Stats;
use protocol::{ClusterId, Role};
use serde::Serialize;

use crate::connect::{COORDINATOR_DEFAULT, runtime};
use crate::exit::Failure;
use crate::output::Output;
use crate::values::{parse_address, parse_switch};

const AFTER_HELP: &str = "\
Examples:
  assent stats
  assent stats 127.0.0.1:7101 --json

`write` is how long a group of records took to become durable. `scrubbed` is how much of the log's finished segments was
read again in the background, in how many whole passes; `found` is how many damaged places that has shown.
All figures are since the node's start. With --json also: `opening`, which start of the node on its log this is;
`requests`, how many transactions (at a coordinator) or parts of one (at a participant) it was asked for.";

/// Show what nodes have done: a coordinator and its participants, or any node.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct StatsArgs {
    /// Addresses of nodes. A coordinator's participants are asked too.
    #[arg(value_name = "ADDRESS", env = "ASSENT_COORDINATOR", default_value = COORDINATOR_DEFAULT,
          value_parser = parse_address)]
    addresses: Vec<String>,
    /// Number of the cluster.
    #[arg(long, env = "ASSENT_CLUSTER_ID", value_name = "N", default_value_t = 1)]
    cluster_id: u64,
    /// Print JSON, one document a node.
    #[arg(long, env = "ASSENT_JSON", value_parser = parse_switch)]
    pub(crate) json: bool,
}

/// A node's figures, as they are printed.
#[derive(Debug, Serialize)]
struct Figures {
    address: String,
    role: String,
    node: u32,
    groups: u64,
    records: u64,
    bytes: u64,
    durable_lsn: u64,
    opening: u64,
    requests: u64,
    cpu_us: u64,
    write_us: WriteTimes,
    scrubbed_bytes: u64,
    scrub_passes: u64,
    scrub_findings: u64,
}

#[derive(Debug, Serialize)]
struct WriteTimes {
    p50: u64,
    p99: u64,
}

/// Asks every node and prints one row for each that answers.
pub(crate) fn run(args: &StatsArgs) -> Result<(), Failure> {
    let output = Output { json: args.json };
    let options = Options { cluster: ClusterId(args.cluster_id), ..Options::default() };
    if !args.json {
        crate::output::line(&header())?;
    }
    runtime()?.block_on(async {
        let mut addresses = args.addresses.clone();
        let mut failed = None;
        let mut next = 0;
        while let Some(address) = addresses.get(next).cloned() {
            next += 1;
            match ask(&address, &options).await {
                Ok(stats) => {
                    let figures = figures(&address, &stats)?;
                    output.say(&figures, row(&figures))?;
                    let is_coordinator = stats.role == Role::Coordinator;
                    let peers = stats.peers.into_iter().filter(|_| is_coordinator);
                    let new: Vec<String> = peers.filter(|peer| !addresses.contains(peer)).collect();
                    addresses.extend(new);
                }
                Err(failure) => {
                    failed.get_or_insert(failure);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    })
}

async fn ask(address: &str, options: &Options) -> Result<Stats, Failure> {
    Ok(Client::connect(address.to_owned(), options.clone()).await?.stats().await?)
}

fn figures(address: &str, stats: &Stats) -> Result<Figures, Failure> {
    let times: Histogram<u64> = Deserializer::new().deserialize(&mut &stats.sync_us[..]).map_err(|error| {
        Failure::Start(format!(
            "{address}: the histogram of its log writes cannot be read ({error}): is it of this version?"
        ))
    })?;
    Ok(Figures {
        address: address.to_owned(),
        role: stats.role.to_string(),
        node: stats.node,
        groups: stats.groups,
        records: stats.records,
        bytes: stats.bytes,
        durable_lsn: stats.durable_lsn,
        opening: stats.opening,
        requests: stats.requests,
        cpu_us: stats.cpu_us,
        write_us: WriteTimes { p50: times.value_at_quantile(0.50), p99: times.value_at_quantile(0.99) },
        scrubbed_bytes: stats.scrubbed_bytes,
        scrub_passes: stats.scrub_passes,
        scrub_findings: stats.scrub_findings,
    })
}

fn header() -> String {
    line(["address", "node", "groups", "records", "written", "cpu", "write p50", "p99", "scrubbed", "passes", "found"])
}

fn row(figures: &Figures) -> String {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
    line([
        &figures.address,
        &format!("{} {}", figures.role, figures.node),
        &figures.groups.to_string(),
        &figures.records.to_string(),
        &mib(figures.bytes),
        &format!("{:.1} s", Duration::from_micros(figures.cpu_us).as_secs_f64()),
        &format!("{} us", figures.write_us.p50),
        &format!("{} us", figures.write_us.p99),
        &mib(figures.scrubbed_bytes),
        &figures.scrub_passes.to_string(),
        &figures.scrub_findings.to_string(),
    ])
}

fn line(cells: [&str; 11]) -> String {
    let [address, node, numbers @ ..] = cells;
    let numbers: Vec<String> = numbers.iter().map(|cell| format!("{cell:>11}")).collect();
    format!("{address:<21} {node:<14} {}", numbers.join(" "))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{Serializer, V2Serializer};

    use super::*;

    #[test]
    fn a_row_has_a_cell_under_each_name() {
        let mut sync_us = Vec::new();
        let mut times = Histogram::<u64>::new(2).unwrap();
        times.record_n(80, 99).unwrap();
        times.record(900).unwrap();
        V2Serializer::new().serialize(&times, &mut sync_us).unwrap();
        let stats = Stats {
            role: Role::Participant,
            node: 3,
            groups: 10,
            records: 20,
            bytes: 3 << 19,
            cpu_us: 1_250_000,
            sync_us: sync_us.into(),
            peers: Vec::new(),
            scrubbed_bytes: 64 << 20,
            scrub_passes: 2,
            scrub_findings: 1,
            durable_lsn: 4_096,
            opening: 7,
            requests: 12,
        };
        let row = row(&figures("127.0.0.1:7103", &stats).unwrap());
        assert_eq!(row.len(), header().len());
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let expected =
            ["127.0.0.1:7103", "participant 3", "10", "20", "1.5 MiB", "1.2 s", "80 us", "80 us", "64.0 MiB", "2", "1"];
        assert_eq!(cells, expected);
        let broken = figures("a:1", &Stats { sync_us: bytes::Bytes::new(), ..stats }).unwrap_err().to_string();
        assert!(broken.starts_with("a:1: the histogram"), "{broken}");
    }
}
