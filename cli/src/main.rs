//! `assent`: the one binary. Each command is a module; libraries do the work.
//!
//! - [`participant`], [`coordinator`]: one node; [`daemon`] has what they share,
//!   [`data_dir`] says what is wrong with their directories.
//! - [`cluster`]: a cluster of child processes on this machine; [`children`] runs them, in a [`folder`] of their own.
//! - [`peer`]: what nodes are told of a peer that will not come back as it was.
//! - [`stats`]: what nodes say of themselves. [`txn`]: one transaction. [`bank`]: accounts and transfers.
//! - [`wal`]: offline tools over a log.
//! - [`bench`]: a workload, its figures and its audit.
//! - [`logs`]: the log lines of a node. [`interrupt`]: Ctrl-C. [`exit`]: exit codes. [`output`]: what is printed. [`connect`]: how a coordinator is found.
//!   [`usage`]: what is wrong with a command line. [`values`]: how its words are read.

mod bank;
mod bench;
mod children;
mod cluster;
mod connect;
mod coordinator;
mod daemon;
mod data_dir;
mod exit;
mod folder;
mod interrupt;
mod logs;
mod output;
mod participant;
mod peer;
mod stats;
mod txn;
mod usage;
mod values;
mod wal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::{EXIT_CODES_HELP, Failure};

/// Transactions that commit on every participant or on none.
#[derive(Parser, Debug)]
#[command(name = "assent", version, after_help = EXIT_CODES_HELP, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run one participant: it holds data and votes.
    #[command(after_help = participant::AFTER_HELP)]
    Participant(participant::ParticipantArgs),
    /// Run one coordinator: it decides transactions.
    #[command(after_help = coordinator::AFTER_HELP)]
    Coordinator(coordinator::CoordinatorArgs),
    Cluster(cluster::ClusterArgs),
    Stats(stats::StatsArgs),
    Replace(peer::ReplaceArgs),
    Retire(peer::RetireArgs),
    Txn(txn::TxnArgs),
    Bank(bank::BankArgs),
    Bench(bench::BenchArgs),
    Wal(wal::WalArgs),
}

impl Command {
    fn json(&self) -> bool {
        match self {
            Self::Participant(_) | Self::Coordinator(_) => false,
            Self::Bench(args) => args.prints_json(),
            Self::Cluster(args) => args.json,
            Self::Stats(args) => args.json,
            Self::Replace(args) => args.json(),
            Self::Retire(args) => args.json(),
            Self::Txn(args) => args.connect.json,
            Self::Bank(args) => args.connect.json,
            Self::Wal(args) => args.json(),
        }
    }

    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Participant(args) => participant::run(&args),
            Self::Coordinator(args) => coordinator::run(&args),
            Self::Cluster(args) => cluster::run(&args),
            Self::Stats(args) => stats::run(&args),
            Self::Replace(args) => peer::replace(&args),
            Self::Retire(args) => peer::retire(&args),
            Self::Txn(args) => txn::run(args),
            Self::Bank(args) => bank::run(args),
            Self::Bench(args) => bench::run(&args),
            Self::Wal(args) => wal::run(&args),
        }
    }
}

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return usage::report(&error),
    };
    let json = command.json();
    let code = match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    };
    logs::flush();
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_of_all_commands_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bank_takes_its_coordinator_before_and_after_what_it_does() {
        for line in ["assent bank --coordinator a:1 audit --json", "assent bank audit --json --coordinator a:1"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.command.json());
            let Command::Bank(args) = cli.command else { panic!("{line}") };
            assert_eq!(args.connect.coordinator, "a:1");
        }
        assert!(
            Cli::try_parse_from("assent txn status 0123456789abcdef0123456789ABCDEF --coordinator a:1".split(' '))
                .is_ok()
        );
        assert!(Cli::try_parse_from("assent txn --coordinator a:1 get:x put:x=1".split(' ')).is_ok());
        assert!(Cli::try_parse_from("assent txn".split(' ')).is_err());
    }

    #[test]
    fn a_coordinator_takes_each_participant_by_itself() {
        let line = "assent coordinator --id 1 --listen a:1 --data d --participant 1=a:2 --participant 2=a:3";
        let Command::Coordinator(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!() };
        let peers = args.0.config().unwrap().node.peers;
        assert_eq!(peers, [(1, "a:2".to_owned()), (2, "a:3".to_owned())]);
    }
}
