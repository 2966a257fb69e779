//! Standard output: for people, or one JSON document a line.
//!
//! Invariant: a reader that has gone away (`| true`) changes neither what a command does nor its
//! exit code; any other failure to write is told.

use std::fmt::Display;
use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::Failure;

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
    match write_line(&mut io::stdout().lock(), text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn write_line(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Prints one line, if anyone listens.
pub(crate) fn line_if_heard(text: &str) {
    let _ = line(text);
}

/// Prints one line on standard error as it is, if anyone listens.
pub(crate) fn line_on_stderr(text: &str) {
    let _ = write_line(&mut io::stderr(), text);
}

/// Complains in one line on standard error, if anyone listens.
pub(crate) fn complain(message: &str) {
    if let Some(line) = crate::logs::complain(format!("assent: {message}\n")) {
        let _ = io::stderr().write_all(line.as_bytes());
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
