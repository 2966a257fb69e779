//! The flags with which a command finds its coordinator.

use std::time::Duration;

use clap::Args;
use client::{Client, Options};
use protocol::ClusterId;
use tokio::runtime::Runtime;

use crate::exit::Failure;
use crate::output::Output;
use crate::values::{parse_address, parse_switch};

/// Where `assent cluster` listens and the other commands look, unless told otherwise.
pub(crate) const COORDINATOR_DEFAULT: &str = "127.0.0.1:7100";

/// Where the coordinator is, and how to speak.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectArgs {
    /// Address of the coordinator.
    #[arg(long, env = "ASSENT_COORDINATOR", value_name = "ADDR", default_value = COORDINATOR_DEFAULT, global = true,
          value_parser = parse_address)]
    pub(crate) coordinator: String,
    /// Number of the cluster.
    #[arg(long, env = "ASSENT_CLUSTER_ID", value_name = "N", default_value_t = 1, global = true)]
    pub(crate) cluster_id: u64,
    /// How long the coordinator may try a transaction.
    #[arg(long, env = "ASSENT_TXN_DEADLINE", value_name = "DURATION", default_value = "10s", global = true,
          value_parser = parse_deadline)]
    pub(crate) deadline: Duration,
    /// Print JSON, one document a line.
    #[arg(long, env = "ASSENT_JSON", global = true, value_parser = parse_switch)]
    pub(crate) json: bool,
}

impl ConnectArgs {
    /// How the command speaks.
    pub(crate) fn output(&self) -> Output {
        Output { json: self.json }
    }

    /// Connects to the coordinator.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(self.coordinator.clone(), self.options()).await?)
    }

    fn options(&self) -> Options {
        Options { cluster: ClusterId(self.cluster_id), deadline: self.deadline, ..Options::default() }
    }
}

/// The protocol counts deadlines in milliseconds.
const DEADLINE_MIN: Duration = Duration::from_millis(1);

/// Reads a deadline that leaves a transaction some time.
pub(crate) fn parse_deadline(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(deadline) if deadline >= DEADLINE_MIN => Ok(deadline),
        Ok(_) => Err("a transaction needs some time; the shortest deadline is 1ms".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// One thread is enough for a client, and leaves the processors to the nodes.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Start(format!("cannot start the client's runtime: {error}")))
}
