//! `assent wal check-cluster`: the logs of all nodes against each other. The judgement is `audit`'s; here are words.

use std::path::PathBuf;

use audit::{AuditError, Fault, Finding, InDoubt, NodeName, NodeSummary, Report};
use clap::Args;
use protocol::Position;
use serde_json::{Value, json};

use super::failure;
use crate::exit::Failure;
use crate::output::line;
use crate::values::parse_switch;

const AFTER_HELP: &str = "\
Reads the log of each node from its last checkpoint on, and compares what they say of each transaction: whether one
committed what another aborted, and whether everything is there that a participant promised or acknowledged to its
coordinator. Promises whose outcome is still to be told are listed; they are no fault. Writes nothing.

The nodes must be stopped, or the directories be copies that were made while all of them were stopped: logs that were
copied at different moments of a running cluster contradict each other. A damaged log is read as far as it goes.

What a checkpoint or the retention of outcomes has dropped cannot be compared any more; such cases are counted.

Exit codes, of this command alone:
  0  consistent, as far as can be told
  1  something was found: a transaction decided differently, or acknowledged and missing
  2  a wrong flag; two directories of one node, or of different clusters
  3  a directory cannot be read, is no data directory, or a node has it open
  4  nothing was found, but a log could not be read whole

Examples:
  assent wal check-cluster data/c1 data/p1 data/p2
  assent wal check-cluster data/* --json | jq '.findings[]'";

/// Compare the logs of all nodes of a stopped cluster: decided differently, acknowledged and missing.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CheckClusterArgs {
    /// The data directories of the cluster's nodes, each once.
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,
    /// Print JSON, one document.
    #[arg(long, env = "ASSENT_JSON", value_parser = parse_switch)]
    pub(super) json: bool,
}

/// Runs the command.
pub(super) fn run(args: &CheckClusterArgs) -> Result<(), Failure> {
    let logs = args.dirs.iter().map(|dir| audit::read(dir)).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let report = audit::judge(&logs).map_err(refused)?;
    if args.json {
        line(&document(&report).to_string())?;
    } else {
        people(&report).iter().try_for_each(|text| line(text))?;
    }
    if !report.findings.is_empty() {
        Err(Failure::AsPrinted(1))
    } else if !report.is_whole() {
        Err(Failure::AsPrinted(4))
    } else {
        Ok(())
    }
}

fn refused(error: AuditError) -> Failure {
    match error {
        // Damage that keeps a log from being read at all is told like a directory that cannot be read.
        AuditError::Open { dir, source } => Failure::Start(failure(&dir, &source).to_string()),
        AuditError::NoOwner { .. } => Failure::Start(error.to_string()),
        AuditError::Twice { .. } | AuditError::OtherCluster { .. } => Failure::Usage(error.to_string()),
    }
}

fn verdict(report: &Report) -> &'static str {
    if !report.findings.is_empty() {
        "inconsistent"
    } else if !report.is_whole() {
        "unread"
    } else {
        "consistent"
    }
}

fn document(report: &Report) -> Value {
    let node = |node: &NodeSummary| {
        json!({
            "node": node.node.to_string(), "dir": node.dir, "records": node.records, "begin": node.begin.0,
            "end": node.end.0, "unread": node.unread, "torn_tail": node.torn
        })
    };
    let finding = |finding: &Finding| {
        json!({
            "txn": finding.txn.map(|txn| txn.to_string()),
            "attempt": finding.attempt.map(|attempt| attempt.to_string()),
            "by": finding.by.to_string(),
            "fault": finding.fault.name(),
            "nodes": nodes(&finding.fault).map(|node| node.to_string()),
            "at": place(&finding.fault),
            "reason": finding.fault.to_string()
        })
    };
    let in_doubt = |promise: &InDoubt| {
        json!({
            "txn": promise.txn.to_string(), "attempt": promise.attempt.to_string(),
            "participant": promise.participant.to_string(), "coordinator": promise.coordinator.to_string(),
            "commits": promise.commits
        })
    };
    json!({
        "verdict": verdict(report),
        "nodes": report.nodes.iter().map(node).collect::<Vec<_>>(),
        "not_given": report.not_given.iter().map(NodeName::to_string).collect::<Vec<_>>(),
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "findings_dropped": report.findings_dropped,
        "in_doubt": report.in_doubt.iter().map(in_doubt).collect::<Vec<_>>(),
        "in_doubt_dropped": report.in_doubt_dropped,
        "confirmed": report.confirmed,
        "untold": {
            "dropped": report.untold.dropped, "unread": report.untold.unread, "not_given": report.untold.not_given
        },
    })
}

/// Whom a fault is about.
fn nodes(fault: &Fault) -> [NodeName; 2] {
    match fault {
        Fault::DecidedDifferently { committed, aborted } => [*committed, *aborted],
        Fault::CommittedTwice { first, second, .. } => [*first, *second],
        Fault::NotDecided { committed } => [*committed, *committed],
        Fault::PromiseMissing { participant, .. }
        | Fault::OtherPromise { participant, .. }
        | Fault::RecordMissing { node: participant, .. }
        | Fault::CommitMissing { participant, .. } => [*participant, *participant],
    }
}

fn place(fault: &Fault) -> Value {
    let at = match fault {
        Fault::PromiseMissing { at, .. }
        | Fault::OtherPromise { at, .. }
        | Fault::RecordMissing { at, .. }
        | Fault::CommitMissing { at, .. } => *at,
        Fault::DecidedDifferently { .. } | Fault::CommittedTwice { .. } | Fault::NotDecided { .. } => Position::UNKNOWN,
    };
    if at.is_known() { json!({ "index": at.index.0, "hash": format!("{:016x}", at.hash) }) } else { Value::Null }
}

fn people(report: &Report) -> Vec<String> {
    let mut lines = vec![format!("{:<6}{:>12}{:>14}{:>14}  directory", "node", "records", "after index", "to index")];
    for node in &report.nodes {
        lines.push(format!(
            "{:<6}{:>12}{:>14}{:>14}  {}",
            node.node.to_string(),
            node.records,
            node.begin,
            node.end,
            node.dir
        ));
        lines.extend(node.unread.iter().map(|why| format!("      not read: {why}")));
        lines.extend(node.torn.iter().map(|why| format!("      torn tail, which the next start cuts off: {why}")));
    }
    for node in &report.not_given {
        lines.push(format!("{node} is named in these logs, and its directory was not given"));
    }
    for promise in &report.in_doubt {
        let InDoubt { txn, attempt, participant, coordinator, commits } = promise;
        let then = match commits {
            Some(true) => format!("{coordinator} has decided to commit it and will say so"),
            Some(false) => format!("{coordinator} has not decided to commit it, so it will be aborted"),
            None => format!("the log of {coordinator} was not given"),
        };
        lines.push(format!("in doubt  {txn} {attempt}: promised by {participant}; {then}"));
    }
    if report.in_doubt_dropped > 0 {
        lines.push(format!("in doubt  {} further promises", report.in_doubt_dropped));
    }
    for Finding { txn, attempt, by, fault } in &report.findings {
        let which = txn.map_or_else(|| "a transaction".to_owned(), |txn| txn.to_string());
        let attempt = attempt.map(|attempt| format!(" {attempt}")).unwrap_or_default();
        lines.push(format!("FOUND     {} {which}{attempt}: {fault} (says {by})", fault.name()));
    }
    if report.findings_dropped > 0 {
        lines.push(format!("FOUND     {} further ones", report.findings_dropped));
    }
    let untold = report.untold;
    lines.push(format!(
        "{}: {} found, {} statements confirmed, {} in doubt; cannot be told: {} dropped by a checkpoint or the retention, \
         {} in what was not read, {} of nodes that were not given",
        verdict(report),
        report.findings.len() as u64 + report.findings_dropped,
        report.confirmed,
        report.in_doubt.len() as u64 + report.in_doubt_dropped,
        untold.dropped,
        untold.unread,
        untold.not_given
    ));
    lines
}
