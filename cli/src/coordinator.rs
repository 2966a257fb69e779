//! `assent coordinator`: decides transactions.

use coordinator::Coordinator;
use node::{CoordinatorSettings, run as run_node};
use protocol::Role;

use crate::daemon::{daemon_args, failure, say_ready};
use crate::exit::Failure;

pub(crate) const AFTER_HELP: &str = "\
Example: assent coordinator --id 1 --listen 127.0.0.1:7100 --data data/c1 \\
           --participant 1=127.0.0.1:7101 --participant 2=127.0.0.1:7102";

daemon_args!(CoordinatorArgs, Role::Coordinator);

/// Runs until it is told to stop.
pub(crate) fn run(args: &CoordinatorArgs) -> Result<(), Failure> {
    let config = args.0.config()?;
    let stop = args.0.prepare(&config)?;
    let id = config.node.number;
    let participants = config.node.peers.iter().map(|(number, _)| *number).collect();
    let machine_config =
        machine_config(coordinator::Config::new(id, config.node.cluster, participants), &config.coordinator);
    run_node(
        config.node,
        stop,
        |address| say_ready(Role::Coordinator, id, address),
        |_table| Coordinator::new(machine_config),
    )
    .map_err(|error| failure(&error))
}

fn machine_config(defaults: coordinator::Config, settings: &CoordinatorSettings) -> coordinator::Config {
    coordinator::Config {
        max_concurrent_txns: settings.max_concurrent_txns,
        prepare_timeout_us: settings.prepare_timeout.as_micros() as u64,
        lock_wait_ms: settings.lock_wait.as_millis() as u32,
        retry_delay_us_min: settings.retry_delay_min.as_micros() as u64,
        retry_delay_us_max: settings.retry_delay_max.as_micros() as u64,
        deadline_ms_default: settings.deadline_default.as_millis() as u32,
        deadline_ms_max: settings.deadline_max.as_millis() as u32,
        resend_interval_us: settings.resend_interval.as_micros() as u64,
        outcomes_max: settings.outcomes_max,
        aborts_max: settings.aborts_max,
        ..defaults
    }
}
