//! Ctrl-C, SIGTERM, SIGQUIT and SIGHUP for commands that have something to clean up.

use std::fs;
use std::future::pending;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// Hears them from now on, as often as they come.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    /// None where whoever started the command wants it to go on without its terminal (`nohup`).
    hangup: Option<Signal>,
}

impl Interrupts {
    /// Begins to listen: none of them ends the process any more.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::Start(format!("the system refuses to tell of signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            quit: listen(SignalKind::quit())?,
            hangup: if ignores_hangup() { None } else { Some(listen(SignalKind::hangup())?) },
        })
    }

    /// Waits for the next one; its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.quit.recv() => "SIGQUIT",
            _ = hangup => {
                crate::output::hung_up();
                "SIGHUP"
            }
        }
    }
}

/// Waits for the first of them. A terminal that is gone is told of, in case standard error leads elsewhere.
pub(crate) async fn wait() -> Result<(), Failure> {
    if Interrupts::listen()?.next().await == "SIGHUP" {
        crate::output::complain("SIGHUP: the terminal is gone; stopping");
    }
    Ok(())
}

/// Whether SIGHUP was ignored when this process began, as the system shows it.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let signals = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first bit is signal 1, which is SIGHUP.
    signals.is_some_and(|signals| signals & 1 != 0)
}
