//! How a node is told to stop, and how it is woken for everything else: one `Notify`.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;
use tokio::sync::Notify;

/// Stops one node. Clones stop the same node; each node needs one of its own.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    wake: Arc<Notify>,
}

impl Stop {
    /// A stop that nobody has asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the node to stop cleanly. May be called from any thread, before or while it runs.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether somebody has asked.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// Stops at SIGTERM, SIGINT or SIGQUIT. What ends a process that knows nothing of it is caught: SIGHUP, SIGUSR1 and
    /// SIGUSR2 are told and ignored; at SIGXFSZ the write beyond the limit of file sizes fails, and the log says so.
    ///
    /// # Errors
    /// If the system refuses the handlers or their thread.
    pub fn on_signals(&self) -> io::Result<()> {
        signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2])?;
        let stop = self.clone();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
                if [SIGHUP, SIGUSR1, SIGUSR2].contains(&signal) {
                    tracing::warn!(
                        signal = name,
                        "ignored: a node reads its settings when it starts, writes its log to standard error, and stops at SIGTERM"
                    );
                } else {
                    tracing::info!(signal = name, "asked to stop");
                    stop.request();
                }
            }
        })?;
        Ok(())
    }

    /// Stops when standard input ends: a parent that dies leaves no orphan.
    ///
    /// # Errors
    /// If the system refuses the thread.
    pub fn on_stdin_closed(&self) -> io::Result<()> {
        let stop = self.clone();
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            let mut input = io::stdin().lock();
            let mut ignored = [0; 256];
            loop {
                match input.read(&mut ignored) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        tracing::warn!(%error, "standard input cannot be read");
                        break;
                    }
                }
            }
            tracing::info!("standard input has closed: stopping");
            stop.request();
        })?;
        Ok(())
    }

    pub(crate) fn wake(&self) -> &Arc<Notify> {
        &self.wake
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn sigterm_asks_to_stop_and_other_signals_end_nothing() {
        let stop = Stop::new();
        stop.on_signals().unwrap();
        for signal in [SIGXFSZ, SIGHUP, SIGUSR1, SIGUSR2] {
            signal_hook::low_level::raise(signal).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        assert!(!stop.is_requested());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while !stop.is_requested() {
            assert!(Instant::now() < deadline, "the signal was not heard");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
