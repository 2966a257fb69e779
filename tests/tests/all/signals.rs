//! What signals do to a node.

use std::time::Duration;

use client::{Outcome, Transaction};
use rustix::process::Signal;
use tests::processes::Cluster;
use tests::transfers::connect;

use crate::processes::run;

#[test]
fn a_signal_that_asks_for_nothing_is_told_and_ignored() {
    let mut cluster = Cluster::start(1, &[]);
    let signals = [(Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")];
    for node in cluster.nodes() {
        for (signal, name) in signals {
            node.signal(signal);
            assert!(node.ended_within(Duration::from_millis(200)).is_none(), "{} has ended at {name}", node.name);
            let log = node.log();
            let told = log.lines().filter(|line| line.contains(name) && line.contains("ignored")).count();
            assert_eq!(told, 1, "{name}:\n{log}");
        }
    }
    run(async {
        let client = connect(&cluster.coordinator.address).await;
        let outcome = client.submit(Transaction::new().put("k", "v")).await;
        assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    });
}

#[test]
fn each_signal_that_asks_to_stop_stops_cleanly() {
    let mut cluster = Cluster::start(1, &[]);
    for signal in [Signal::INT, Signal::TERM, Signal::QUIT] {
        for node in cluster.nodes() {
            node.signal(signal);
            assert!(node.wait_for_end().success(), "{signal:?}");
            assert!(node.log().trim_end().lines().last().unwrap_or_default().contains("stopped cleanly"));
            node.start();
        }
    }
}
