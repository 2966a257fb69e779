//! `assent txn`: one transaction from the command line, or the status of one.

mod op;

use std::fmt;

use clap::{Args, Subcommand};
use client::{Outcome, Transaction};
use protocol::message::TxnStatus;
use protocol::{Operation, OperationResult, Reason, Refusal, TxnId};
use serde_json::{Value, json};

use crate::connect::{ConnectArgs, runtime};
use crate::exit::Failure;
use crate::output::{json_bytes, show};

const AFTER_HELP: &str = "\
Operations, in the order in which they run:
  get:KEY  put:KEY=VALUE  delete:KEY  append:KEY=VALUE
  add:KEY:DELTA[:MIN..MAX]       add to a number; refused if the sum leaves the bounds
  expect:KEY=VALUE  expect-exists:KEY  expect-absent:KEY
  scan:START..END[:LIMIT]        rows from START up to but without END (to the last key if END is empty)
  totals:START..END              count and sum of a range
Keys with the same text in {braces} live on the same participant.

Examples:
  assent txn put:greeting=hello get:greeting
  assent txn add:balance/a:-5:0.. add:balance/b:5
  assent txn status 0123456789abcdef0123456789abcdef";

/// Run one transaction: all of its operations, or none.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP, subcommand_negates_reqs = true, args_conflicts_with_subcommands = false)]
pub(crate) struct TxnArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Use this transaction id (32 hexadecimal digits); the same id with the same operations happens once.
    #[arg(long, value_name = "ID")]
    id: Option<TxnId>,
    /// What to do.
    #[arg(value_name = "OP", required = true, value_parser = op::parse)]
    operations: Vec<Operation>,
    #[command(subcommand)]
    command: Option<TxnCommand>,
}

#[derive(Subcommand, Debug)]
enum TxnCommand {
    /// What became of a transaction.
    #[command(after_help = "Example: assent txn status 0123456789abcdef0123456789abcdef")]
    Status {
        /// Its id: 32 hexadecimal digits.
        id: TxnId,
    },
}

/// Runs the command.
pub(crate) fn run(args: TxnArgs) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match &args.command {
            Some(TxnCommand::Status { id }) => status(&args.connect, *id).await,
            None => submit(args).await,
        }
    })
}

async fn status(connect: &ConnectArgs, id: TxnId) -> Result<(), Failure> {
    let status = connect.connect().await?.status(id).await?;
    let (name, sentence) = match status {
        TxnStatus::Committed => ("committed", "committed"),
        TxnStatus::Aborted => ("aborted", "aborted: nothing of it happened"),
        TxnStatus::InProgress => ("in-progress", "in progress: not decided yet"),
        TxnStatus::Unknown => (
            "unknown",
            "unknown: it never began, it was aborted, it only read and the coordinator has started again since, or it \
             ended longer ago than outcomes are kept",
        ),
    };
    let json = json!({ "txn": id.to_string(), "status": name });
    connect.output().say(&json, sentence)?;
    if status == TxnStatus::Committed { Ok(()) } else { Err(Failure::NoAsPrinted) }
}

async fn submit(args: TxnArgs) -> Result<(), Failure> {
    let transaction = args.id.map_or_else(Transaction::new, Transaction::with_id);
    let id = transaction.id();
    let transaction = args.operations.iter().cloned().fold(transaction, Transaction::operation);
    let outcome = args.connect.connect().await?.submit(transaction).await?;
    args.connect
        .output()
        .say(&outcome_json(id, &outcome), OutcomeText { id, outcome: &outcome, of: &args.operations })?;
    match outcome {
        Outcome::Committed { .. } => Ok(()),
        Outcome::Aborted { .. } => Err(Failure::NoAsPrinted),
    }
}

fn outcome_json(id: TxnId, outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Committed { results } => {
            let results = results.as_ref().map(|results| results.iter().map(result_json).collect::<Vec<_>>());
            json!({ "txn": id.to_string(), "outcome": "committed", "results": results })
        }
        Outcome::Aborted { refusal, at_deadline } => json!({
            "txn": id.to_string(),
            "outcome": "aborted",
            "reason": refusal.reason.name(),
            "operation": refusal.operation,
            "participant": refusal.participant,
            "at_deadline": at_deadline,
        }),
    }
}

fn result_json(result: &OperationResult) -> Value {
    match result {
        OperationResult::Done => json!({ "done": true }),
        OperationResult::Value(value) => json!({ "value": value.as_deref().map(json_bytes) }),
        OperationResult::Number(number) => json!({ "number": number }),
        OperationResult::Rows { rows, more } => {
            let rows: Vec<_> =
                rows.iter().map(|(key, value)| json!({ "key": json_bytes(key), "value": json_bytes(value) })).collect();
            json!({ "rows": rows, "more": more })
        }
        OperationResult::Totals(totals) => {
            // A JSON number holds 53 bits for many readers; the sum may have more.
            json!({ "keys": totals.keys, "sum": totals.sum.to_string(), "negatives": totals.negatives })
        }
    }
}

struct OutcomeText<'a> {
    id: TxnId,
    outcome: &'a Outcome,
    of: &'a [Operation],
}

impl fmt::Display for OutcomeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Committed { results: None } => write!(f, "committed {} (before; its results are gone)", self.id),
            Outcome::Committed { results: Some(results) } => {
                write!(f, "committed {}", self.id)?;
                self.of.iter().zip(results).try_for_each(|(operation, result)| write_result(f, operation, result))
            }
            Outcome::Aborted { refusal, at_deadline } => {
                write!(f, "refused: {}", refusal_sentence(refusal, *at_deadline))
            }
        }
    }
}

fn write_result(f: &mut fmt::Formatter<'_>, operation: &Operation, result: &OperationResult) -> fmt::Result {
    let key = operation.key().map(|key| show(key)).unwrap_or_default();
    match result {
        OperationResult::Done => Ok(()),
        OperationResult::Value(Some(value)) => write!(f, "\n{key} = {}", show(value)),
        OperationResult::Value(None) => write!(f, "\n{key} has no value"),
        OperationResult::Number(number) => write!(f, "\n{key} = {number}"),
        OperationResult::Rows { rows, more } => {
            rows.iter().try_for_each(|(key, value)| write!(f, "\n{} = {}", show(key), show(value)))?;
            if *more { write!(f, "\n... and more") } else { Ok(()) }
        }
        OperationResult::Totals(totals) => {
            write!(f, "\n{} keys, sum {}, {} below zero", totals.keys, totals.sum, totals.negatives)
        }
    }
}

/// Why a transaction was refused, as a sentence.
pub(crate) fn refusal_sentence(refusal: &Refusal, at_deadline: bool) -> String {
    let why = match refusal.reason {
        Reason::Conflict => "other transactions held its keys",
        Reason::Bound => "the sum would leave its bounds",
        Reason::Expectation => "the value is not what was expected",
        Reason::NotANumber => "the value is not a decimal number",
        Reason::TooLarge => "it writes or returns more than one transaction may",
        Reason::Busy => {
            "the cluster has as much to do as it accepts, or a participant was not met since the coordinator started; try again later"
        }
        Reason::NoSpace => "a disk is full; free some space",
        Reason::IdReused => "its id was used before with other operations",
        Reason::StaleEpoch => "the coordinator was replaced by a later start of itself",
        Reason::AlreadyCommitted => "it has committed already",
        Reason::Unavailable => "a participant did not answer in time",
        Reason::WrongNode => {
            "a participant belongs to another cluster or has another number than the coordinator thinks"
        }
        Reason::Damaged => "a participant found damage in what it had stored; see its log",
        Reason::NoClaim => "a participant and the coordinator have not told each other yet what they know; try again",
        Reason::Ended => "the coordinator has ended this attempt; try again",
        Reason::Invalid => "the coordinator asked a participant for what has no meaning; see its log",
        Reason::NoMemory => "the participant's memory budget is used up: delete keys, or give it more with memory-max",
        Reason::LogLost => {
            "the log of a participant or of the coordinator has lost records that it had told of; see its log"
        }
    };
    let operation = refusal.operation.map(|at| format!("operation {}: ", at + 1)).unwrap_or_default();
    let participant = refusal.participant.map(|number| format!(" (participant {number})")).unwrap_or_default();
    let deadline = if at_deadline { ", until the deadline" } else { "" };
    format!("{operation}{why}{participant}{deadline}")
}
