//! `assent replace` and `assent retire`: what an operator tells nodes of a peer that will not come back as it was.

use std::time::Duration;

use clap::{Args, ValueEnum};
use client::{Options, PeerChanged, PeerRequest, change_peer};
use protocol::message::PeerChange;
use protocol::{ClusterId, Role};
use serde_json::json;

use crate::connect::runtime;
use crate::exit::Failure;
use crate::output::Output;
use crate::values::{parse_address, parse_switch};

const REPLACE_HELP: &str = "\
Examples:
  assent replace coordinator 1 --at 127.0.0.1:7101 --at 127.0.0.1:7102
  assent replace participant 2 --at 127.0.0.1:7100

A node ties each number to the log that it first met under it, and refuses every other log. When that log is lost for good,
tell each node that knew it: a lost coordinator's participants, a lost participant's coordinators. The new log has to begin
above the epochs of the lost one; the answer says with which `--first-epoch`.

This gives up what only the lost log knew. Transactions in doubt at a participant are aborted by the new coordinator, though
the lost one may have decided to commit them; `assent wal check-cluster` shows what that has split. A restored copy of
the directory is better, if there is one.";

const RETIRE_HELP: &str = "\
Example:
  assent retire 7 --at 127.0.0.1:7101 --at 127.0.0.1:7102

A participant knows at most 256 coordinators' numbers, and remembers each until it is told that it will not come back.
A number with transactions in doubt is not retired.";

/// What the log of a number is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Peer {
    /// A coordinator, told to participants.
    Coordinator,
    /// A participant, told to coordinators.
    Participant,
}

/// Where to tell it.
#[derive(Args, Debug)]
struct Places {
    /// Address of a node that knew it; repeat it for each.
    #[arg(long = "at", value_name = "ADDR", required = true, value_parser = parse_address)]
    at: Vec<String>,
    /// Number of the cluster.
    #[arg(long, env = "ASSENT_CLUSTER_ID", value_name = "N", default_value_t = 1)]
    cluster_id: u64,
    /// Print JSON, one document a node.
    #[arg(long, env = "ASSENT_JSON", value_parser = parse_switch)]
    json: bool,
}

/// Give up the log of a coordinator or participant: from then on another log is taken under its number.
#[derive(Args, Debug)]
#[command(after_help = REPLACE_HELP)]
pub(crate) struct ReplaceArgs {
    /// Whose log is lost.
    role: Peer,
    /// Its number.
    number: u32,
    #[command(flatten)]
    places: Places,
}

/// Forget the number of a coordinator that will not come back.
#[derive(Args, Debug)]
#[command(after_help = RETIRE_HELP)]
pub(crate) struct RetireArgs {
    /// Its number.
    number: u32,
    #[command(flatten)]
    places: Places,
}

impl ReplaceArgs {
    pub(crate) fn json(&self) -> bool {
        self.places.json
    }
}

impl RetireArgs {
    pub(crate) fn json(&self) -> bool {
        self.places.json
    }
}

/// Gives up a log at every place.
pub(crate) fn replace(args: &ReplaceArgs) -> Result<(), Failure> {
    let (role, number) = (role_of(args.role), args.number);
    let undecided = match role {
        Role::Participant => "not delivered to it any more",
        Role::Coordinator | Role::Client => "in doubt there",
    };
    tell(&args.places, PeerRequest::ReplaceLog { role, number }, |changed| {
        let (next, count) = (changed.epoch.saturating_add(1), changed.in_doubt);
        format!(
            "takes another log under {role} {number}; start it with --first-epoch {next} or more ({count} transactions \
             {undecided})"
        )
    })
}

/// Retires a number at every place.
pub(crate) fn retire(args: &RetireArgs) -> Result<(), Failure> {
    let number = args.number;
    tell(&args.places, PeerRequest::Retire { number }, |_| format!("has forgotten coordinator {number}"))
}

fn role_of(peer: Peer) -> Role {
    match peer {
        Peer::Coordinator => Role::Coordinator,
        Peer::Participant => Role::Participant,
    }
}

/// Tells every place, also after one has failed, and ends with the first failure.
fn tell(places: &Places, request: PeerRequest, done: impl Fn(PeerChanged) -> String) -> Result<(), Failure> {
    let output = Output { json: places.json };
    let cluster = ClusterId(places.cluster_id);
    let options = Options { cluster, deadline: Duration::from_secs(10), ..Options::default() };
    runtime()?.block_on(async {
        let mut failed = None;
        for address in &places.at {
            let changed = match change_peer(address, request, &options).await {
                Ok(changed) => changed,
                Err(error) => {
                    crate::output::complain(&error.to_string());
                    failed = Some(Failure::AsPrinted(Failure::Client(error).code()));
                    continue;
                }
            };
            let (outcome, is_done, words) = match changed.outcome {
                PeerChange::Done => ("done", true, done(changed)),
                PeerChange::NotKnown => ("not-known", false, "has never accepted anybody under this number".to_owned()),
                PeerChange::HasPromises => {
                    let count = changed.in_doubt;
                    ("in-doubt", false, format!("holds {count} transactions that only this coordinator can decide"))
                }
            };
            let (epoch, in_doubt) = (changed.epoch, changed.in_doubt);
            let document = json!({ "address": address, "outcome": outcome, "epoch": epoch, "in_doubt": in_doubt });
            output.say(&document, format!("{address} {words}"))?;
            if !is_done {
                failed.get_or_insert(Failure::NoAsPrinted);
            }
        }
        failed.map_or(Ok(()), Err)
    })
}
