//! Ctrl-C and SIGTERM for commands that have something to clean up.

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Failure;

/// Waits for either.
pub(crate) async fn wait() -> Result<(), Failure> {
    let refused = |error: std::io::Error| Failure::Start(format!("the system refuses to tell of signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}
