//! What a bench is told: presets, and flags that override them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::bench::distribution::Distribution;
use crate::bench::documents::is_stdout;
use crate::connect::parse_deadline;
use crate::values::parse_address;

pub(crate) const AFTER_HELP: &str = "\
A client is one outstanding transaction. Without --rate, each client begins the next one when the last has ended.
With --rate N, transactions begin at constant intervals, N a second, whoever is free takes the next one, and latency
counts from the scheduled start. The schedule never slips: what is scheduled but not begun at the end is worked off
for up to 10 s; what is then still not begun counts as failed.

A transfer is two adds, of which the first may not go below zero; `aborted` counts those that were refused for their
own reason (a balance too small, or --abort). An abort at the deadline counts as failed.
hotspot:F puts 90 % of the picks on the first F of the accounts; zipf:T picks account n in proportion to 1/n^T.

Presets (a flag overrides its preset):
  default          128 clients, 10,000 accounts of 1,000, uniform, all across participants
  high-throughput  512 clients, 100,000 accounts
  stress           256 clients, 1,000 accounts of 100, zipf:0.99, 80 % across, 20 % read-only, 5 % refused
  latency          1 client

Each run has accounts of its own, so several can measure one cluster at the same time. What the nodes say of themselves
(log, processor time) is of the whole cluster; the figures say how many transactions of others are in it.

A run that is cut short (Ctrl-C, SIGTERM, SIGHUP of a closed terminal, a node that ends, or is silent for longer than
--node-timeout) still prints what it has, marked INCOMPLETE with the reason. A complete run replaces the files of --json and --report whole. An
incomplete one replaces no file that holds something: its figures go beside it, to r3.incomplete.json for r3.json
(-2, -3 if that is there), and the last line says where. If nothing was measured, nothing is written.

The exit code is 0 only if the run is complete, the money is conserved, nothing failed, and every unknown outcome was
found out. Incomplete: 1 if interrupted, 3 if a node or an answer is missing.

Examples:
  assent bench
  assent bench --clients 256 --duration 30s --report bench.html
  assent bench --rate 1500 --json bench.json
  assent bench --coordinator 127.0.0.1:7100 --preset stress";

/// Run a workload, print its figures, and audit the money.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BenchArgs {
    /// Address of a running coordinator; without it, a cluster of its own is started in the
    /// working directory and removed at the end.
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub(crate) coordinator: Option<String>,
    /// Number of the cluster.
    #[arg(long, env = "ASSENT_CLUSTER_ID", value_name = "N", default_value_t = 1)]
    pub(crate) cluster_id: u64,
    /// What to begin with.
    #[arg(long, value_enum, default_value_t = Preset::Default)]
    pub(crate) preset: Preset,
    /// Participants of the own cluster. [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), conflicts_with = "coordinator")]
    participants: Option<u32>,
    /// Clients. [default: 128]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: Option<u32>,
    /// How long transactions are begun. [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Accounts. [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    accounts: Option<u32>,
    /// What each account holds at first. [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..=1_000_000_000_000))]
    balance: Option<i64>,
    /// Which accounts are picked: uniform, zipf:THETA or hotspot:FRACTION. [default: uniform]
    #[arg(long, value_name = "NAME")]
    distribution: Option<Distribution>,
    /// Share of the transactions that touch two participants, the others touch one. [default: 1.0]
    #[arg(long, value_name = "F", value_parser = share)]
    cross: Option<f64>,
    /// Share of the transactions that read two balances. [default: 0.0]
    #[arg(long, value_name = "F", value_parser = share)]
    read_only: Option<f64>,
    /// Share of the transactions that one participant refuses. [default: 0.0]
    #[arg(long, value_name = "F", value_parser = share)]
    abort: Option<f64>,
    /// Open loop: transactions begun per second.
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// How long the coordinator may try one transaction of the run; the accounts are opened and counted within 10s or more.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_deadline)]
    pub(crate) deadline: Duration,
    /// Seed of the picks.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How long a node may be silent before the run is cut short.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = node_timeout)]
    pub(crate) node_timeout: Duration,
    /// Write the figures to this file as JSON; `-` is standard output, and the table then goes to standard error.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a page with plots to this file.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
    /// Measure nothing; remove what benches that were killed have left at the coordinator. No bench may run there.
    #[arg(long, requires = "coordinator")]
    pub(crate) remove_leftovers: bool,
    /// Keep the own cluster's data.
    #[arg(long, conflicts_with = "coordinator")]
    pub(crate) keep: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err(format!("`{text}` is not a share; 0.0 to 1.0 is allowed")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err(format!("`{text}` is not a rate; 0.001 to 10000000 a second is allowed")),
    }
}

/// The nodes are asked for their figures twice a second; a node that is busy may take a while.
const NODE_TIMEOUT_MIN: Duration = Duration::from_secs(1);

fn node_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(timeout) if timeout >= NODE_TIMEOUT_MIN => Ok(timeout),
        Ok(_) => Err("a busy node may take a while to answer; the shortest time is 1s".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A set of settings with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// Many clients, no contention.
    Default,
    /// More clients.
    HighThroughput,
    /// Hot accounts, small balances, some refusals, some reads.
    Stress,
    /// One client.
    Latency,
}

/// All that shapes a workload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) participants: u32,
    pub(crate) clients: usize,
    pub(crate) duration: Duration,
    pub(crate) accounts: usize,
    pub(crate) balance: i64,
    pub(crate) distribution: Distribution,
    pub(crate) cross: f64,
    pub(crate) read_only: f64,
    pub(crate) abort: f64,
    pub(crate) rate: Option<f64>,
}

impl Preset {
    /// What it stands for.
    pub(crate) fn settings(self) -> Settings {
        let default = Settings {
            participants: 5,
            clients: 128,
            duration: Duration::from_secs(10),
            accounts: 10_000,
            balance: 1_000,
            distribution: Distribution::Uniform,
            cross: 1.0,
            read_only: 0.0,
            abort: 0.0,
            rate: None,
        };
        match self {
            Self::Default => default,
            Self::HighThroughput => Settings { clients: 512, accounts: 100_000, ..default },
            Self::Stress => Settings {
                clients: 256,
                accounts: 1_000,
                balance: 100,
                distribution: Distribution::Zipf(0.99),
                cross: 0.8,
                read_only: 0.2,
                abort: 0.05,
                ..default
            },
            Self::Latency => Settings { clients: 1, ..default },
        }
    }
}

impl Settings {
    /// What would measure nothing, or cannot be.
    pub(crate) fn check(&self) -> Result<(), String> {
        /// Decimal shares that make up 1 may sum up to a little more.
        const ROUNDING: f64 = 1e-9;
        if self.duration.is_zero() {
            return Err("a bench of no duration measures nothing; see --duration".to_owned());
        }
        if self.read_only + self.abort > 1.0 + ROUNDING {
            return Err(format!(
                "--read-only {} and --abort {} are more than all transactions together; their sum is at most 1",
                self.read_only, self.abort
            ));
        }
        Ok(())
    }
}

impl BenchArgs {
    /// Whether the figures go to standard output as JSON.
    pub(crate) fn prints_json(&self) -> bool {
        self.json.as_deref().is_some_and(is_stdout)
    }

    /// The preset, with what the flags override.
    pub(crate) fn settings(&self) -> Settings {
        let preset = self.preset.settings();
        let participants = self.participants.unwrap_or(preset.participants);
        // One participant has nothing to cross to; only who asks for it is told so.
        let cross = if participants == 1 { 0.0 } else { preset.cross };
        Settings {
            participants,
            clients: self.clients.map_or(preset.clients, |clients| clients as usize),
            duration: self.duration.unwrap_or(preset.duration),
            accounts: self.accounts.map_or(preset.accounts, |accounts| accounts as usize),
            balance: self.balance.unwrap_or(preset.balance),
            distribution: self.distribution.unwrap_or(preset.distribution),
            cross: self.cross.unwrap_or(cross),
            read_only: self.read_only.unwrap_or(preset.read_only),
            abort: self.abort.unwrap_or(preset.abort),
            rate: self.rate.or(preset.rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn parse(flags: &[&str]) -> Result<Settings, clap::Error> {
        Cli::try_parse_from([&["bench"], flags].concat()).map(|cli| cli.bench.settings())
    }

    #[test]
    fn a_flag_overrides_its_preset_and_nothing_else() {
        assert_eq!(parse(&[]).unwrap(), Preset::Default.settings());
        let stress = parse(&["--preset", "stress", "--clients", "7", "--distribution", "uniform"]).unwrap();
        let expected = Settings { clients: 7, distribution: Distribution::Uniform, ..Preset::Stress.settings() };
        assert_eq!(stress, expected);
    }

    #[test]
    fn one_participant_crosses_nothing_unless_asked_to() {
        assert_eq!(parse(&["--participants", "1"]).unwrap().cross, 0.0);
        assert_eq!(parse(&["--participants", "1", "--cross", "1"]).unwrap().cross, 1.0);
    }

    #[test]
    fn shares_that_exclude_each_other_have_room_beside_each_other() {
        assert!(parse(&["--read-only", "0.7", "--abort", "0.3"]).unwrap().check().is_ok());
        let error = parse(&["--preset", "stress", "--abort", "0.9"]).unwrap().check().unwrap_err();
        assert!(error.contains("--read-only 0.2 and --abort 0.9"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        for flags in [
            ["--cross", "1.1"],
            ["--abort", "NaN"],
            ["--rate", "0"],
            ["--rate", "inf"],
            ["--clients", "0"],
            ["--accounts", "1"],
            ["--participants", "65"],
            ["--duration", "ten"],
            ["--distribution", "gauss"],
        ] {
            assert!(parse(&flags).is_err(), "{flags:?}");
        }
    }
}
