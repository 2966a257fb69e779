//! `assent participant`: one shard of the data.

use node::{ParticipantSettings, run as run_node};
use participant::Participant;
use protocol::Role;

use crate::daemon::{daemon_args, failure, say_ready};
use crate::exit::Failure;

pub(crate) const AFTER_HELP: &str = "\
Example: assent participant --id 1 --listen 127.0.0.1:7101 --data data/p1";

daemon_args!(ParticipantArgs, Role::Participant);

/// Runs until it is told to stop.
pub(crate) fn run(args: &ParticipantArgs) -> Result<(), Failure> {
    let config = args.0.config()?;
    let stop = args.0.prepare(&config)?;
    let id = config.node.number;
    let ParticipantSettings { in_flight_txns_max, outcomes_max, ask_interval, ask_interval_max } = config.participant;
    let machine_config = participant::Config {
        in_flight_txns_max,
        outcomes_max,
        ask_interval_us: ask_interval.as_micros() as u64,
        ask_interval_us_max: ask_interval_max.as_micros() as u64,
        ..participant::Config::new(id, config.node.cluster)
    };
    run_node(
        config.node,
        stop,
        |address| say_ready(Role::Participant, id, address),
        |table| Participant::new(machine_config, table),
    )
    .map_err(|error| failure(&error))
}
