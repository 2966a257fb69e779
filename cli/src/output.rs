//! Standard output: for people, or one JSON document a line.
//!
//! Invariants: a reader that has gone away (`| true`, a terminal that was closed) changes neither what a command does nor its
//! exit code, any other failure to write is told; after SIGHUP no writing takes longer than [`HUNG_UP_WAIT`].

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::Failure;

/// How long something is written, all told, once the terminal may be gone.
const HUNG_UP_WAIT: Duration = Duration::from_secs(1);

/// SIGHUP has come: what is written may have no reader.
static HUNG_UP: AtomicBool = AtomicBool::new(false);

/// Since then something could not be written in time; nothing more is.
static DEAF: AtomicBool = AtomicBool::new(false);

/// How a command speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// JSON instead of sentences.
    pub(crate) json: bool,
}

impl Output {
    /// Prints the same thing in the form that was asked for.
    pub(crate) fn say(self, json: &impl Serialize, people: impl Display) -> Result<(), Failure> {
        if self.json {
            let text = serde_json::to_string(json).map_err(io::Error::other)?;
            line(&text)
        } else {
            line(&people.to_string())
        }
    }
}

/// Prints one line, if its reader is still there.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    match write(format!("{text}\n"), io::stdout) {
        Err(error) if has_gone(&error, io::stdout()) => Ok(()),
        written => Ok(written?),
    }
}

/// The terminal may be gone: from now on nobody is waited for.
pub(crate) fn hung_up() {
    HUNG_UP.store(true, Ordering::Relaxed);
}

/// Writes a text whole. After SIGHUP a thread of its own does it, and is given up when it is not done in time.
fn write<W: Write>(text: String, out: impl FnOnce() -> W + Send + 'static) -> io::Result<()> {
    let write = move || {
        let mut out = out();
        out.write_all(text.as_bytes())?;
        out.flush()
    };
    if !HUNG_UP.load(Ordering::Relaxed) {
        return write();
    }
    if DEAF.load(Ordering::Relaxed) {
        return Ok(());
    }
    let (done_to, done) = channel();
    // Nobody waits any more for what comes too late.
    std::thread::Builder::new().spawn(move || _ = done_to.send(write()))?;
    done.recv_timeout(HUNG_UP_WAIT).unwrap_or_else(|_| {
        DEAF.store(true, Ordering::Relaxed);
        Ok(())
    })
}

/// Whether nobody can read what was written: the other end of a pipe is closed, or the terminal is.
fn has_gone(error: &io::Error, out: impl AsFd) -> bool {
    let is_device = || fstat(out).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice);
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(Errno::IO.raw_os_error()) && is_device()
}

/// Prints one line, if anyone listens.
pub(crate) fn line_if_heard(text: &str) {
    let _ = line(text);
}

/// Prints one line on standard error as it is, if anyone listens.
pub(crate) fn line_on_stderr(text: &str) {
    let _ = write(format!("{text}\n"), io::stderr);
}

/// Complains in one line on standard error, if anyone listens.
pub(crate) fn complain(message: &str) {
    if let Some(line) = crate::logs::complain(format!("assent: {message}\n")) {
        let _ = write(line, io::stderr);
    }
}

/// A bar on standard error, which goes with its value; nothing if that is not a terminal.
pub(crate) fn progress_bar(what: &'static str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} [{bar:40}] {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_prefix(what).with_finish(ProgressFinish::AndClear)
}

/// Bytes as JSON, so that they can be read back: a string if they are UTF-8, else `{"hex": "..."}`.
pub(crate) fn json_bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

/// Bytes as text: as they are if people can read them, else with escapes.
pub(crate) fn show(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        Ok(_) | Err(_) => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_bytes_are_different_json() {
        assert_eq!(json_bytes(b"tab\t"), json!("tab\t"));
        assert_eq!(json_bytes(b"tab\\t"), json!("tab\\t"));
        assert_eq!(json_bytes(&[0xff, 0x0a]), json!({ "hex": "ff0a" }));
        assert_eq!(json_bytes(b"\\xff"), json!("\\xff"));
    }
}
